using System.Globalization;
using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Measure;

/// <summary>
/// The thesis's tables 4.2 and 4.4 with our boxes: 100 concurrent PUTs of 10 MB, "by packet 40". Table 4.2: client link
/// 1 Gb/s, direct (a kernel routes) and 1 to 4 proxies. Table 4.4: 100 Mb/s, two proxies, one of which loses its links
/// half way. Throughput is bytes over the time until the last transfer ends, as there. The machines differ, so only
/// the ratio to "direct" or to "no failure" can be compared.
/// </summary>
public sealed class PapersExperiment(int runs, Action<string> log)
{
    private const int Transfers = 100;
    private const long Bytes = 10_000_000;

    /// <summary>Their table 4.2: configuration and Mb/s.</summary>
    private static readonly (string Name, int Proxies, double Theirs)[] Scaling =
        [("direct", 0, 895), ("1 proxy", 1, 125), ("2 proxies", 2, 217), ("3 proxies", 3, 283), ("4 proxies", 4, 335)];

    /// <summary>Their table 4.4, 10 MB: without a failure, and with a heartbeat of 200 ms.</summary>
    private const double TheirsWithout = 93.76, TheirsWith = 88.79;

    public async Task Table42(TextWriter to)
    {
        var rates = Scaling.Select(_ => new Spread()).ToArray();
        long broken = 0;
        for (int run = 1; run <= runs; run++)
        {
            for (int i = 0; i < Scaling.Length; i++)
            {
                log(string.Create(CultureInfo.InvariantCulture, $"4.2, run {run}: {Scaling[i].Name}"));
                var summary = await Transfer(Scaling[i].Proxies, "1gbit", "5ms misses 3", failAfter: null).ConfigureAwait(false);
                rates[i].Add(summary.MbitPerSecond);
                broken += summary.Broken;
            }
        }
        to.WriteLine();
        to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Table 4.2: 100 concurrent PUTs of 10 MB, client link 1 Gb/s, by packet 40, durability async; {runs} runs; connections broken: {broken}"));
        to.WriteLine();
        to.WriteLine("| configuration | thesis Mb/s | thesis / its direct | ours Mb/s | ours / our direct |");
        to.WriteLine("|---|---|---|---|---|");
        for (int i = 0; i < Scaling.Length; i++)
        {
            to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {Scaling[i].Name} | {Scaling[i].Theirs} | {Scaling[i].Theirs / Scaling[0].Theirs:P0} | {rates[i]} | {rates[i].Median / rates[0].Median:P1} |"));
        }
    }

    public async Task Table44(TextWriter to)
    {
        string[] beats = ["5ms misses 3", "200ms misses 3"];
        var without = new Spread();
        Spread[] with = [new(), new()];
        long broken = 0;
        for (int run = 1; run <= runs; run++)
        {
            log(string.Create(CultureInfo.InvariantCulture, $"4.4, run {run}: no failure"));
            var summary = await Transfer(2, "100mbit", beats[0], failAfter: null).ConfigureAwait(false);
            without.Add(summary.MbitPerSecond);
            broken += summary.Broken;
            for (int i = 0; i < beats.Length; i++)
            {
                log(string.Create(CultureInfo.InvariantCulture, $"4.4, run {run}: {beats[i]}"));
                var failed = await Transfer(2, "100mbit", beats[i], failAfter: summary.Seconds / 2).ConfigureAwait(false);
                with[i].Add(failed.MbitPerSecond);
                broken += failed.Broken;
            }
        }
        to.WriteLine();
        to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Table 4.4: 100 concurrent PUTs of 10 MB at 100 Mb/s, two proxies, one loses its links half way; {runs} runs; connections broken: {broken}"));
        to.WriteLine();
        to.WriteLine("| heartbeat | Mb/s | of no failure |");
        to.WriteLine("|---|---|---|");
        to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| thesis, no failure | {TheirsWithout} | 100 % |"));
        to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| thesis, 200 ms | {TheirsWith} | {TheirsWith / TheirsWithout:P1} |"));
        to.WriteLine($"| ours, no failure | {without} | 100 % |");
        to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| ours, default (5 ms x 3) | {with[0]} | {with[0].Median / without.Median:P2} |"));
        to.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| ours, 200 ms x 3 (for comparison only) | {with[1]} | {with[1].Median / without.Median:P2} |"));
    }

    // What the thesis' machines had by default, or close to it; BBR makes small frames of 100 slow connections.
    private const string Congestion = "cubic";

    /// <summary>One load on a fresh cluster; 0 proxies: a kernel routes.</summary>
    private static async Task<LoadSummary> Transfer(int proxies, string rate, string heartbeat, double? failAfter)
    {
        using var allowed = new CongestionControl(Congestion);
        if (proxies == 0)
        {
            await using var network = LabNetwork.Create();
            var direct = ClusterTopology.Build(network, new ClusterOptions { Kind = BoxKind.Router, Boxes = 1, Backends = 1, ClientRate = rate, CongestionControl = Congestion });
            LabTool.StartServer(direct.Backends[0]);
            return await Put(direct, failAfter: null, null).ConfigureAwait(false);
        }
        await using var lab = ApplianceLab.Start(
            new ApplianceOptions { Proxies = proxies, Share = "by packet 40", Durability = "async", Heartbeat = heartbeat },
            new ClusterOptions { Backends = 1, ClientRate = rate, CongestionControl = Congestion });
        return await Put(lab.Topology, failAfter, lab.Boxes[^1].Host).ConfigureAwait(false);
    }

    private static async Task<LoadSummary> Put(ClusterTopology topology, double? failAfter, Host? victim)
    {
        var run = LabTool.StartClient(topology.Clients[0], "put", new LoadOptions(LoadMode.Put, topology.ServiceAddress())
        {
            Connections = Transfers,
            Bytes = Bytes,
            Verify = false,
            Wait = true,
            StallSeconds = 120,
        });
        await run.Ready.ConfigureAwait(false);
        run.Go();
        if (failAfter is { } seconds)
        {
            await Task.Delay(TimeSpan.FromSeconds(seconds)).ConfigureAwait(false);
            LinkFaults.Down(victim!.Link("eth0"));
            LinkFaults.Down(victim.Link("eth1"));
        }
        return await run.Finish().ConfigureAwait(false);
    }
}
