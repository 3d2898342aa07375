using Appliance.Lab.Faults;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Demo;

/// <summary>
/// The contrast: two HAProxy boxes, each with an address and a client of its own, and the same kill. Nothing takes a dead box's
/// address over (no VRRP): with it new connections would succeed again after about a second or more, and those that stood would be lost all the same.
/// </summary>
public sealed class HaproxyCluster : IDemoCluster
{
    public HaproxyCluster(LabNetwork lab, string rate) => Topology = ClusterTopology.Build(
        lab, new ClusterOptions { Kind = BoxKind.HaproxyHttp, Clients = 2, Boxes = 2, ClientRate = rate });

    public string Name => "haproxy";

    public string Mode => "an HAProxy with an address of its own for each client, no address takeover";

    public ClusterTopology Topology { get; }

    public IReadOnlyList<Host> Proxies => Topology.Boxes;

    public IReadOnlyList<string> Configurations => Proxies.Select(p => Path.Combine(p.DirectoryFor("box"), "haproxy.cfg")).ToList();

    public void Start()
    {
        // The topology has started them.
    }

    public void End()
    {
        // They keep nothing.
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

    public string? UsedAgain() => "box1 accepts connections again";

    public long? PacketsReplayed() => null;
}
