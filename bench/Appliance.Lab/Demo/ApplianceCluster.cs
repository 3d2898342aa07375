using Appliance.Lab.Faults;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Demo;

/// <summary>The demo's own side: box1 shares, box2 and box3 are the proxies.</summary>
public sealed class ApplianceCluster(LabNetwork lab, string rate) : IDemoCluster
{
    private readonly ApplianceLab _appliances = ApplianceLab.Build(new ApplianceOptions(), new ClusterOptions { ClientRate = rate }, lab);

    public string Name => "appliance";

    public ClusterTopology Topology => _appliances.Topology;

    public IReadOnlyList<Host> Proxies => [Topology.Boxes[1], Topology.Boxes[2]];

    public IReadOnlyList<string> Configurations => _appliances.Boxes.Select(b => b.Configuration).ToList();

    public void Start() => _appliances.StartBoxes();

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
        _appliances.Boxes[1].Start();
        return "box2 is started again";
    }

    public long? PacketsReplayed() => _appliances.Counter("replayed");
}
