using System.Globalization;
using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Experiments;

/// <summary>
/// The load of one run of a kill experiment: uploads and downloads from client 1, request/response from client 2 (so
/// that what the small ones wait for is not the bulk's queue), spread evenly over some addresses; and what they saw.
/// </summary>
internal sealed class KillLoad : IDisposable
{
    /// <summary>Seconds that the requests run before the transfers; seconds before the fault from which on their silence counts: what the start of 200 transfers costs is another matter.</summary>
    private const double RequestsAhead = 0.5, WatchedBefore = 0.3;

    private readonly KillOptions _options;
    private readonly List<LoadRun> _runs = [];
    private readonly SchedulingProbe _probe = new();

    /// <summary>Starts the clients; they wait for <see cref="Go"/>.</summary>
    public KillLoad(ClusterTopology topology, KillOptions options, IReadOnlyList<string> addresses, int run, KillPlan plan)
    {
        double unwatched = RequestsAhead + Math.Max(0, plan.At - WatchedBefore);
        _options = options;
        for (int i = 0; i < addresses.Count; i++)
        {
            int Share(int count) => (count + i) / addresses.Count;
            var common = new LoadOptions(LoadMode.Get, addresses[i])
            {
                Wait = true,
                Bytes = options.Bytes,
                PaceMbit = options.PaceMbit,
                StallSeconds = options.StallSeconds,
                LimitSeconds = options.LimitSeconds,
                Seed = (ulong)(1000 * (i + 1)),
            };
            Add(common with { Connections = Share(options.Gets) });
            Add(common with { Mode = LoadMode.Put, Connections = Share(options.Puts) });
            Add(common with { Mode = LoadMode.Requests, Connections = Share(options.Requests), Bytes = 200, IntervalMs = options.RequestIntervalMs, Seconds = WatchedBefore + plan.After, WarmupSeconds = unwatched });
        }

        void Add(LoadOptions load)
        {
            if (load.Connections > 0)
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"{load.Mode}-{run}-{_runs.Count}");
                _runs.Add(LabTool.StartClient(topology.Clients[load.Mode == LoadMode.Requests ? 1 : 0], name, load));
            }
        }
    }

    /// <summary>Transfers that have not ended.</summary>
    public int InFlight => _options.Puts + _options.Gets - _runs.Sum(r => r.Connections.Count(c => c.Mode is "get" or "put"));

    /// <summary>Starts the requests, then the transfers.</summary>
    public async Task Go()
    {
        await LoadRun.GoTogether([.. _runs.Where(r => r.Mode == LoadMode.Requests)]).ConfigureAwait(false);
        await Task.Delay(TimeSpan.FromSeconds(RequestsAhead)).ConfigureAwait(false);
        await LoadRun.GoTogether([.. _runs.Where(r => r.Mode != LoadMode.Requests)]).ConfigureAwait(false);
    }

    /// <summary>Waits for the end of all; adds what the clients saw to what is known of the run.</summary>
    public async Task<KillResult> Finish(KillResult run)
    {
        var summaries = await Task.WhenAll(_runs.Select(r => r.Finish())).ConfigureAwait(false);
        var errors = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var summary in summaries)
        {
            foreach (var (name, count) in summary.Errors)
            {
                errors[$"{summary.Mode} {name}"] = errors.GetValueOrDefault($"{summary.Mode} {name}") + count;
            }
        }
        var stalls = _runs.SelectMany(r => r.Connections).Where(c => c.Mode == "requests").Select(c => c.LongestSilenceMs).Order().ToList();
        return run with
        {
            Connections = summaries.Sum(s => s.Connections),
            Broken = summaries.Sum(s => s.Broken),
            Resets = summaries.Sum(s => s.Resets),
            Bytes = summaries.Sum(s => s.Bytes),
            MismatchedBytes = summaries.Sum(s => s.MismatchedBytes),
            ShaVerified = summaries.Sum(s => s.ShaVerified),
            Transfers = _options.Puts + _options.Gets,
            Requests = summaries.Where(s => s.Mode == "requests").Sum(s => s.Requests),
            StallP50Ms = Quantile(stalls, 0.5),
            StallP99Ms = Quantile(stalls, 0.99),
            StallMaxMs = Quantile(stalls, 1),
            ProbeP99Ms = _probe.Stop().Quantile(0.99) / 1e6,
            Errors = errors,
        };
    }

    public void Dispose() => _probe.Dispose();

    private static double Quantile(List<double> sorted, double q) =>
        sorted.Count == 0 ? 0 : sorted[Math.Min(sorted.Count - 1, (int)(q * sorted.Count))];
}
