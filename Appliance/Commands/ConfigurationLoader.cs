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
        key = null;
        if (parsed.Configuration?.KeyFile is not { } path) return true;
        KeyFileResult read = ClusterKeyFile.Read(path);
        key = read.Key;
        if ((read.Error ?? read.Warning) is { } message)
        {
            DiagnosticSeverity severity = read.Error is null ? DiagnosticSeverity.Warning : DiagnosticSeverity.Error;
            parsed.Write(terminal.Error, new Diagnostic(severity, parsed.PlaceOf("key file"), message) { Hint = read.Hint });
        }
        return key is not null;
    }
}
