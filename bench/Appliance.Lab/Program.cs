using Appliance.Lab;
using Appliance.Lab.Net;

try
{
    var parsed = Commands.Root().Parse(args);
    if (parsed.Errors.Count > 0)
    {
        const int usage = 2;
        string name = string.Join(' ', parsed.CommandResult.Command.Parents.OfType<System.CommandLine.Command>().Take(1).Append(parsed.CommandResult.Command).Select(c => c.Name));
        foreach (var error in parsed.Errors)
        {
            await Console.Error.WriteLineAsync($"{name}: {error.Message}").ConfigureAwait(false);
        }
        await Console.Error.WriteLineAsync($"try: {name} --help").ConfigureAwait(false);
        return usage;
    }
    return await parsed.InvokeAsync(new() { EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
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
