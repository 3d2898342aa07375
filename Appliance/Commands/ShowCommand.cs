using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using Appliance.Control.Model;
using Appliance.Control.Runtime;

namespace Appliance.Commands;

/// <summary>`appliance show WHAT`: of a running appliance; `show config -c FILE` prints a file in its canonical form.</summary>
internal static class ShowCommand
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create(Terminal terminal, Composition composition)
    {
        var what = new Argument<string>("WHAT") { Description = "What to show." };
        what.AcceptOnlyFromAmong("config", "services", "splices", "peers", "counters", "ports");
        var json = new Option<bool>("--json") { Description = "Print JSON." };
        var directory = new Option<string>("--run-dir") { Description = "Where the running appliance keeps its files.", HelpName = "DIR", DefaultValueFactory = _ => Composition.DefaultRunDirectory };
        var filter = new Option<string?>("--filter") { Description = "Splices: client=ADDRESS, real=ADDRESS, service=NAME, state=STATE; all others: rows that contain this text.", HelpName = "FILTER" };
        var page = new Option<int>("--page") { Description = "Page of a long table, from 1.", HelpName = "N", DefaultValueFactory = _ => 1 };
        var file = new Option<string?>("--config", "-c") { Description = "With config: show this file instead of a running appliance's.", HelpName = "FILE" };
        page.Validators.Add(result =>
        {
            // Not asked for its value: that of a word that is no number throws.
            if (result.Tokens.Any(t => t.Value.All(c => c == '0') || t.Value[0] == '-')) result.AddError("Pages count from 1.");
        });
        var command = new Command("show", "Shows configuration, tables and counters.") { what, json, directory, filter, page, file };
        command.Validators.Add(result =>
        {
            if (result.GetValue(file) is not null && result.GetValue(what) != "config") result.AddError("-c goes with `show config` only.");
        });
        command.SetAction(parsed =>
        {
            string wanted = parsed.GetRequiredValue(what);
            if (parsed.GetValue(file) is { } path) return ShowFile(path, parsed.GetValue(json), terminal);
            return composition.Appliance.Show(new ShowRequest(
                wanted, parsed.GetRequiredValue(directory), parsed.GetValue(json), parsed.GetValue(filter), parsed.GetValue(page), terminal));
        });
        return command;
    }

    private static int ShowFile(string path, bool json, Terminal terminal)
    {
        if (ConfigurationLoader.Load(path, terminal) is not { Configuration: { } configuration }) return ExitCodes.Failed;
        if (json) terminal.Output.WriteLine(ConfigurationDocument.Of(configuration).ToJsonString(Json));
        else terminal.Output.Write(ConfigurationPrinter.Print(configuration));
        return ExitCodes.Ok;
    }
}
