using System.Diagnostics;
using System.Globalization;
using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Servers;

namespace Appliance.Lab.Demo;

/// <summary>When what happens, in seconds after the traffic began, and how much traffic there is.</summary>
public sealed record DemoPlan
{
    public double KillProxyAt { get; init; } = 4;

    public double KillManagerAt { get; init; } = 8;

    public double ReviveAt { get; init; } = 12;

    public double Seconds { get; init; } = 18;

    /// <summary>Rate of each client's link; transfers are sized to fill about the plan's time.</summary>
    public int ClientMbit { get; init; } = 200;

    public int Downloads { get; init; } = 4;

    public int Uploads { get; init; } = 4;

    public int RequestConnections { get; init; } = 20;
}

/// <summary>
/// The demo's story, the same for every cluster: downloads, uploads and request/response run; the plan's faults
/// happen; every byte is verified at the end. What is to be seen goes to an <see cref="IDemoScreen"/>.
/// </summary>
public sealed class DemoScenario(IDemoCluster cluster, DemoPlan plan, IDemoScreen screen)
{
    private const int UploadSeed = 1000;

    private readonly List<(string Name, Host Client, LoadRun Run, LoadOptions Options)> _runs = [];
    private readonly List<DemoEvent> _events = [];
    private readonly List<NginxServer> _servers = [];
    private readonly DemoMeter _meter = new(cluster.Proxies);

    public async Task<DemoResult> Run()
    {
        screen.Topology(cluster);
        StartServers();
        screen.Say("starting the boxes");
        cluster.Start();
        WaitForService();
        var capture = Capture.Start(cluster.Topology.Clients[0], "eth0", "client", snapLength: 96);
        StartLoad();
        await LoadRun.GoTogether([.. _runs.Select(r => r.Run)]).ConfigureAwait(false);
        var clock = Stopwatch.StartNew();
        _meter.Begin();
        var load = Task.WhenAll(_runs.Select(r => r.Run.Finish()));
        var faults = Task.Run(() => Faults(clock, load));
        while (!load.IsCompleted)
        {
            await Task.Delay(100).ConfigureAwait(false);
            _meter.Sample(clock.Elapsed);
            screen.Tick(clock.Elapsed, _meter);
        }
        await faults.ConfigureAwait(false);
        var summaries = await load.ConfigureAwait(false);
        double seconds = clock.Elapsed.TotalSeconds;
        _meter.Sample(clock.Elapsed, isLast: true);
        screen.End(clock.Elapsed, _meter);
        screen.Say("verifying what was uploaded");
        var result = Result(summaries, seconds, capture.Stop());
        RemoveContent();
        return result;
    }

    private long BytesFor(int connections, double share) =>
        (long)(plan.ClientMbit * 1e6 / 8 * plan.Seconds * share / connections);

    private void StartServers()
    {
        long bytes = BytesFor(plan.Downloads, 0.9) * cluster.Topology.Clients.Count;
        foreach (var backend in cluster.Topology.Backends)
        {
            _servers.Add(NginxServer.Start(backend, new NginxOptions
            {
                Seed = "demo",
                Files = new Dictionary<string, long>(StringComparer.Ordinal) { ["big"] = bytes, ["200"] = 200 },
            }));
        }
    }

    private void WaitForService()
    {
        for (int client = 1; client <= cluster.Topology.Clients.Count; client++)
        {
            string url = $"http://{cluster.Topology.ServiceAddress(client)}/name";
            var limit = Stopwatch.StartNew();
            while (cluster.Topology.Clients[client - 1].TryRun("curl", "-s", "-m", "1", url).ExitCode != 0)
            {
                if (limit.Elapsed > TimeSpan.FromSeconds(20))
                {
                    throw new CommandFailedException($"{url} does not answer");
                }
                Thread.Sleep(50);
            }
        }
    }

    /// <summary>Shares the plan's connections among the client hosts.</summary>
    private void StartLoad()
    {
        int clients = cluster.Topology.Clients.Count;
        for (int i = 1; i <= clients; i++)
        {
            string address = cluster.Topology.ServiceAddress(i);
            var common = new LoadOptions(LoadMode.Get, address) { Wait = true, Bins = true, StallSeconds = 10, LimitSeconds = plan.Seconds * 3 };
            Add("download", i, common with
            {
                Connections = plan.Downloads / clients,
                Path = "/big",
                Sha256 = _servers[0].Sha256["big"],
            });
            Add("upload", i, common with
            {
                Mode = LoadMode.Put,
                Connections = plan.Uploads / clients,
                Bytes = BytesFor(plan.Uploads, 0.7) * clients,
                Seed = (ulong)(UploadSeed * i),
                Path = "/put/{seed}",
                UnsentBytes = 256 * 1024,
            });
            Add("requests", i, common with
            {
                Mode = LoadMode.Requests,
                Connections = plan.RequestConnections / clients,
                Path = "/200",
                IntervalMs = 2,
                Seconds = plan.Seconds,
                Reconnect = true,
            });
        }
    }

    private void Add(string name, int client, LoadOptions options)
    {
        var host = cluster.Topology.Clients[client - 1];
        _runs.Add((name, host, LabTool.StartClient(host, name, options, line => _meter.Take(name, line)), options));
    }

    private void Faults(Stopwatch clock, Task load)
    {
        foreach (var (at, act) in ((double, Func<string>)[])[(plan.KillProxyAt, cluster.KillProxy), (plan.KillManagerAt, cluster.KillManager), (plan.ReviveAt, cluster.Revive)])
        {
            var wait = TimeSpan.FromSeconds(at) - clock.Elapsed;
            if (wait > TimeSpan.Zero)
            {
                Thread.Sleep(wait);
            }
            double seconds = clock.Elapsed.TotalSeconds;
            Happened(new DemoEvent(seconds, act()));
        }
        double started = clock.Elapsed.TotalSeconds;
        string? used = null;
        while (used is null && !load.IsCompleted)
        {
            used = cluster.UsedAgain();
            Thread.Sleep(50);
        }
        double now = clock.Elapsed.TotalSeconds;
        Happened(new DemoEvent(now, used is null
            ? "the traffic is over, and it is not used again yet"
            : string.Create(CultureInfo.InvariantCulture, $"{used}, {now - started:F1} s after its start")));
    }

    private void Happened(DemoEvent happened)
    {
        _events.Add(happened);
        screen.Happened(happened);
    }

    private DemoResult Result(LoadSummary[] summaries, double seconds, string capture)
    {
        var traffic = new List<DemoTraffic>();
        long uploaded = 0;
        foreach (var group in _runs.Zip(summaries).GroupBy(p => p.First.Name, StringComparer.Ordinal))
        {
            var all = group.Select(g => g.Second).ToList();
            long verified = all.Sum(s => s.ShaVerified);
            long mismatched = all.Sum(s => s.MismatchedBytes);
            if (group.Key == "upload")
            {
                (verified, mismatched) = VerifyUploads(group.Select(g => g.First.Options));
                uploaded = verified;
            }
            traffic.Add(new DemoTraffic(group.Key, all.Sum(s => s.Connections), all.Sum(s => s.Broken), all.Sum(s => s.Resets), all.Sum(s => s.Bytes),
                mismatched, verified, all.Sum(s => s.Requests), all.Max(s => s.LongestSilenceMs), all.Max(s => s.P50Us), all.Max(s => s.P99Us)));
        }
        return new DemoResult
        {
            Cluster = cluster.Name,
            Connections = traffic.Sum(t => t.Connections),
            Broken = traffic.Sum(t => t.Broken),
            Resets = traffic.Sum(t => t.Resets),
            Bytes = traffic.Sum(t => t.Bytes),
            MismatchedBytes = traffic.Sum(t => t.MismatchedBytes),
            Sha256Verified = traffic.Sum(t => t.ShaVerified),
            Transfers = traffic.Where(t => t.Name != "requests").Sum(t => t.Connections),
            Requests = traffic.Sum(t => t.Requests),
            LongestSilenceMs = traffic.Max(t => t.LongestSilenceMs),
            PacketsReplayed = cluster.PacketsReplayed(),
            Seconds = seconds,
            Traffic = traffic,
            Events = _events,
            ProxyPackets = _meter.Packets(),
            Bins = _meter.Bins(),
            Capture = capture,
            Configurations = cluster.Configurations,
        };
    }

    /// <summary>Compares what nginx stored with what was sent: transfers whose sum is right, and bytes that differ.</summary>
    private (long Verified, long Mismatched) VerifyUploads(IEnumerable<LoadOptions> uploads)
    {
        long verified = 0, mismatched = 0;
        foreach (var options in uploads)
        {
            for (int i = 0; i < options.Connections; i++)
            {
                ulong seed = options.Seed + (ulong)i;
                foreach (var server in _servers.Where(s => File.Exists(s.UploadedFile(seed))))
                {
                    long differing = Pattern.DifferencesOfFile(server.UploadedFile(seed), seed, options.Bytes);
                    mismatched += differing;
                    verified += differing == 0 ? 1 : 0;
                    break;
                }
            }
        }
        return (verified, mismatched);
    }

    /// <summary>The capture and the configurations stay; gigabytes of random content do not.</summary>
    private void RemoveContent()
    {
        foreach (var server in _servers)
        {
            server.Process.Kill();
            Directory.Delete(server.Directory, recursive: true);
        }
    }
}
