using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Appliance.Lab.Experiments;

namespace Appliance.Lab.Measure;

/// <summary>
/// The kill matrix: many runs of <see cref="KillExperiment"/> over faults, numbers of proxies and sharing modes. Run n
/// is the same run whenever it is done; each result is appended to a file as one JSON line, so that a matrix that was
/// interrupted goes on where it ended.
/// </summary>
public sealed class KillMatrix(string file, string durability, Action<string> log)
{
    /// <summary>Runs in a row on one cluster before the next one is built.</summary>
    private const int RunsPerCluster = 5;

    private static readonly JsonSerializerOptions Lines = new() { Converters = { new JsonStringEnumConverter() } };

    private static readonly (int Proxies, string Share)[] Clusters =
        [(2, "by flow"), (2, "by packet 40"), (3, "by flow"), (3, "by packet 40"), (4, "by flow"), (4, "by packet 40"), (1, "by flow")];

    private static readonly KillFault[] Many = [KillFault.Box, KillFault.Engine, KillFault.Stop, KillFault.LinkDown, KillFault.Manager];

    /// <summary>With one proxy nothing can take over; these faults it must outlive by itself.</summary>
    private static readonly KillFault[] Alone = [KillFault.Stop, KillFault.LinkDown, KillFault.Manager];

    /// <summary>Only these faults; none: all.</summary>
    public IReadOnlyList<KillFault> Faults { get; init; } = [];

    /// <summary>Only clusters of so many proxies; 0: all.</summary>
    public int Proxies { get; init; }

    /// <summary>Does the runs from the first that the file does not have up to <paramref name="runs"/>; all results.</summary>
    public async Task<IReadOnlyList<KillResult>> Run(int runs, CancellationToken cancel)
    {
        var results = File.Exists(file)
            ? File.ReadAllLines(file).Where(l => l.Length > 0).Select(l => JsonSerializer.Deserialize<KillResult>(l, Lines)!).ToList()
            : [];
        var clusters = Clusters.Where(c => Proxies == 0 || c.Proxies == Proxies).ToList();
        while (results.Count < runs)
        {
            var (proxies, share) = clusters[results.Count / RunsPerCluster % clusters.Count];
            log(string.Create(CultureInfo.InvariantCulture, $"cluster: {proxies} proxies, {share}, {durability}"));
            var experiment = KillExperiment.Start(new KillOptions { Proxies = proxies, Share = share, Durability = durability });
            await using (experiment.ConfigureAwait(false))
            {
                do
                {
                    cancel.ThrowIfCancellationRequested();
                    int n = results.Count;
                    var faults = Faults.Count > 0 ? Faults : proxies == 1 ? Alone : Many;
                    var result = await experiment.Run(faults[n % faults.Count], seed: n + 1).ConfigureAwait(false);
                    results.Add(result);
                    await File.AppendAllTextAsync(file, JsonSerializer.Serialize(result, Lines) + "\n", cancel).ConfigureAwait(false);
                    log(string.Create(CultureInfo.InvariantCulture, $"run {n + 1} of {runs}: {result.Fault} at {result.At:F2} s: broken {result.Broken}, differing {result.MismatchedBytes}, stall p50 {result.StallP50Ms:F1} p99 {result.StallP99Ms:F1} ms"));
                }
                while (results.Count < runs && results.Count % RunsPerCluster != 0);
            }
        }
        return results;
    }

    /// <summary>A row for each fault and mode.</summary>
    public static void Write(TextWriter to, IReadOnlyList<KillResult> results)
    {
        to.WriteLine("| fault | proxies | share | durability | runs | connections | broken | differing bytes | stall p50 ms | stall p99 ms | probe p99 ms | usable again ms |");
        to.WriteLine("|---|---|---|---|---|---|---|---|---|---|---|---|");
        var groups = results.GroupBy(r => (r.Fault, r.Proxies, r.Share, r.Durability)).OrderBy(g => g.Key.Fault).ThenBy(g => g.Key.Proxies).ThenBy(g => g.Key.Share, StringComparer.Ordinal);
        foreach (var group in groups)
        {
            Row(to, string.Create(CultureInfo.InvariantCulture, $"{group.Key.Fault} | {group.Key.Proxies} | {group.Key.Share} | {group.Key.Durability}"), [.. group]);
        }
        Row(to, "all | | |", results);
    }

    private static void Row(TextWriter to, string name, IReadOnlyList<KillResult> rows)
    {
        Spread Of(Func<KillResult, double> value)
        {
            var spread = new Spread();
            foreach (var row in rows.Where(r => value(r) > 0))
            {
                spread.Add(value(row));
            }
            return spread;
        }
        to.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"| {name} | {rows.Count} | {rows.Sum(r => r.Connections)} | {rows.Sum(r => r.Broken)} | {rows.Sum(r => r.MismatchedBytes)} | {Of(r => r.StallP50Ms)} | {Of(r => r.StallP99Ms)} | {Of(r => r.ProbeP99Ms)} | {Of(r => r.UsableAgainMs)} |"));
    }
}
