using Appliance.Control.Model;
using Appliance.DataPath.Balance;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.Runtime;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// The engine process, composed: ports, box, worker thread, and the control threads that share
/// its fate (liveness, replication). Starts empty; counts as running once its backends were
/// asked; the sharer uses it once its peers have refilled it. See docs/architecture.md for the order of starting and ending.
/// </summary>
public sealed class EngineHost : IDisposable
{
    private const int QueueLength = 1 << 16;
    private const long ProbeGraceNs = 1_000_000_000;

    private readonly EngineFiles _files;
    private readonly FramePort[] _ports;
    private readonly Box _box;
    private readonly Membership _membership;
    private readonly WorkerThread _worker;
    private readonly EngineEventRing _report;
    private readonly EngineCluster _cluster;
    private readonly SpscQueue<SpliceCommand> _fromReplication;

    /// <summary>Opens everything; on failure nothing is left behind.</summary>
    /// <exception cref="PortException">An interface is missing, or a privilege.</exception>
    public EngineHost(CompiledConfiguration configuration, ClusterKey key, long incarnation)
    {
        BoxSettings settings = configuration.Box;
        BoxConfig config = ToBoxConfig(configuration, key.Current);
        _ports = OpenPorts(settings, config);
        _files = EngineFiles.Create(incarnation, config.Splices);
        _report = EngineEventRing.Create(_files.Events, (uint)incarnation);
        Quiescence quiescence = new();
        _membership = new Membership(NameHashes(config.Nodes));
        SpscQueue<SpliceEvent> events = new(QueueLength);
        _fromReplication = new SpscQueue<SpliceCommand>(QueueLength);
        SpscQueue<SpliceCommand> fromLiveness = new(1024);
        ulong seed = (ulong)Random.Shared.NextInt64();
        _box = new Box(config, _files.ToBoxMemory(seed, quiescence), _ports, _membership, events, Clock.Now, Clock.WallMs);
        Worker worker = new(_box, _ports, [fromLiveness, _fromReplication]);
        _worker = new WorkerThread(worker, _ports, events, _files.Status, quiescence) { Pinned = settings.WorkersPinned };
        _cluster = new EngineCluster(settings, key, _box, _membership, _worker, events, _fromReplication, fromLiveness, _files.Status, _report, quiescence);
        _worker.EventsWaiting = _cluster.WakeReplication;
    }

    /// <summary>The shared files, to be announced once the engine runs.</summary>
    public EngineFiles Files => _files;

    /// <summary>Starts the threads, refills from an <paramref name="earlier"/> engine's tables if there is no peer to do it, and returns when the box may carry packets (or the wait for its backends and peers is over).</summary>
    public void Start(EngineAddress? earlier)
    {
        _report.Report(EngineEventKind.Started);
        Warmup.Run();
        _worker.Start();
        if (earlier is not null && !_cluster.HasPeers) TableRefill.Run(earlier, _fromReplication, _worker.Wake);
        _cluster.Start();
        long giveUp = Clock.Now + ProbeGraceNs;
        while (Clock.Now < giveUp && !_box.IsProfiled) Thread.Sleep(1);
        _cluster.BackendsKnown();
        _files.Status.Header.Phase = (long)EnginePhase.Running;
        _report.Report(EngineEventKind.Running);
    }

    /// <summary>Announces leave, forwards what still comes until the peers know, and ends.</summary>
    public void Leave(TimeSpan grace)
    {
        _files.Status.Header.Phase = (long)EnginePhase.Leaving;
        _report.Report(EngineEventKind.Leaving);
        _cluster.Leave(grace);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cluster.Dispose();
        _worker.Dispose();
        _box.Dispose();
        foreach (FramePort port in _ports) port.Dispose();
        _files.Unlink();
        _files.Dispose();
    }

    /// <summary>Hashes of node names for the owner table: the same on every box.</summary>
    public static ulong[] NameHashes(IReadOnlyList<string> nodes) => [.. nodes.Select(MaglevTable.NameHash)];

    /// <summary>The data path's view of a configuration.</summary>
    public static BoxConfig ToBoxConfig(CompiledConfiguration configuration, byte[] clusterKey)
    {
        BoxSettings settings = configuration.Box;
        return new BoxConfig
        {
            Nodes = [.. settings.Nodes],
            Self = settings.Node,
            Roles = (settings.IsSharer ? BoxRoles.Sharer : BoxRoles.None) | (settings.IsProxy ? BoxRoles.Proxy : BoxRoles.None),
            Links = [settings.External, settings.Internal],
            InternalGateway4 = settings.InternalGateway4,
            InternalGateway6 = settings.InternalGateway6,
            Services = configuration.Services,
            ClusterKey = clusterKey,
            Splices = settings.Splices,
            DetectionNs = settings.DetectionNs,
        };
    }

    private static FramePort[] OpenPorts(BoxSettings settings, BoxConfig config)
    {
        FramePort[] ports = new FramePort[2];
        try
        {
            for (int i = 0; i < 2; i++)
            {
                bool promiscuous = settings.Interfaces.Any(s => s.Role == (LinkRole)i && s.Promiscuous);
                ports[i] = AfPacketPort.Open(config.Links[i].InterfaceName, FilterOf(config, (LinkRole)i), new AfPacketOptions { Promiscuous = promiscuous });
            }
            return ports;
        }
        catch
        {
            foreach (FramePort? port in ports) port?.Dispose();
            throw;
        }
    }

    // Own MACs, and the solicited-node groups of IPv6 addresses that the box answers for.
    private static MacFilter FilterOf(BoxConfig config, LinkRole role)
    {
        BoxLink link = config.Links[(int)role];
        List<MacAddress> macs = [.. link.Macs, new MacAddress(0x3333_0000_0001)];
        IEnumerable<IpAddr> answered = role == LinkRole.External
            ? config.Services.Services.Select(s => s.Address)
            : [config.InternalGateway6];
        foreach (IpAddr address in answered.Append(link.Address6))
        {
            if (!address.IsNone && !address.IsV4) macs.Add(MacFilter.SolicitedNode(address));
        }
        return new MacFilter([.. macs]);
    }
}
