using System.Diagnostics;
using Appliance.Lab.Faults;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Experiments;

/// <summary>
/// The same load and the same faults, with HAProxy boxes: clients are spread over their addresses, as round robin DNS
/// would, and nobody takes over. For the table beside ours: what dies with a box is counted as broken, and silences are those of
/// all request/response connections. A box that fell silent is given up after a few seconds, not after thirty.
/// </summary>
public sealed class HaproxyKill : IKillCluster
{
    /// <summary>What stands in the place of a durability.</summary>
    public const string Name = "haproxy";

    private readonly KillOptions _options;
    private readonly ClusterTopology _topology;
    private readonly CongestionControl _allowed;
    private int _runs;

    private HaproxyKill(KillOptions options, ClusterTopology topology, CongestionControl allowed) => (_options, _topology, _allowed) = (options, topology, allowed);

    public static HaproxyKill Start(KillOptions options)
    {
        var lab = LabNetwork.Create();
        var allowed = new CongestionControl(KillOptions.Congestion);
        try
        {
            var topology = ClusterTopology.Build(lab, options.Cluster with { Kind = BoxKind.HaproxyHttp, Boxes = options.Proxies });
            Parallel.ForEach(topology.Backends, b => LabTool.StartServer(b));
            return new HaproxyKill(options with { Durability = Name, StallSeconds = options.OutageSeconds + 3 }, topology, allowed);
        }
        catch
        {
            lab.Dispose();
            allowed.Dispose();
            throw;
        }
    }

    public async Task<KillResult> Run(KillFault fault, int seed)
    {
        var plan = new KillPlan(_options, fault, seed, _topology.Boxes.Count);
        var victim = _topology.Boxes[plan.Victim];
        string[] addresses = [.. Enumerable.Range(1, _topology.Boxes.Count).Select(box => _topology.ServiceAddress(box))];
        using var load = new KillLoad(_topology, _options, addresses, ++_runs, plan);
        await load.Go().ConfigureAwait(false);
        var clock = Stopwatch.StartNew();
        int inFlight = 0;
        await KillPlan.Act(() =>
        {
            KillPlan.SleepUntil(clock, plan.At);
            inFlight = load.InFlight;
            if (fault == KillFault.Engine)
            {
                victim.Processes.Last(p => !p.HasExited).Kill();
            }
            else
            {
                plan.Hit(victim);
            }
        }).ConfigureAwait(false);
        var result = await load.Finish(plan.Result(victim.Name)).ConfigureAwait(false);
        if (fault == KillFault.Box)
        {
            ProcessFaults.ReviveBox(victim);
        }
        if (fault is KillFault.Box or KillFault.Engine)
        {
            _topology.StartBox(plan.Victim + 1);
        }
        return result with { InFlight = inFlight, Seconds = clock.Elapsed.TotalSeconds };
    }

    public async ValueTask DisposeAsync()
    {
        await _topology.Lab.DisposeAsync().ConfigureAwait(false);
        _allowed.Dispose();
    }
}
