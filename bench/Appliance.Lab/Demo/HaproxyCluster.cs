using Appliance.Lab.Faults;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Demo;

/// <summary>The contrast: two HAProxy boxes, clients spread over them, and the same kill.</summary>
public sealed class HaproxyCluster : IDemoCluster
{
    public HaproxyCluster(LabNetwork lab, string rate) => Topology = ClusterTopology.Build(
        lab, new ClusterOptions { Kind = BoxKind.HaproxyHttp, Clients = 2, Boxes = 2, ClientRate = rate });

    public string Name => "haproxy";

    public ClusterTopology Topology { get; }

    public IReadOnlyList<Host> Proxies => Topology.Boxes;

    public IReadOnlyList<string> Configurations => Proxies.Select(p => Path.Combine(p.DirectoryFor("box"), "haproxy.cfg")).ToList();

    public void Start()
    {
        // The topology has started them.
    }

    public string KillProxy()
    {
        ProcessFaults.KillBox(Proxies[0]);
        return "kill -9: every process of box1, an HAProxy";
    }

    public string KillManager() => "HAProxy is one process: nothing else to kill";

    public string Revive()
    {
        ProcessFaults.ReviveBox(Proxies[0]);
        Topology.StartBox(1);
        return "box1 is started again";
    }

    public long? PacketsReplayed() => null;
}
