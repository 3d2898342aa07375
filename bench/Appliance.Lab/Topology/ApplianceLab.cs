using System.Diagnostics;
using System.Globalization;
using System.Text;
using Appliance.Lab.Faults;
using Appliance.Lab.Net;

namespace Appliance.Lab.Topology;

/// <summary>
/// A whole cluster of appliances on the standard topology, IPv4 and IPv6: the lab, the boxes' configurations and key
/// files, their processes, and the wait until all of them agree that all proxies are usable. Waits are by condition
/// with deadlines that a busy machine does not reach.
/// </summary>
public sealed class ApplianceLab : IAsyncDisposable
{
    /// <summary>How long a condition may take to become true.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private static readonly TimeSpan LeaveLimit = TimeSpan.FromSeconds(3);

    private ApplianceLab(ClusterTopology topology, ApplianceOptions options)
    {
        Topology = topology;
        Options = options;
        string directory = topology.Boxes[0].DirectoryFor("config");
        string key = NewKey(directory, "cluster.key");
        Boxes = Enumerable.Range(1, options.Boxes).Select(box =>
        {
            string file = Path.Combine(directory, $"gw{box}.conf");
            File.WriteAllText(file, Configuration(box, options.Strangers.Contains(box) ? NewKey(directory, $"other{box}.key") : key));
            return new ApplianceBox(topology.Boxes[box - 1], file);
        }).ToList();
    }

    public ClusterTopology Topology { get; }

    public ApplianceOptions Options { get; }

    public IReadOnlyList<ApplianceBox> Boxes { get; }

    /// <summary>The box that spreads the packets.</summary>
    public ApplianceBox Sharer => Boxes[0];

    /// <summary>The boxes that carry the connections.</summary>
    public IEnumerable<ApplianceBox> Proxies => Options.Proxies == 1 ? Boxes : Boxes.Skip(1);

    public Host Client => Topology.Clients[0];

    /// <summary>Builds the network and writes configurations; starts no process.</summary>
    public static ApplianceLab Build(ApplianceOptions options, ClusterOptions? cluster = null, LabNetwork? lab = null)
    {
        var network = lab ?? LabNetwork.Create();
        try
        {
            return new ApplianceLab(ClusterTopology.Build(network, (cluster ?? new ClusterOptions()) with { Kind = BoxKind.Appliance, Boxes = options.Boxes }), options);
        }
        catch
        {
            network.Dispose();
            throw;
        }
    }

    /// <summary>Builds it, starts a test server in every backend and all boxes, and waits until they can be used.</summary>
    public static ApplianceLab Start(ApplianceOptions options, ClusterOptions? cluster = null)
    {
        var lab = Build(options, cluster);
        try
        {
            Parallel.ForEach(lab.Topology.Backends, b => LabTool.StartServer(b));
            lab.StartBoxes();
            lab.WaitUsable();
            return lab;
        }
        catch
        {
            lab.Topology.Lab.Dispose();
            throw;
        }
    }

    public void StartBoxes() => Parallel.ForEach(Boxes, b => b.Start());

    /// <summary>Waits until every box agrees that all proxies are usable and all boxes live.</summary>
    public void WaitUsable() => WaitUsable(Boxes);

    /// <summary>Waits until these boxes agree that exactly they live, and the proxies among them are usable.</summary>
    public void WaitUsable(IReadOnlyCollection<ApplianceBox> boxes)
    {
        var live = boxes.Select(Name).ToList();
        var proxies = Proxies.Intersect(boxes).Select(Name).ToList();
        WaitFor(() => boxes.All(b => b.Agrees(proxies, live)), "the boxes agree",
            () => string.Join('\n', boxes.Select(b => $"{b.Host.Name}: {b.Show("peers")?.ToJsonString()}\n{b.Log}")));
    }

    /// <summary>Sum of a counter over all boxes that answer.</summary>
    public long Counter(string name) => Boxes.Sum(b => b.Counters().GetValueOrDefault(name));

    /// <summary>Name of a box in its cluster.</summary>
    public string Name(ApplianceBox box) => string.Create(CultureInfo.InvariantCulture, $"gw{Boxes.ToList().IndexOf(box) + 1}");

    /// <summary>Looks again and again until something is so; throws, with what the caller can say, when it never is.</summary>
    public static void WaitFor(Func<bool> condition, string what, Func<string>? explain = null)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            if (clock.Elapsed > Patience)
            {
                throw new CommandFailedException($"{what}: not within {Patience.TotalSeconds} s. {explain?.Invoke()}");
            }
            Thread.Sleep(20);
        }
    }

    /// <summary>Asks all boxes to leave. What has not ended then is killed with the lab, and leaves its files in memory to the next.</summary>
    public void StopBoxes()
    {
        var running = Boxes.Where(b => b.Process is { HasExited: false }).ToList();
        foreach (var box in running)
        {
            ProcessFaults.ContinueAll(box.Host);
            box.Process!.Signal(LabNative.SigTerm);
        }
        foreach (var box in running)
        {
            box.Process!.WaitForExit(LeaveLimit);
        }
    }

    public ValueTask DisposeAsync()
    {
        StopBoxes();
        return Topology.Lab.DisposeAsync();
    }

    private string Configuration(int box, string key)
    {
        bool alone = Options.Proxies == 1;
        string role = alone ? "sharer proxy" : box == 1 ? "sharer" : "proxy";
        var text = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"""
            hostname gw{box}
            interface external eth0 {ClusterTopology.BoxExternal(box)}/24 {ClusterTopology.BoxExternal6(box)}/64
            interface internal eth1 {ClusterTopology.BoxInternal(box)}/24 {ClusterTopology.BoxInternal6(box)}/64
            interface sync eth2 {ClusterTopology.BoxSync(box)}/24
            external gw 203.0.113.1
            internal net {ClusterTopology.InternalNet}
            internal net fd00:1::/64
            internal gw {ClusterTopology.InternalGateway}
            internal gw {ClusterTopology.InternalGateway6}
            role {role}
            key file {key}
            heartbeat interval {Options.Heartbeat}
            workers {Options.Workers}

            """));
        foreach (int peer in Enumerable.Range(1, Options.Boxes).Where(p => p != box))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"peer gw{peer} at {ClusterTopology.BoxSync(peer)}");
        }
        foreach (string line in Options.Services ?? PlainServices())
        {
            text.AppendLine(line);
        }
        return text.ToString();
    }

    private IEnumerable<string> PlainServices()
    {
        foreach (bool ipv6 in (bool[])[false, true])
        {
            string name = ipv6 ? "WWW6" : "WWW";
            yield return $"service {name} is {Topology.ServiceAddress(ipv6: ipv6)} tcp {Topology.Options.Port.ToString(CultureInfo.InvariantCulture)} splice durability {Options.Durability}";
            yield return $"pool pool_{name} for {name}";
            for (int backend = 1; backend <= Topology.Options.Backends; backend++)
            {
                yield return $"add {(ipv6 ? ClusterTopology.BackendAddress6(backend) : ClusterTopology.BackendAddress(backend))} to pool_{name}";
            }
            yield return $"share {name} {Options.Share}";
        }
    }

    // The key is made by the tool itself, so that its format is its own affair.
    private static string NewKey(string directory, string name)
    {
        string file = Path.Combine(directory, name);
        Command.Run("dotnet", [ApplianceBox.Program, "key", "new", file]);
        Command.Run("chown", ["nobody", file]);
        return file;
    }
}
