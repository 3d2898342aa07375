using Appliance.Lab;
using Appliance.Lab.Net;

try
{
    return await Commands.Root().Parse(args).InvokeAsync(new() { EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
}
catch (Exception) when (LabNetwork.WasInterrupted)
{
    const int interrupted = 130;
    await Console.Error.WriteLineAsync("appliance-lab: interrupted; what it had made is removed").ConfigureAwait(false);
    return interrupted;
}
catch (CommandFailedException e)
{
    await Console.Error.WriteLineAsync("appliance-lab: " + e.Message).ConfigureAwait(false);
    return 1;
}
