using Appliance.Control.Model;

namespace Appliance.Commands;

/// <summary>Reads a configuration for a command and writes what is wrong with it.</summary>
internal static class ConfigurationLoader
{
    /// <summary>The parsed file without errors, or null when the reason is written. Warnings are written too.</summary>
    public static ParseResult? Load(string path, Terminal terminal)
    {
        ParseResult? parsed = ConfigurationFile.Read(path, out string? problem);
        if (parsed is null) terminal.Error.WriteLine($"appliance: {problem}");
        else parsed.Write(terminal.Error);
        return parsed is { HasErrors: false } ? parsed : null;
    }

    /// <summary>The key that the configuration names; false if it cannot be used, which is then written.</summary>
    public static bool TryLoadKey(ParseResult parsed, Terminal terminal, out ClusterKey? key)
    {
        if (CheckKey(parsed, out key) is not { } finding) return true;
        parsed.Write(terminal.Error, finding);
        return key is not null;
    }

    /// <summary>What is wrong with the key file that the configuration names, and the key in it; null if nothing is, or if it names none.</summary>
    public static Diagnostic? CheckKey(ParseResult parsed, out ClusterKey? key)
    {
        key = null;
        if (parsed.Configuration?.KeyFile is not { } path) return null;
        KeyFileResult read = ClusterKeyFile.Read(path);
        key = read.Key;
        if ((read.Error ?? read.Warning) is not { } message) return null;
        return new Diagnostic(read.Error is null ? DiagnosticSeverity.Warning : DiagnosticSeverity.Error, parsed.PlaceOf("key file"), message) { Hint = read.Hint };
    }
}
