using System.CommandLine;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using Appliance.Commands;

namespace Appliance;

/// <summary>The command line: one small file per command in Commands; here they are put together and wrong usage becomes exit code 2.</summary>
public static class ApplianceCommandLine
{
    /// <summary>Runs the command that <paramref name="args"/> name.</summary>
    public static int Invoke(string[] args, Terminal terminal, Composition composition)
    {
        var root = new RootCommand("A gateway that shares load at layer 3, splices TCP connections packet by packet, and does not go away when a box dies.")
        {
            CheckCommand.Create(terminal, composition),
            RunCommand.Create(terminal, composition),
            ShowCommand.Create(terminal, composition),
            KeyCommand.Create(terminal),
            ReplayCommand.Create(terminal, composition),
            HelpCommand.Create(terminal),
        };
        ParseResult parsed = CommandLineParser.Parse(root, args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Action is ParseErrorAction || (parsed.Errors.Count > 0 && parsed.Action is null)) return Refuse(parsed, terminal);
        return parsed.Invoke(new InvocationConfiguration { Output = terminal.Output, Error = terminal.Error, EnableDefaultExceptionHandler = false });
    }

    private static int Refuse(ParseResult parsed, Terminal terminal)
    {
        foreach (ParseError error in parsed.Errors) terminal.Error.WriteLine("appliance: " + error.Message);
        string path = "";
        for (SymbolResult? at = parsed.CommandResult; at is CommandResult { Parent: not null } command; at = at.Parent) path = " " + command.Command.Name + path;
        terminal.Error.WriteLine($"try: appliance{path} --help");
        return ExitCodes.Usage;
    }
}
