using Appliance.Control.Model;
using Appliance.Control.Replication;
using Appliance.Control.Sealing;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// The thread of replication: the workers' messages out, peers' records in, as they come; sleeps in
/// poll. Reads the splice tables without locks (for full transfers and questions), hence reports to <see cref="Quiescence"/>.
/// </summary>
public sealed class ReplicationThread : IDisposable
{
    private const long LongestSleepNs = 50_000_000, StatusEveryNs = 50_000_000, DrainWaitNs = 5_000_000;

    private readonly UdpPeerSocket _socket;
    private readonly Replicator _replicator;
    private readonly RecordBridge[] _bridges;
    private readonly EngineWorkers _workers;
    private readonly EngineStatus _status;
    private readonly EngineEventRing _report;
    private readonly ulong _peers;
    private readonly Quiescence _quiescence;
    private readonly int _reader;
    private readonly Waiter _waiter;
    private readonly Thread _thread;
    private ulong _live, _applied, _refilledBy;
    private long _lost;
    private bool _wasRefilled;
    private volatile bool _stop;

    /// <summary>Opens the socket and composes bridges, one per worker, and replicator.</summary>
    public ReplicationThread(BoxSettings settings, ClusterKeys keys, Incarnation me, EngineWorkers workers, EngineStatus status, EngineEventRing report)
    {
        _workers = workers;
        _status = status;
        _report = report;
        _quiescence = workers.Quiescence;
        _reader = _quiescence.Register();
        _socket = new UdpPeerSocket(settings.SyncAddress, UdpPeerSocket.DefaultPort);
        foreach (PeerBox peer in settings.Peers)
        {
            _peers |= 1ul << peer.Id;
            _socket.AddPeer(peer.Id, peer.Address, UdpPeerSocket.DefaultPort);
        }
        _bridges = [.. workers.All.Select(w => new RecordBridge(w.Box.Splices, w.Box.Handshakes, w.FromReplication, w.Events, () => Drain(w)))];
        RecordRouter router = new(_bridges);
        _replicator = new Replicator(settings.Node, _peers, me, keys, router, router, _socket);
        foreach (RecordBridge bridge in _bridges) bridge.Connect(_replicator);
        _waiter = new Waiter([_socket.PollHandle]);
        _thread = new Thread(Run) { Name = "replication", IsBackground = true, Priority = ThreadPriority.AboveNormal };
    }

    /// <summary>Peers whose tables have come in whole.</summary>
    public ulong RefilledBy => Volatile.Read(ref _refilledBy);

    /// <summary>Peers whose host said that nobody listens there, since the last call; a told death.</summary>
    public ulong TakeRefused() => Interlocked.Exchange(ref _refused, 0);

    private ulong _refused;

    /// <summary>Starts.</summary>
    public void Start() => _thread.Start();

    /// <summary>Liveness: these peers live.</summary>
    public void SetLive(ulong live)
    {
        Volatile.Write(ref _live, live);
        _waiter.Wake();
    }

    /// <summary>A worker left messages.</summary>
    public void Wake() => _waiter.Wake();

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop = true;
        _waiter.Wake();
        if (_thread.IsAlive) _thread.Join();
        _waiter.Dispose();
        _replicator.Dispose();
        _socket.Dispose();
        foreach (RecordBridge bridge in _bridges) bridge.Dispose();
    }

    private void Run()
    {
        SchedulingNative.RunSoon(SchedulingNative.Replication);
        byte[] datagram = new byte[2048];
        long statusAt = 0;
        while (!_stop)
        {
            _quiescence.Report(_reader);
            long now = Clock.Now;
            int work = TakeLive(now) ? 1 : 0;
            for (int i = 0; i < 256 && HaveRoom(); i++, work++)
            {
                int length = _socket.Receive(datagram);
                if (length <= 0) break;
                _replicator.Receive(datagram.AsSpan(0, length), now);
            }
            foreach (RecordBridge bridge in _bridges) work += bridge.Pump(now);
            RepairLosses(now);
            long next = _replicator.Step(now);
            Volatile.Write(ref _refused, _refused | _socket.TakeRefused());
            WakeWorkers();
            Volatile.Write(ref _refilledBy, _replicator.Refilled);
            if (now >= statusAt)
            {
                statusAt = now + StatusEveryNs;
                WriteStatus(now);
            }
            if (work > 0) continue;
            _quiescence.Park(_reader);
            _waiter.Wait(Math.Clamp(next - Clock.Now, 0, LongestSleepNs));
        }
    }

    private bool HaveRoom()
    {
        foreach (RecordBridge bridge in _bridges)
        {
            if (!bridge.HasRoom) return false;
        }
        return true;
    }

    private void WakeWorkers()
    {
        for (int i = 0; i < _bridges.Length; i++)
        {
            if (!_bridges[i].MustWake && _bridges[i].HasRoom) continue;
            _bridges[i].MustWake = false;
            _workers.All[i].Thread.Wake();
        }
    }

    private bool TakeLive(long now)
    {
        ulong live = Volatile.Read(ref _live);
        if (live == _applied) return false;
        _applied = live;
        _replicator.SetLive(live, now);
        foreach (RecordBridge bridge in _bridges) bridge.OnLive(live);
        return true;
    }

    // Messages of a worker that found no room are nowhere else: the peers get the whole tables again.
    private void RepairLosses(long now)
    {
        long lost = 0;
        foreach (EngineWorker worker in _workers.All) lost += worker.Events.Lost;
        if (lost == _lost) return;
        _lost = lost;
        _replicator.SetLive(0, now);
        _replicator.SetLive(_applied, now);
    }

    // A peer's question must see what was imported before it: the worker is woken, and waited for, shortly.
    private static void Drain(EngineWorker worker)
    {
        long until = Clock.Now + DrainWaitNs;
        worker.Thread.Wake();
        while (worker.FromReplication.Count > 0 && Clock.Now < until) Thread.Yield();
    }

    private void WriteStatus(long now)
    {
        _status.Header.ReplicationAllocated = GC.GetAllocatedBytesForCurrentThread();
        _replicator.Rejected.CopyTo(_status.RejectedRecords);
        for (byte node = 0; node < NodeIds.Max; node++)
        {
            if ((_peers >> node & 1) == 0 || _replicator.Link(node) is not { } link) continue;
            ref PeerStatus peer = ref _status.Peer(node);
            LinkCounters counters = link.Counters;
            peer.Refilled = link.Refilled ? 1 : 0;
            peer.LagOutUs = link.LagNs(now) / 1000;
            peer.Waiting = link.Waiting;
            peer.LagInUs = counters.PeerLagMicros;
            peer.RecordsReceived = counters.RecordsReceived;
            peer.DatagramsSent = counters.DatagramsSent;
            peer.DatagramsReceived = counters.DatagramsReceived;
            peer.Retransmitted = counters.DatagramsLost;
            peer.Rejected = _replicator.RejectedFrom[node];
            peer.ResyncsSent = counters.Resyncs;
            peer.ResyncsReceived = counters.PeerResyncsEnded;
        }
        bool refilled = _replicator.IsRefilled;
        if (refilled == _wasRefilled) return;
        _wasRefilled = refilled;
        if (refilled) _report.Report(EngineEventKind.Refilled);
    }
}
