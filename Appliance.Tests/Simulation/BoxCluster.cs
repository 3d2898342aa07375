using Appliance.Control.Failover;
using Appliance.Control.Replication;
using Appliance.Control.Runtime;
using Appliance.Control.Sealing;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Runtime;
using Appliance.DataPath.State;

namespace Appliance.Tests.Simulation;

/// <summary>Sends what a box's liveness and replication want sent.</summary>
internal interface IClusterWire
{
    void SendBeatFrame(byte link, ReadOnlySpan<byte> datagram);

    void SendSync(byte peer, byte kind, ReadOnlySpan<byte> datagram);
}

/// <summary>
/// Liveness, replication and both bridges of one simulated box: what the engine does on two threads, here in turns.
/// Unsealed unless the plan says otherwise, to save time; sealing has tests of its own.
/// </summary>
internal sealed class BoxCluster : IBeatOutput, IDatagramSender, IDisposable
{
    public const byte KindBeat = 0, KindRecords = 1;

    private const long AloneAfterNs = 300 * SimWorld.Millisecond, MostLagNs = 20 * SimWorld.Millisecond;

    private readonly Box _box;
    private readonly BoxPlan _plan;
    private readonly IClusterWire _wire;
    private readonly byte _self;
    private readonly ulong _peers, _proxies;
    private readonly long _started;
    private readonly LivenessCore _core;
    private readonly LivenessBridge _liveness;
    private readonly RecordBridge _records;
    private readonly Replicator _replicator;
    private readonly NodeFlags _roles;
    private readonly Action _drainWorker;
    private ulong _live;
    private long _nextBeat, _nextRecords;

    public BoxCluster(
        BoxPlan plan, Worker worker, DataPath.Paths.Membership membership, SpscQueue<SpliceEvent> events, SpscQueue<SpliceCommand> fromReplication,
        SpscQueue<SpliceCommand> fromLiveness, IClusterWire wire, SimRandom random, long now, Action drainWorker)
    {
        (_plan, _box, _wire, _started, _drainWorker) = (plan, worker.Box, wire, now, drainWorker);
        _self = _box.Config.Self;
        _proxies = plan.Proxies;
        _peers = ((1ul << plan.Roles.Length) - 1) & ~(1ul << _self);
        BoxRoles roles = plan.Roles[_self];
        if ((roles & BoxRoles.Proxy) != BoxRoles.None) _roles |= NodeFlags.Proxy;
        if ((roles & BoxRoles.Sharer) != BoxRoles.None) _roles |= NodeFlags.Sharer | NodeFlags.ActiveSharer;
        var salt = new byte[Incarnation.SaltBytes];
        for (int i = 0; i < salt.Length; i++) salt[i] = (byte)random.Next();
        var me = new Incarnation(salt);
        var options = new LivenessOptions { Self = _self, Peers = _peers, NodeListHash = 1, IntervalNs = plan.BeatNs };
        ClusterKeys keys = plan.Sealed ? new ClusterKeys(BoxNode.Key) : ClusterKeys.Unsealed;
        _core = new LivenessCore(options, me, keys, this, now, new Random((int)random.Next()));
        _liveness = new LivenessBridge(_core, _self, membership, fromLiveness);
        _records = new RecordBridge(_box.Splices, _box.Handshakes, fromReplication, events, drainWorker);
        _replicator = new Replicator(_self, _peers, me, keys, _records, _records, this, new LinkOptions { Slots = 1024, Window = 128 }, new Random((int)random.Next()));
        _records.Connect(_replicator);
    }

    /// <summary>When a turn is due.</summary>
    public long NextDeadline => Math.Min(_nextBeat, _nextRecords);

    /// <summary>Everybody lives, everybody's table is here, everybody has ours (but for what was said a moment ago), and everybody is used.</summary>
    public bool IsSettled(long now) => KnowsAll && IsInStep(now);

    private bool KnowsAll => _core.Alive == _peers && _replicator.Live == _peers && _replicator.Refilled == _peers && _core.Table == _proxies;

    private bool IsInStep(long now)
    {
        foreach (byte peer in new NodeSet(_peers))
        {
            if (_replicator.Link(peer) is not { Waiting: < 16, ResyncPhase: ResyncPhase.Idle } link || link.LagNs(now) > MostLagNs) return false;
        }
        return true;
    }

    /// <summary>For the evidence.</summary>
    public override string ToString() => $"alive {_core.Alive:x} table {_core.Table:x} refilled {_replicator.Refilled:x}";

    /// <summary>One turn: what the worker said goes out, what is due is done. True if the worker has something to do.</summary>
    public bool Turn(long now, long wallMs)
    {
        (Component, bool) before = _plan.Meter.Enter(Component.Liveness, !KnowsAll);
        _core.WorkersAdvanced(now);
        NodeFlags flags = _roles;
        bool waited = now - _started > AloneAfterNs || _core.Alive == _peers;
        if (waited && (_core.Alive & ~_replicator.Refilled) == 0) flags |= NodeFlags.Refilled;
        if (_box.IsProfiled) flags |= NodeFlags.Ready;
        _core.SetLocal(new LocalState { Flags = flags, Workload = ushort.MaxValue });
        _nextBeat = _core.Step(now, wallMs);
        _liveness.Pump();
        _plan.Meter.Enter(Component.Replication, !KnowsAll);
        if (_core.Alive != _live)
        {
            _live = _core.Alive;
            _replicator.SetLive(_live, now);
            _records.OnLive(_live);
        }
        _records.Pump(now);
        _nextRecords = _replicator.Step(now);
        _plan.Meter.Leave(before);
        bool work = _liveness.MustWake || _records.MustWake;
        _liveness.MustWake = _records.MustWake = false;
        return work;
    }

    public void TakeBeat(byte link, ReadOnlySpan<byte> datagram, long now)
    {
        (Component, bool) before = _plan.Meter.Enter(Component.Liveness, !KnowsAll);
        _core.Receive(link, datagram, now);
        _plan.Meter.Leave(before);
    }

    public void TakeRecords(ReadOnlySpan<byte> datagram, long now)
    {
        (Component, bool) before = _plan.Meter.Enter(Component.Replication, !KnowsAll);
        // The engine leaves it in the socket until there is room.
        if (!_records.HasRoom) _drainWorker();
        _replicator.Receive(datagram, now);
        _plan.Meter.Leave(before);
    }

    public void SetCarrier(byte link, bool up, long now) => _core.SetCarrier(link, up, now);

    public void Told(int node, long now) => _core.Told((byte)node, 0, DeathCause.ConnectionClosed, now);

    /// <summary>The box was away.</summary>
    public void Paused(long away, long now) => _core.AskAfterPause(away, now);

    /// <inheritdoc/>
    public void SendBeat(byte link, byte receiver, ReadOnlySpan<byte> datagram)
    {
        if (link == Links.Sync) _wire.SendSync(receiver, KindBeat, datagram);
        else _wire.SendBeatFrame(link, datagram);
    }

    /// <inheritdoc/>
    public void Send(byte peer, ReadOnlySpan<byte> datagram) => _wire.SendSync(peer, KindRecords, datagram);

    /// <inheritdoc/>
    public void Dispose()
    {
        _plan.Meter.Keys += _core.KeysDerived + _replicator.KeysDerived;
        _core.Dispose();
        _replicator.Dispose();
        _records.Dispose();
    }
}
