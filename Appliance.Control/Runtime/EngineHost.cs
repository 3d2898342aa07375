using Appliance.Control.Model;
using Appliance.DataPath.Balance;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;

namespace Appliance.Control.Runtime;

/// <summary>
/// The engine process, composed: workers with their ports, and the control threads that share
/// its fate (liveness, replication). Starts empty; counts as running once its backends were
/// asked; the sharer uses it once its peers have refilled it. See docs/architecture.md for the order of starting and ending.
/// </summary>
public sealed class EngineHost : IDisposable
{
    private const long ProbeGraceNs = 1_000_000_000;

    private readonly EngineFiles _files;
    private readonly EngineWorkers _workers;
    private readonly EngineEventRing _report;
    private readonly EngineCluster _cluster;

    /// <summary>Opens everything; on failure nothing is left behind.</summary>
    /// <exception cref="PortException">An interface is missing, or a privilege.</exception>
    public EngineHost(CompiledConfiguration configuration, ClusterKey key, long incarnation)
    {
        BoxSettings settings = configuration.Box;
        BoxConfig config = ToBoxConfig(configuration, key.Current);
        FramePort[][] ports = WorkerPorts.Open(settings, config);
        _files = EngineFiles.Create(incarnation, WorkerGroup.Divide(config, settings.Workers).Splices, settings.Workers);
        _workers = new EngineWorkers(settings, config, ports, _files);
        _report = EngineEventRing.Create(_files.Events, (uint)incarnation);
        _cluster = new EngineCluster(settings, key, _workers, _files.Status, _report);
    }

    /// <summary>The shared files, to be announced once the engine runs.</summary>
    public EngineFiles Files => _files;

    /// <summary>Starts the threads, refills from an <paramref name="earlier"/> engine's tables if there is no peer to do it, and returns when the box may carry packets (or the wait for its backends and peers is over).</summary>
    public void Start(EngineAddress? earlier)
    {
        _report.Report(EngineEventKind.Started);
        Warmup.Run();
        _workers.Start(_cluster.WakeReplication);
        if (earlier is not null && !_cluster.HasPeers) TableRefill.Run(earlier, _workers.FromReplication, _workers.Wake);
        _cluster.Start();
        long giveUp = Clock.Now + ProbeGraceNs;
        while (Clock.Now < giveUp && !_workers.IsProfiled) Thread.Sleep(1);
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
        _workers.Dispose();
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
}
