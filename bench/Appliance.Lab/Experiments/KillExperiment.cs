using System.Diagnostics;
using System.Globalization;
using Appliance.Lab.Faults;
using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Experiments;

/// <summary>
/// Uploads, downloads and request/response through a cluster of appliances, one of whose proxies is hit at an instant
/// drawn from a seed. Runs follow one another on the same cluster; after each the victim is brought back, refilled and
/// usable before the next, so that one death is over before another comes. The connections that are judged may use any box.
/// </summary>
public sealed class KillExperiment : IAsyncDisposable
{
    /// <summary>Seconds that the requests run before anything else: what their start costs is no silence.</summary>
    private const double RequestWarmup = 0.5;

    private readonly KillOptions _options;
    private int _runs;

    private KillExperiment(KillOptions options, ApplianceLab lab)
    {
        _options = options;
        Lab = lab;
    }

    public ApplianceLab Lab { get; }

    /// <summary>Builds the cluster; returns when all of its boxes can be used.</summary>
    public static KillExperiment Start(KillOptions options) => new(options, ApplianceLab.Start(
        new ApplianceOptions { Proxies = options.Proxies, Share = options.Share, Durability = options.Durability, Workers = options.Workers },
        new ClusterOptions { Clients = 2, ClientRate = options.ClientRate }));

    /// <summary>One run: starts the load, hits the victim, waits for the load's end, heals the victim.</summary>
    public async Task<KillResult> Run(KillFault fault, int seed)
    {
        _runs++;
        var random = new Random(seed);
        var proxies = Lab.Proxies.ToList();
        var victim = proxies[random.Next(proxies.Count)];
        double at = random.NextDouble() * _options.LatestFaultSeconds;
        string downLink = random.Next(2) == 0 ? "eth0" : "eth1";
        long replayedBefore = Lab.Counter("replayed");
        var runs = StartLoad(at, fault);
        using var probe = new SchedulingProbe();
        await LoadRun.GoTogether([.. runs.Where(r => r.Mode == LoadMode.Requests)]).ConfigureAwait(false);
        await Task.Delay(TimeSpan.FromSeconds(RequestWarmup)).ConfigureAwait(false);
        await LoadRun.GoTogether([.. runs.Where(r => r.Mode != LoadMode.Requests)]).ConfigureAwait(false);
        var clock = Stopwatch.StartNew();
        var load = Task.WhenAll(runs.Select(r => r.Finish()));
        int inFlight = 0;
        double usableAgain = 0;
        var faults = Task.Factory.StartNew(
            () =>
            {
                SleepUntil(clock, at);
                inFlight = _options.Puts + _options.Gets - runs.Sum(r => r.Connections.Count(c => c.Mode is "get" or "put"));
                usableAgain = Hit(fault, victim, downLink, clock);
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        await faults.ConfigureAwait(false);
        var summaries = await load.ConfigureAwait(false);
        double seconds = clock.Elapsed.TotalSeconds;
        double probeP99 = probe.Stop().Quantile(0.99) / 1e6;
        long replayed = Lab.Counter("replayed") - replayedBefore;
        Heal(fault, victim);
        var errors = new Dictionary<string, int>(StringComparer.Ordinal);
        Array.ForEach(summaries, s => KillResult.AddErrors(errors, s));
        var stalls = runs.SelectMany(r => r.Connections).Where(c => c.Mode == "requests").Select(c => c.LongestSilenceMs).Order().ToList();
        return new KillResult
        {
            Fault = fault,
            Seed = seed,
            Proxies = _options.Proxies,
            Share = _options.Share,
            Durability = _options.Durability,
            Victim = victim.Host.Name,
            At = at,
            Connections = summaries.Sum(s => s.Connections),
            Broken = summaries.Sum(s => s.Broken),
            Resets = summaries.Sum(s => s.Resets),
            Bytes = summaries.Sum(s => s.Bytes),
            MismatchedBytes = summaries.Sum(s => s.MismatchedBytes),
            ShaVerified = summaries.Sum(s => s.ShaVerified),
            Transfers = _options.Puts + _options.Gets,
            Requests = summaries.Where(s => s.Mode == "requests").Sum(s => s.Requests),
            InFlight = inFlight,
            StallP50Ms = Quantile(stalls, 0.5),
            StallP99Ms = Quantile(stalls, 0.99),
            StallMaxMs = Quantile(stalls, 1),
            ProbeP99Ms = probeP99,
            UsableAgainMs = usableAgain,
            Replayed = replayed,
            Seconds = seconds,
            Errors = errors,
        };
    }

    public ValueTask DisposeAsync() => Lab.DisposeAsync();

    private List<LoadRun> StartLoad(double at, KillFault fault)
    {
        bool outage = fault is KillFault.Stop or KillFault.LinkDown;
        double seconds = at + (outage ? _options.OutageSeconds : 0) + _options.AfterSeconds;
        var runs = new List<LoadRun>();
        foreach (bool ipv6 in _options.Ipv6 ? (bool[])[false, true] : [false])
        {
            int Share(int count) => !_options.Ipv6 ? count : ipv6 ? count / 2 : count - (count / 2);
            var common = new LoadOptions(LoadMode.Get, Lab.Topology.ServiceAddress(ipv6: ipv6))
            {
                Wait = true,
                Bytes = _options.Bytes,
                StallSeconds = _options.StallSeconds,
                LimitSeconds = _options.LimitSeconds,
                Seed = (ulong)(ipv6 ? 2000 : 1000),
            };
            Add(common with { Connections = Share(_options.Gets) });
            Add(common with { Mode = LoadMode.Put, Connections = Share(_options.Puts) });
            Add(common with { Mode = LoadMode.Requests, Connections = Share(_options.Requests), Bytes = 200, IntervalMs = _options.RequestIntervalMs, Seconds = seconds, WarmupSeconds = RequestWarmup });
        }
        return runs;

        void Add(LoadOptions load)
        {
            if (load.Connections > 0)
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"{load.Mode}-{_runs}-{runs.Count}");
                // The small requests come from a host of their own, so that what they wait for is not the bulk's queue.
                var client = Lab.Topology.Clients[load.Mode == LoadMode.Requests ? 1 : 0];
                runs.Add(LabTool.StartClient(client, name, load));
            }
        }
    }

    /// <summary>The fault and, for those that pass, its end. Returns how long a killed engine took to be usable again.</summary>
    private double Hit(KillFault fault, ApplianceBox victim, string downLink, Stopwatch clock)
    {
        double start = clock.Elapsed.TotalSeconds;
        switch (fault)
        {
            case KillFault.Box:
                ProcessFaults.KillBox(victim.Host);
                return 0;
            case KillFault.Engine:
                return KillEngine(victim);
            case KillFault.Stop:
                ProcessFaults.StopAll(victim.Host);
                SleepUntil(clock, start + _options.OutageSeconds);
                ProcessFaults.ContinueAll(victim.Host);
                return 0;
            case KillFault.LinkDown:
                LinkFaults.Down(victim.Host.Link(downLink));
                SleepUntil(clock, start + _options.OutageSeconds);
                LinkFaults.Up(victim.Host.Link(downLink));
                return 0;
            case KillFault.Manager:
                ProcessFaults.KillProcess(victim.ManagerPid);
                return 0;
            default:
                victim.Process!.Signal(LabNative.SigTerm);
                return 0;
        }
    }

    /// <summary>Until the sharer uses the next incarnation. The manager that answers looks every 50 ms, so the time is at most about 0.1 s too long.</summary>
    private double KillEngine(ApplianceBox victim)
    {
        string name = Lab.Name(victim);
        long before = Lab.Sharer.IncarnationOf(name);
        var clock = Stopwatch.StartNew();
        ProcessFaults.KillProcess(victim.EnginePid);
        ApplianceLab.WaitFor(() => Lab.Sharer.Uses(name) && Lab.Sharer.IncarnationOf(name) != before, $"{name} is used again", () => victim.Log);
        double milliseconds = clock.Elapsed.TotalMilliseconds;
        if (Environment.GetEnvironmentVariable("RESTART_TIMELINE") is not null)
        {
            Console.Error.WriteLine($"USABLE {milliseconds:F0}");
            Thread.Sleep(400);
            Console.Error.WriteLine(string.Join('\n', victim.Log.Split('\n').TakeLast(14)));
            Console.Error.WriteLine("SHARER\n" + string.Join('\n', Lab.Sharer.Log.Split('\n').TakeLast(10)));
        }
        return milliseconds;
    }

    private void Heal(KillFault fault, ApplianceBox victim)
    {
        if (fault == KillFault.Box)
        {
            ProcessFaults.ReviveBox(victim.Host);
        }
        if (fault is KillFault.Box or KillFault.Terminate)
        {
            victim.Process!.WaitForExit(ApplianceLab.Patience);
            victim.Start();
        }
        Lab.WaitUsable();
    }

    private static void SleepUntil(Stopwatch clock, double seconds)
    {
        var wait = TimeSpan.FromSeconds(seconds) - clock.Elapsed;
        if (wait > TimeSpan.Zero)
        {
            Thread.Sleep(wait);
        }
    }

    private static double Quantile(List<double> sorted, double q) =>
        sorted.Count == 0 ? 0 : sorted[Math.Min(sorted.Count - 1, (int)(q * sorted.Count))];
}
