using System.CommandLine;
using Appliance.Control.Model;

namespace Appliance.Commands;

/// <summary>`appliance key new FILE`: makes a cluster's key.</summary>
internal static class KeyCommand
{
    public static Command Create(Terminal terminal)
    {
        Argument<string> file = new Argument<string>("FILE") { Description = "The file to make; it must not exist." }.WithoutOptions();
        var make = new Command("new", "Makes a file with a new random key, readable by its owner only.") { file };
        make.SetAction(parsed =>
        {
            string path = parsed.GetRequiredValue(file);
            if (ClusterKeyFile.Create(path) is { } problem)
            {
                terminal.Error.WriteLine($"appliance: {problem}");
                return ExitCodes.Failed;
            }
            terminal.Output.WriteLine($"{path}: new key; copy it to every box of the cluster and name it there: key file {Tokenizer.Quote(Path.GetFullPath(path))}");
            return ExitCodes.Ok;
        });
        return new Command("key", "Makes keys.") { make };
    }
}
