using Appliance.Control.Model;
using Appliance.Control.Sealing;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.State;
using Membership = Appliance.DataPath.Paths.Membership;

namespace Appliance.Control.Runtime;

/// <summary>
/// The engine's part of the cluster: threads of liveness and replication if there are peers; if
/// there are none, a membership of one and a clock for the cookie keys.
/// </summary>
public sealed class EngineCluster : IDisposable
{
    private readonly BoxSettings _settings;
    private readonly Box _box;
    private readonly Membership _membership;
    private readonly WorkerThread _worker;
    private readonly SpscQueue<SpliceCommand> _toWorker;
    private readonly EngineStatus _status;
    private readonly ReplicationThread? _replication;
    private readonly LivenessThread? _liveness;
    private Timer? _cookies;

    /// <summary>Opens what the threads need; <see cref="Start"/> starts them.</summary>
    public EngineCluster(
        BoxSettings settings, ClusterKey key, Box box, Membership membership, WorkerThread worker,
        SpscQueue<SpliceEvent> events, SpscQueue<SpliceCommand> fromReplication, SpscQueue<SpliceCommand> fromLiveness,
        EngineStatus status, EngineEventRing report, Quiescence quiescence)
    {
        _settings = settings;
        _box = box;
        _membership = membership;
        _worker = worker;
        _toWorker = fromLiveness;
        _status = status;
        if (settings.Peers.IsEmpty) return;
        ClusterKeys keys = new(key.Current, key.Next ?? []);
        Incarnation me = Incarnation.Create();
        _replication = new ReplicationThread(settings, keys, me, box, worker, fromReplication, events, status, report, quiescence);
        _liveness = new LivenessThread(settings, keys, me, box, membership, worker, _replication, fromLiveness, status, report);
    }

    /// <summary>Starts the threads.</summary>
    public void Start()
    {
        _replication?.Start();
        _liveness?.Start();
    }

    /// <summary>Backends were asked and the paths are warm: the box may be counted as usable.</summary>
    public void BackendsKnown()
    {
        if (_liveness is not null)
        {
            _liveness.SetReady();
            return;
        }
        MembershipSlot slot = _membership.Prepare(out byte number)!;
        slot.Usable = _settings.IsProxy ? 1ul << _settings.Node : 0;
        slot.Live = 1ul << _settings.Node;
        slot.Table.Rebuild(slot.Usable);
        _membership.Posted(number);
        ref EngineHeader header = ref _status.Header;
        (header.MembershipVersion, header.Usable, header.Live) = (1, (long)slot.Usable, (long)slot.Live);
        Post(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
        _cookies = new Timer(_ => _box.Cookies.Prepare(Clock.WallMs / 1000), null, 1000, 1000);
    }

    /// <summary>True if there are other boxes.</summary>
    public bool HasPeers => _liveness is not null;

    /// <summary>The worker left messages for replication.</summary>
    public void WakeReplication() => _replication?.Wake();

    /// <summary>True once the peers' tables are here.</summary>
    public bool IsRefilled => _replication?.IsRefilled ?? true;

    /// <summary>Says that the box leaves and forwards what still comes, for a while.</summary>
    public void Leave(TimeSpan grace)
    {
        _liveness?.SetLeaving();
        Thread.Sleep(grace);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cookies?.Dispose();
        _liveness?.Dispose();
        _replication?.Dispose();
    }

    private void Post(in SpliceCommand command)
    {
        _toWorker.TryEnqueue(command);
        _worker.Wake();
    }
}
