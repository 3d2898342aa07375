using Appliance.Control.Model;
using Appliance.Control.Sealing;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.State;
using Membership = Appliance.DataPath.Paths.Membership;

namespace Appliance.Control.Runtime;

/// <summary>
/// The engine's part of the cluster: threads of liveness and replication if there are peers; if
/// there are none, a membership of one, a clock for the cookie keys and the watch over backends. In both cases a thread that follows the links.
/// </summary>
public sealed class EngineCluster : IDisposable
{
    private readonly BoxSettings _settings;
    private readonly EngineWorkers _workers;
    private readonly EngineStatus _status;
    private readonly ReplicationThread? _replication;
    private readonly LivenessThread? _liveness;
    private readonly LinkThread _links;
    private readonly BackendWatch _backends;
    private Timer? _everySecond;

    /// <summary>Opens what the threads need; <see cref="Start"/> starts them.</summary>
    public EngineCluster(BoxSettings settings, ClusterKey key, EngineWorkers workers, EngineStatus status, EngineEventRing report)
    {
        _settings = settings;
        _workers = workers;
        _status = status;
        _links = new LinkThread(settings, workers, status, report);
        _backends = new BackendWatch(workers.Health, report);
        if (settings.Peers.IsEmpty) return;
        ClusterKeys keys = new(key.Current, key.Next ?? []);
        Incarnation me = Incarnation.Create();
        _replication = new ReplicationThread(settings, keys, me, workers, status, report);
        _liveness = new LivenessThread(settings, keys, me, workers, _replication, _links, _backends, status, report);
    }

    /// <summary>Starts the threads.</summary>
    public void Start()
    {
        _replication?.Start();
        _liveness?.Start();
        _links.Start();
    }

    /// <summary>Backends were asked and the paths are warm: the box may be counted as usable.</summary>
    public void BackendsKnown()
    {
        if (_liveness is not null)
        {
            _liveness.SetReady();
            return;
        }
        MembershipSlot slot = LivenessBridge.Prepare(_workers.Memberships, out byte number)!;
        slot.Use(_settings.IsProxy ? 1ul << _settings.Node : 0);
        slot.Live = 1ul << _settings.Node;
        foreach (Membership membership in _workers.Memberships) membership.Posted(number);
        ref EngineHeader header = ref _status.Header;
        (header.MembershipVersion, header.Usable, header.Live) = (1, (long)slot.Usable, (long)slot.Live);
        Post(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
        _everySecond = new Timer(_ => EverySecond(), null, 1000, 1000);
    }

    /// <summary>True if there are other boxes.</summary>
    public bool HasPeers => _liveness is not null;

    /// <summary>A worker left messages for replication.</summary>
    public void WakeReplication() => _replication?.Wake();

    /// <summary>Says that the box leaves and forwards what still comes, for a while.</summary>
    public void Leave(TimeSpan grace)
    {
        _liveness?.SetLeaving();
        Thread.Sleep(grace);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _everySecond?.Dispose();
        _links.Dispose();
        _liveness?.Dispose();
        _replication?.Dispose();
    }

    private void EverySecond()
    {
        _workers.PrepareCookies();
        // Never two at a time, however late the timer is.
        lock (_backends) _backends.Look();
    }

    private void Post(in SpliceCommand command)
    {
        foreach (SpscQueue<SpliceCommand> queue in _workers.FromLiveness) queue.TryEnqueue(command);
        _workers.Wake();
    }
}
