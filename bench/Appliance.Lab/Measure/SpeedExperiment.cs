using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Measure;

/// <summary>How long and how often to measure.</summary>
public sealed record SpeedPlan
{
    public int Runs { get; init; } = 5;

    /// <summary>Measured seconds of each small load; a warm-up comes before.</summary>
    public double Seconds { get; init; } = 2;

    public double WarmupSeconds { get; init; } = 0.7;

    /// <summary>TCP congestion control of all hosts.</summary>
    public string Congestion { get; init; } = "cubic";

    /// <summary>Whether the box's program, whatever it is, runs before clients and servers.</summary>
    public bool BoxFirst { get; init; }

    /// <summary>Transfers and bytes of each of a bulk load.</summary>
    public int Transfers { get; init; } = 100;

    public long TransferBytes { get; init; } = 10_000_000;

    /// <summary>Names of the boxes and loads to measure; empty for all.</summary>
    public IReadOnlyList<string> Boxes { get; init; } = [];

    public IReadOnlyList<string> Loads { get; init; } = [];
}

/// <summary>What one load gave on one box, run by run.</summary>
public sealed record SpeedCell(string Load, string Box)
{
    /// <summary>Mb/s (bulk), connections or requests per second.</summary>
    public Spread Rate { get; } = new();

    /// <summary>CPU of the whole machine: ms per GB (bulk), us per connection or request.</summary>
    public Spread Cpu { get; } = new();

    public Spread P50Us { get; } = new();

    public Spread P99Us { get; } = new();

    /// <summary>Longest silence of a request/response connection beside bulk: the middle one's and the longest of all, ms.</summary>
    public Spread GapP50Ms { get; } = new();

    public Spread GapMaxMs { get; } = new();

    /// <summary>Retransmission timeouts of a run, and segments sent again in percent of all, of client and backend together.</summary>
    public Spread Timeouts { get; } = new();

    public Spread Retransmitted { get; } = new();

    public long Broken { get; set; }
}

/// <summary>
/// Ratios in one run: every kind of box on the same wires, one after the other within each round, so that what the
/// machine does meanwhile hits all alike. The judge is the client's own clock; CPU is that of the whole machine.
/// </summary>
public sealed class SpeedExperiment(SpeedPlan plan, Action<string> log)
{
    private static readonly TimeSpan Settle = TimeSpan.FromMilliseconds(100);

    /// <summary>Boxes in the order of the table.</summary>
    public static readonly IReadOnlyList<(string Name, BoxKind Kind)> Boxes =
    [
        ("kernel", BoxKind.Router), ("bare", BoxKind.Bare), ("appliance", BoxKind.Appliance), ("haproxy-http", BoxKind.HaproxyHttp),
        ("haproxy-http-splice", BoxKind.HaproxyHttpSplice), ("haproxy-tcp-splice", BoxKind.HaproxyTcpSplice), ("nginx-stream", BoxKind.NginxStream),
    ];

    /// <summary>Loads in the order of the table; those of the first kind are bulk.</summary>
    public static readonly IReadOnlyList<string> BulkLoads = ["put", "get"], SmallLoads = ["short1k", "short4k", "rr1", "rr10", "rr100"];

    /// <summary>200-byte requests beside bulk: the machine is saturated by it, or (paced) is not.</summary>
    public static readonly IReadOnlyList<string> BesideLoads = ["beside-put", "beside-get", "beside-paced"];

    private const int BesideConnections = 20;

    private readonly List<SpeedCell> _cells = [];

    public async Task<IReadOnlyList<SpeedCell>> Run(CancellationToken cancel)
    {
        using var allowed = new CongestionControl(plan.Congestion);
        await Phase(bulk: true, [.. BulkLoads, .. BesideLoads], cancel).ConfigureAwait(false);
        await Phase(bulk: false, SmallLoads, cancel).ConfigureAwait(false);
        return _cells;
    }

    private async Task Phase(bool bulk, IReadOnlyList<string> all, CancellationToken cancel)
    {
        var loads = all.Where(l => plan.Loads.Count == 0 || plan.Loads.Contains(l, StringComparer.Ordinal)).ToList();
        if (loads.Count == 0)
        {
            return;
        }
        var boxes = new List<SpeedBox>();
        try
        {
            foreach (var (name, kind) in Boxes.Where(b => plan.Boxes.Count == 0 || plan.Boxes.Contains(b.Name, StringComparer.Ordinal)))
            {
                boxes.Add(new SpeedBox(name, kind, bulk, plan.Congestion, plan.BoxFirst));
            }
            // Round 0 warms everything up and is not counted.
            for (int round = 0; round <= plan.Runs; round++)
            {
                log(round == 0 ? "warming up" : $"round {round} of {plan.Runs}");
                foreach (string load in loads)
                {
                    foreach (var box in boxes)
                    {
                        cancel.ThrowIfCancellationRequested();
                        await (BesideLoads.Contains(load, StringComparer.Ordinal) ? Beside(box, load, round) : One(box, load, round)).ConfigureAwait(false);
                    }
                }
            }
        }
        finally
        {
            boxes.ForEach(b => b.Dispose());
        }
    }

    private async Task One(SpeedBox box, string load, int round)
    {
        var cell = Cell(box, load);
        box.Continue();
        bool bulk = BulkLoads.Contains(load, StringComparer.Ordinal);
        var options = Options(load, box.Address);
        if (round == 0)
        {
            options = options with { Seconds = options.Seconds / 4, Connections = bulk ? options.Connections / 4 : options.Connections };
        }
        var run = await box.Ready(options).ConfigureAwait(false);
        await Task.Delay(Settle).ConfigureAwait(false);
        run.Go();
        await Task.Delay(TimeSpan.FromSeconds(options.WarmupSeconds)).ConfigureAwait(false);
        var before = box.Ends;
        var cpu = new CpuMeter();
        var summary = await run.Finish().ConfigureAwait(false);
        double used = cpu.Seconds;
        var ends = box.Ends - before;
        box.Stop();
        cell.Broken += summary.Broken;
        if (round > 0)
        {
            Note(cell, bulk, summary, used);
            cell.Timeouts.Add(ends.Timeouts);
            cell.Retransmitted.Add(100.0 * ends.Retransmitted / Math.Max(1, ends.Sent));
        }
    }

    private SpeedCell Cell(SpeedBox box, string load)
    {
        var cell = _cells.Find(c => c.Load == load && c.Box == box.Name);
        if (cell is null)
        {
            _cells.Add(cell = new SpeedCell(load, box.Name));
        }
        return cell;
    }

    /// <summary>Requests while bulk runs that outlasts them; nothing fails. The rate is that of the bulk.</summary>
    private async Task Beside(SpeedBox box, string load, int round)
    {
        const double bulkRunsMs = 300;
        var cell = Cell(box, load);
        box.Continue();
        var bulk = new LoadOptions(load == "beside-get" ? LoadMode.Get : LoadMode.Put, box.Address)
        {
            Connections = BesideConnections,
            Bytes = 1L << 40,
            Verify = false,
            Bins = true,
            Path = load == "beside-get" ? "/bytes/{bytes}" : null,
            PaceMbit = load == "beside-paced" ? 1000.0 / BesideConnections : 0,
        };
        var requests = new LoadOptions(LoadMode.Requests, box.Address) { Connections = BesideConnections, IntervalMs = 2, Seconds = plan.Seconds, WarmupSeconds = plan.WarmupSeconds };
        var bulkRun = await box.Ready(bulk).ConfigureAwait(false);
        var run = await box.Ready(requests).ConfigureAwait(false);
        bulkRun.Go();
        await Task.Delay(TimeSpan.FromMilliseconds(bulkRunsMs)).ConfigureAwait(false);
        var before = box.Ends;
        var cpu = new CpuMeter();
        run.Go();
        var summary = await run.Finish().ConfigureAwait(false);
        double used = cpu.Seconds;
        var ends = box.Ends - before;
        bulkRun.Process.Kill();
        var bins = bulkRun.Bins;
        // What the killed client left comes to its end before the next turn.
        await Task.Delay(Settle).ConfigureAwait(false);
        box.Stop();
        cell.Broken += summary.Broken;
        if (round == 0)
        {
            return;
        }
        double seconds = bins.Count > 1 ? (bins[^1].EndUnixMs - bins[0].EndUnixMs) / 1e3 : double.NaN;
        cell.Rate.Add(bins.Skip(1).Sum(b => b.Bytes) * 8 / seconds / 1e6);
        cell.Cpu.Add(used / (summary.Seconds + requests.WarmupSeconds));
        cell.P50Us.Add(summary.P50Us);
        cell.P99Us.Add(summary.P99Us);
        var gaps = run.Connections.Select(c => c.LongestSilenceMs).Order().ToList();
        cell.GapP50Ms.Add(gaps[gaps.Count / 2]);
        cell.GapMaxMs.Add(gaps[^1]);
        cell.Timeouts.Add(ends.Timeouts);
        cell.Retransmitted.Add(100.0 * ends.Retransmitted / Math.Max(1, ends.Sent));
    }

    private static void Note(SpeedCell cell, bool bulk, LoadSummary summary, double cpuSeconds)
    {
        cell.Rate.Add(bulk ? summary.MbitPerSecond : summary.PerSecond);
        cell.Cpu.Add(bulk ? cpuSeconds * 1e3 / (summary.Bytes / 1e9) : cpuSeconds * 1e6 / Math.Max(1, summary.Requests));
        if (!bulk)
        {
            cell.P50Us.Add(summary.P50Us);
            cell.P99Us.Add(summary.P99Us);
        }
    }

    private LoadOptions Options(string load, string address)
    {
        var small = new LoadOptions(load.StartsWith("short", StringComparison.Ordinal) ? LoadMode.Short : LoadMode.Requests, address)
        {
            Seconds = plan.Seconds,
            WarmupSeconds = plan.WarmupSeconds,
            Path = "/{bytes}",
            Connections = 32,
        };
        var transfer = new LoadOptions(LoadMode.Put, address) { Connections = plan.Transfers, Bytes = plan.TransferBytes, Verify = false };
        return load switch
        {
            "put" => transfer,
            "get" => transfer with { Mode = LoadMode.Get, Path = "/bytes/{bytes}" },
            "short1k" => small with { Bytes = 1024 },
            "short4k" => small with { Bytes = 4096 },
            "rr1" => small with { Connections = 1 },
            "rr10" => small with { Connections = 10 },
            "rr100" => small with { Connections = 100 },
            _ => throw new CommandFailedException($"no such load: {load}"),
        };
    }
}
