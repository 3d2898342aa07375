using Appliance.Lab.Faults;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Demo;

/// <summary>The demo's own side: box1 shares, box2 and box3 are the proxies.</summary>
public sealed class ApplianceCluster(LabNetwork lab, string rate) : IDemoCluster
{
    private static readonly ApplianceOptions Options = new();

    private readonly ApplianceLab _appliances = ApplianceLab.Build(Options, new ClusterOptions { ClientRate = rate }, lab);

    public string Name => "appliance";

    public string Mode => $"one address, shared {Options.Share}, durability {Options.Durability}";

    public ClusterTopology Topology => _appliances.Topology;

    public IReadOnlyList<Host> Proxies => [Topology.Boxes[1], Topology.Boxes[2]];

    public IReadOnlyList<string> Configurations => _appliances.Boxes.Select(b => b.Configuration).ToList();

    public void Start() => _appliances.StartBoxes();

    public void End() => _appliances.StopBoxes();

    public string KillProxy()
    {
        ProcessFaults.KillBox(_appliances.Boxes[1].Host);
        return "kill -9: every process of box2, a proxy";
    }

    public string KillManager()
    {
        ProcessFaults.KillProcess(_appliances.Boxes[2].ManagerPid);
        return "kill -9: the manager of box3, the other proxy";
    }

    public string Revive()
    {
        ProcessFaults.ReviveBox(_appliances.Boxes[1].Host);
        _appliances.Boxes[1].Launch();
        return "box2 is started again";
    }

    public string? UsedAgain() => _appliances.Sharer.Uses(_appliances.Name(_appliances.Boxes[1])) ? "box2 is refilled, and the sharer uses it again" : null;

    public long? PacketsReplayed() => _appliances.Counter("replayed");
}
