using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Appliance.Lab.Experiments;

namespace Appliance.Lab.Measure;

/// <summary>How many runs of each kind, and which.</summary>
public sealed record KillMatrixPlan(string File)
{
    public int Acked { get; init; } = 200;

    public int Async { get; init; } = 40;

    public int Haproxy { get; init; } = 20;

    /// <summary>Only these faults; none: all.</summary>
    public IReadOnlyList<KillFault> Faults { get; init; } = [];

    /// <summary>Only clusters of so many proxies; 0: all.</summary>
    public int Proxies { get; init; }

    /// <summary>Only clusters that share so ("by flow", "by packet 40"); null: all.</summary>
    public string? Share { get; init; }

    /// <summary>See <see cref="KillOptions.Capture"/>.</summary>
    public bool Capture { get; init; }

    internal IEnumerable<(string Kind, int Runs)> Kinds => [("acked", Acked), ("async", Async), (HaproxyKill.Name, Haproxy)];
}

/// <summary>
/// The kill matrix: many runs of <see cref="KillExperiment"/> over faults, numbers of proxies and sharing modes, under
/// both durabilities, and of <see cref="HaproxyKill"/> beside them. The n-th run of a kind is the same whenever it is done; each result
/// is appended to a file as one JSON line, so that a matrix that was interrupted goes on where it ended.
/// </summary>
public sealed class KillMatrix(KillMatrixPlan plan, Action<string> log)
{
    /// <summary>Runs in a row on one cluster before the next one is built.</summary>
    private const int RunsPerCluster = 5;

    private static readonly JsonSerializerOptions Lines = new() { Converters = { new JsonStringEnumConverter() } };

    private static readonly (int Proxies, string Share)[] Clusters =
        [(2, "by flow"), (3, "by packet 40"), (4, "by flow"), (2, "by packet 40"), (3, "by flow"), (4, "by packet 40"), (1, "by flow")];

    private static readonly KillFault[] Many = [KillFault.Engine, KillFault.Box, KillFault.Stop, KillFault.LinkDown, KillFault.Manager];

    /// <summary>With one proxy nothing can take over; these faults it must outlive by itself.</summary>
    private static readonly KillFault[] Alone = [KillFault.Stop, KillFault.LinkDown, KillFault.Manager];

    /// <summary>HAProxy has no second process to lose.</summary>
    private static readonly KillFault[] Beside = [KillFault.Engine, KillFault.Box, KillFault.Stop, KillFault.LinkDown];

    /// <summary>Does the runs that the file does not have; all results.</summary>
    public async Task<IReadOnlyList<KillResult>> Run(CancellationToken cancel)
    {
        var results = File.Exists(plan.File)
            ? File.ReadAllLines(plan.File).Where(l => l.Length > 0).Select(l => JsonSerializer.Deserialize<KillResult>(l, Lines)!).ToList()
            : [];
        int Done(string kind) => results.Count(r => r.Durability == kind);
        // The kind of which the smallest part is done comes next: an interrupted matrix has some of each.
        while (plan.Kinds.Where(k => Done(k.Kind) < k.Runs).OrderBy(k => (double)Done(k.Kind) / k.Runs).Select(k => ((string Kind, int Runs)?)k).FirstOrDefault() is var (kind, runs))
        {
            var cluster = Start(kind, Done(kind) / RunsPerCluster, out var faults);
            await using (cluster.ConfigureAwait(false))
            {
                do
                {
                    cancel.ThrowIfCancellationRequested();
                    int n = Done(kind);
                    var result = await cluster.Run(faults[n % faults.Count], seed: n + 1).ConfigureAwait(false);
                    results.Add(result);
                    await File.AppendAllTextAsync(plan.File, JsonSerializer.Serialize(result, Lines) + "\n", cancel).ConfigureAwait(false);
                    log(string.Create(CultureInfo.InvariantCulture, $"{kind} {n + 1} of {runs}: {result.Fault} at {result.At:F2} s, {result.InFlight} transfers in flight, {result.Seconds:F0} s: broken {result.Broken}, differing {result.MismatchedBytes}, stall p50 {result.StallP50Ms:F1} p99 {result.StallP99Ms:F1} ms, usable again {result.UsableAgainMs:F0} ms{(result.Evidence is null ? "" : $", stood still: {result.Evidence}")}"));
                }
                while (Done(kind) < runs && Done(kind) % RunsPerCluster != 0);
            }
        }
        return results;
    }

    /// <summary>Whether any cluster of the matrix has so many proxies (0: any number) and shares so (null: any way); HAProxy needs a second one.</summary>
    public static bool Has(int proxies, string? share, bool haproxy) => Choice(proxies, share).Any(c => !haproxy || c.Proxies > 1);

    private static IEnumerable<(int Proxies, string Share)> Choice(int proxies, string? share) =>
        Clusters.Where(c => (proxies == 0 || c.Proxies == proxies) && (share ?? c.Share) == c.Share);

    private IKillCluster Start(string kind, int number, out IReadOnlyList<KillFault> faults)
    {
        bool haproxy = kind == HaproxyKill.Name;
        var choice = Choice(plan.Proxies, plan.Share).Where(c => !haproxy || c.Proxies > 1).ToList();
        var (proxies, share) = choice[number % choice.Count];
        faults = plan.Faults.Count > 0 ? plan.Faults : haproxy ? Beside : proxies == 1 ? Alone : Many;
        log(string.Create(CultureInfo.InvariantCulture, $"cluster: {proxies} proxies, {(haproxy ? kind : $"{share}, {kind}")}"));
        var options = new KillOptions { Proxies = proxies, Share = haproxy ? "-" : share, Durability = kind, Capture = plan.Capture };
        return haproxy ? HaproxyKill.Start(options) : KillExperiment.Start(options);
    }

    /// <summary>A row for each fault, HAProxy's beside ours; then one for each fault and cluster.</summary>
    public static void Write(TextWriter to, IReadOnlyList<KillResult> results)
    {
        to.WriteLine("| fault | durability | runs | connections | broken | differing bytes | stall p50 ms | stall p99 ms | probe p99 ms | usable again ms |");
        to.WriteLine("|---|---|---|---|---|---|---|---|---|---|");
        foreach (var group in results.GroupBy(r => (r.Fault, r.Durability)).OrderBy(g => g.Key.Fault).ThenBy(g => g.Key.Durability, StringComparer.Ordinal))
        {
            Row(to, $"{group.Key.Fault} | {group.Key.Durability}", [.. group]);
        }
        to.WriteLine("\n| fault | durability | proxies | share | runs | connections | broken | differing bytes | stall p50 ms | stall p99 ms | probe p99 ms | usable again ms |");
        to.WriteLine("|---|---|---|---|---|---|---|---|---|---|---|---|");
        var groups = results.GroupBy(r => (r.Fault, r.Durability, r.Proxies, r.Share)).OrderBy(g => g.Key.Fault).ThenBy(g => g.Key.Durability, StringComparer.Ordinal)
            .ThenBy(g => g.Key.Proxies).ThenBy(g => g.Key.Share, StringComparer.Ordinal);
        foreach (var group in groups)
        {
            Row(to, string.Create(CultureInfo.InvariantCulture, $"{group.Key.Fault} | {group.Key.Durability} | {group.Key.Proxies} | {group.Key.Share}"), [.. group]);
        }
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
