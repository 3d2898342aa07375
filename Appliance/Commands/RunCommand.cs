using System.CommandLine;
using Appliance.Control.Model;
using ParseResult = Appliance.Control.Model.ParseResult;

namespace Appliance.Commands;

/// <summary>`appliance run -c FILE`: refuses, with all reasons, before anything is started; else runs until told to stop.</summary>
internal static class RunCommand
{
    public static Command Create(Terminal terminal, Composition composition)
    {
        var file = new Option<string>("--config", "-c") { Description = "The configuration file.", HelpName = "FILE", Required = true };
        var directory = new Option<string>("--run-dir") { Description = "Where the running appliance keeps its files.", HelpName = "DIR", DefaultValueFactory = _ => Composition.DefaultRunDirectory };
        var json = new Option<bool>("--json-log") { Description = "Log JSON objects instead of text." };
        var command = new Command("run", "Runs the appliance until it is told to stop.") { file, directory, json };
        command.SetAction(parsed => Run(parsed.GetRequiredValue(file), parsed.GetRequiredValue(directory), parsed.GetValue(json), terminal, composition));
        return command;
    }

    private static int Run(string file, string directory, bool json, Terminal terminal, Composition composition)
    {
        if (ConfigurationLoader.Load(file, terminal) is not { Configuration: { } configuration } parsed) return ExitCodes.Failed;
        bool fits = FitsTheMachine(parsed, terminal, composition.Host());
        if (!ConfigurationLoader.TryLoadKey(parsed, terminal, out ClusterKey? key) || !fits) return ExitCodes.Failed;
        return composition.Appliance.Run(new RunRequest(file, configuration, ConfigurationCompiler.Compile(configuration), key, directory, json, terminal));
    }

    private static bool FitsTheMachine(ParseResult parsed, Terminal terminal, IHostFacts host)
    {
        IReadOnlyList<Diagnostic> findings = HostChecks.Check(parsed, host);
        foreach (Diagnostic finding in findings) parsed.Write(terminal.Error, finding);
        return findings.All(f => f.Severity != DiagnosticSeverity.Error);
    }
}
