using System.CommandLine;
using Appliance.Control.Model;

namespace Appliance.Commands;

/// <summary>`appliance help [STATEMENT]`: the statements of the configuration language.</summary>
internal static class HelpCommand
{
    public static Command Create(Terminal terminal)
    {
        Argument<string[]> words = new Argument<string[]>("STATEMENT") { Description = "First words of a statement.", Arity = ArgumentArity.ZeroOrMore }.WithoutOptions();
        var command = new Command("help", "Explains the statements of the configuration language.") { words };
        command.SetAction(parsed =>
        {
            string[] wanted = parsed.GetValue(words) ?? [];
            if (wanted.Length == 0)
            {
                terminal.Output.Write(StatementHelp.Overview());
                return ExitCodes.Ok;
            }
            if (StatementHelp.Of(wanted, out string? suggestion) is { } text)
            {
                terminal.Output.Write(text);
                return ExitCodes.Ok;
            }
            terminal.Error.WriteLine($"appliance: there is no statement '{string.Join(' ', wanted)}'" + (suggestion is null ? "" : $"; did you mean '{suggestion}'?"));
            return ExitCodes.Usage;
        });
        return command;
    }
}
