using System.CommandLine;
using Appliance.Control.Model;
using ParseResult = Appliance.Control.Model.ParseResult;

namespace Appliance.Commands;

/// <summary>`appliance check FILE...`: all errors and warnings of configurations; 0 if they can be used.</summary>
internal static class CheckCommand
{
    public static Command Create(Terminal terminal, Composition composition)
    {
        Argument<string[]> files = new Argument<string[]>("FILE") { Description = "Configuration files.", Arity = ArgumentArity.ZeroOrMore }.WithoutOptions();
        var further = new Option<string[]>("--config", "-c") { Description = "A configuration file.", HelpName = "FILE" };
        var host = new Option<bool>("--host") { Description = "Compare with this machine even if it has none of the file's interfaces." };
        var command = new Command("check", "Reports all errors and warnings of configuration files, and of the key files that they name.") { files, further, host };
        command.Validators.Add(result =>
        {
            if ((result.GetValue(files) ?? []).Length + (result.GetValue(further) ?? []).Length == 0) result.AddError("No configuration file is given.");
        });
        command.SetAction(parsed =>
        {
            string[] all = [.. parsed.GetValue(files) ?? [], .. parsed.GetValue(further) ?? []];
            bool good = true;
            foreach (string file in all) good &= Check(file, parsed.GetValue(host), terminal, composition);
            return good ? ExitCodes.Ok : ExitCodes.Failed;
        });
        return command;
    }

    private static bool Check(string file, bool always, Terminal terminal, Composition composition)
    {
        ParseResult? parsed = ConfigurationFile.Read(file, out string? problem);
        if (parsed is null)
        {
            terminal.Error.WriteLine($"appliance: {problem}");
            return false;
        }
        parsed.Write(terminal.Error);
        int warnings = parsed.Diagnostics.Count(d => d.Severity == DiagnosticSeverity.Warning);
        if (parsed.HasErrors)
        {
            int errors = parsed.Diagnostics.Count - warnings;
            terminal.Output.WriteLine($"{file}: {Count(errors, "error")}, {Count(warnings, "warning")}");
            return false;
        }
        // The file may be for another machine, so what this one lacks is no error here; `run` refuses it.
        Diagnostic[] ofThisMachine = [.. OfThisMachine(parsed, always, composition.Host())];
        foreach (Diagnostic finding in ofThisMachine) parsed.Write(terminal.Error, finding with { Severity = DiagnosticSeverity.Warning });
        warnings += ofThisMachine.Length;
        bool refused = ofThisMachine.Any(f => f.Severity == DiagnosticSeverity.Error);
        terminal.Output.WriteLine($"{file}: good, {Count(warnings, "warning")}{(refused ? "; on this machine, as it is now, `run` would refuse it" : "")}");
        return true;
    }

    private static IEnumerable<Diagnostic> OfThisMachine(ParseResult parsed, bool always, IHostFacts host)
    {
        IEnumerable<Diagnostic> found = always || HostChecks.LooksLikeTheBox(parsed.Configuration!, host) ? HostChecks.Check(parsed, host) : [];
        if (ConfigurationLoader.CheckKey(parsed, out _) is { } key) found = found.Append(key);
        return found.OrderBy(f => f.Span.Line).ThenBy(f => f.Span.Column);
    }

    private static string Count(int number, string what) => number == 1 ? $"1 {what}" : $"{number} {what}s";
}
