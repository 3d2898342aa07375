using Appliance.Lab;
using Appliance.Lab.Net;

try
{
    return await Commands.Root().Parse(args).InvokeAsync(new() { EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
}
catch (CommandFailedException e)
{
    await Console.Error.WriteLineAsync("appliance-lab: " + e.Message).ConfigureAwait(false);
    return 1;
}
