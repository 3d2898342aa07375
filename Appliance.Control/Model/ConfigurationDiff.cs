using System.Collections.Immutable;

namespace Appliance.Control.Model;

/// <summary>
/// What a new configuration changes: statements gone and come, and the services that are touched. A service that is not
/// named here keeps its flows and counters. Changes of the box itself (links, peers, roles, tables)
/// take effect only when it starts again.
/// </summary>
public sealed record ConfigurationDiff(
    ImmutableArray<string> Gone, ImmutableArray<string> Come, ImmutableArray<string> RemovedServices, ImmutableArray<string> AddedServices,
    ImmutableArray<string> ChangedServices, bool NeedsRestart)
{
    /// <summary>True if nothing changes.</summary>
    public bool IsEmpty => Gone.IsEmpty && Come.IsEmpty && ChangedServices.IsEmpty && !NeedsRestart;

    /// <summary>Compares two configurations.</summary>
    public static ConfigurationDiff Between(Configuration before, Configuration after)
    {
        Dictionary<string, ServiceSettings> old = before.Services.ToDictionary(s => s.Name, StringComparer.Ordinal);
        Dictionary<string, ServiceSettings> now = after.Services.ToDictionary(s => s.Name, StringComparer.Ordinal);
        string[] oldLines = [.. ConfigurationPrinter.Lines(before)];
        string[] newLines = [.. ConfigurationPrinter.Lines(after)];
        // The order of pools and routes means something, so a service may change although its lines are the same.
        return new ConfigurationDiff(
            [.. oldLines.Except(newLines, StringComparer.Ordinal)],
            [.. newLines.Except(oldLines, StringComparer.Ordinal)],
            [.. before.Services.Select(s => s.Name).Where(n => !now.ContainsKey(n))],
            [.. after.Services.Select(s => s.Name).Where(n => !old.ContainsKey(n))],
            [.. after.Services.Where(s => old.TryGetValue(s.Name, out ServiceSettings? was) && !was.Equals(s)).Select(s => s.Name)],
            (before with { Services = [] }) != (after with { Services = [] }));
    }
}
