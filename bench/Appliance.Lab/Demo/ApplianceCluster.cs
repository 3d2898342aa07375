using Appliance.Lab.Faults;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Demo;

/// <summary>The demo's own side: box1 shares, box2 and box3 are the proxies.</summary>
public sealed class ApplianceCluster : IDemoCluster
{
    private readonly List<ApplianceBox> _boxes = [];

    public ApplianceCluster(LabNetwork lab, string rate)
    {
        Topology = ClusterTopology.Build(lab, new ClusterOptions { Boxes = 3, ClientRate = rate });
        string directory = Topology.Boxes[0].DirectoryFor("config");
        string key = Path.Combine(directory, "cluster.key");
        // The key is made by the tool itself, so that its format is its own affair.
        Command.Run("dotnet", [Path.Combine(AppContext.BaseDirectory, "appliance.dll"), "key", "new", key]);
        Command.Run("chown", ["nobody", key]);
        for (int box = 1; box <= 3; box++)
        {
            string file = Path.Combine(directory, $"gw{box}.conf");
            File.WriteAllText(file, Topology.ApplianceConfiguration(box, key, role: box == 1 ? "sharer" : "proxy"));
            _boxes.Add(new ApplianceBox(Topology.Boxes[box - 1], file));
        }
    }

    public string Name => "appliance";

    public ClusterTopology Topology { get; }

    public IReadOnlyList<Host> Proxies => [Topology.Boxes[1], Topology.Boxes[2]];

    public IReadOnlyList<string> Configurations => _boxes.Select(b => b.Configuration).ToList();

    public void Start() => Parallel.ForEach(_boxes, b => b.Start());

    public string KillProxy()
    {
        ProcessFaults.KillBox(_boxes[1].Host);
        return "kill -9: every process of box2, a proxy";
    }

    public string KillManager()
    {
        ProcessFaults.KillProcess(_boxes[2].ManagerPid);
        return "kill -9: the manager of box3, the other proxy";
    }

    public string Revive()
    {
        ProcessFaults.ReviveBox(_boxes[1].Host);
        _boxes[1].Start();
        return "box2 is started again";
    }

    public long? PacketsReplayed() => _boxes.SelectMany(b => b.Counters())
        .Where(c => c.Key.Contains("replayed", StringComparison.OrdinalIgnoreCase)).Sum(c => c.Value);
}
