using System.Diagnostics;

namespace Appliance.Lab.Net;

/// <summary>A command that ended with another exit code than 0; the message carries what it wrote to stderr.</summary>
public sealed class CommandFailedException : Exception
{
    public CommandFailedException()
    {
    }

    public CommandFailedException(string message)
        : base(message)
    {
    }

    public CommandFailedException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>What a finished command left behind.</summary>
public sealed record CommandResult(int ExitCode, string Output, string Error);

/// <summary>Runs short commands to their end and returns what they wrote. Not for long-lived processes: see <see cref="LabProcess"/>.</summary>
public static class Command
{
    /// <summary>Runs a command; throws <see cref="CommandFailedException"/> unless it exits with 0. Returns its standard output.</summary>
    public static string Run(string file, IEnumerable<string> arguments, string? input = null)
    {
        var list = arguments.ToArray();
        var result = TryRun(file, list, input);
        return result.ExitCode == 0
            ? result.Output
            : throw new CommandFailedException($"{file} {string.Join(' ', list)}: exit {result.ExitCode}: {result.Error.Trim()} {result.Output.Trim()}\n{input}");
    }

    /// <summary>Runs a command and returns its exit code and output.</summary>
    public static CommandResult TryRun(string file, IEnumerable<string> arguments, string? input = null)
    {
        var start = new ProcessStartInfo(file)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }
        using var process = Process.Start(start) ?? throw new CommandFailedException($"{file} did not start");
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        if (input is not null)
        {
            process.StandardInput.Write(input);
        }
        process.StandardInput.Close();
        process.WaitForExit();
        return new CommandResult(process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }
}
