using System.CommandLine;
using Appliance.Control.Model;

namespace Appliance.Commands;

/// <summary>`appliance replay`: runs captured frames through the data path, offline and in virtual time.</summary>
internal static class ReplayCommand
{
    public static Command Create(Terminal terminal, Composition composition)
    {
        var file = new Option<string>("--config", "-c") { Description = "The configuration file.", HelpName = "FILE", Required = true };
        var inputs = new Option<string[]>("--in") { Description = "Frames that come in on an interface.", HelpName = "PORT=FILE.pcap", Required = true, AllowMultipleArgumentsPerToken = true };
        var output = new Option<string>("--out") { Description = "Directory for what goes out: PORT.pcap and a line per frame.", HelpName = "DIR", Required = true };
        inputs.Validators.Add(result =>
        {
            foreach (string wrong in result.Tokens.Select(t => t.Value).Where(v => v.IndexOf('=', StringComparison.Ordinal) is <= 0 || v[^1] == '=')) result.AddError($"'{wrong}' is not PORT=FILE.pcap.");
            foreach (var twice in result.Tokens.GroupBy(t => t.Value.Split('=')[0], StringComparer.Ordinal).Where(g => g.Count() > 1)) result.AddError($"Port '{twice.Key}' is given twice.");
        });
        var command = new Command("replay", "Runs captured frames through the data path, offline.") { file, inputs, output };
        command.SetAction(parsed => Replay(parsed.GetRequiredValue(file), parsed.GetRequiredValue(inputs), parsed.GetRequiredValue(output), terminal, composition));
        return command;
    }

    private static int Replay(string file, string[] inputs, string output, Terminal terminal, Composition composition)
    {
        if (ConfigurationLoader.Load(file, terminal) is not { Configuration: { } configuration }) return ExitCodes.Failed;
        var files = inputs.Select(i => i.Split('=', 2)).ToDictionary(p => p[0], p => p[1], StringComparer.Ordinal);
        bool good = true;
        foreach ((string port, string capture) in files)
        {
            string? problem = configuration.Interfaces.All(i => i.Name != port) ? $"the configuration has no interface '{port}'"
                : File.Exists(capture) ? null : $"there is no file {capture}";
            if (problem is null) continue;
            terminal.Error.WriteLine($"appliance: {problem}");
            good = false;
        }
        return good ? composition.Appliance.Replay(new ReplayRequest(configuration, ConfigurationCompiler.Compile(configuration), files, output, terminal)) : ExitCodes.Failed;
    }
}
