using Appliance.Control.Failover;
using Appliance.Control.Model;
using Appliance.Control.Replication;
using Appliance.Control.Sealing;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;

namespace Appliance.Control.Runtime;

/// <summary>
/// The thread of liveness: beats on every link while all workers advance, what peers' beats say, told deaths (the
/// bell, refused datagrams, carrier), and the membership that follows. Beats have sockets of their own and never wait behind data.
/// </summary>
public sealed class LivenessThread : IBeatOutput, IDisposable
{
    private const int BeatPort = UdpPeerSocket.DefaultPort + 1, BellPort = UdpPeerSocket.DefaultPort + 2;
    private const long AloneAfterNs = 300_000_000, FactorsEveryNs = 50_000_000, CookiesEveryNs = 1_000_000_000, QuietNs = 1_000_000_000, SpareNs = 10_000_000;

    private readonly BoxSettings _settings;
    private readonly EngineWorkers _workers;
    private readonly ReplicationThread _replication;
    private readonly LinkThread _carriers;
    private readonly BackendWatch _backends;
    private readonly EngineStatus _status;
    private readonly EngineEventRing _report;
    private readonly LivenessCore _core;
    private readonly LivenessBridge _bridge;
    private readonly BeatLink[] _links;
    private readonly UdpPeerSocket _sync;
    private readonly DeathBell _bell;
    private readonly SpscQueue<(byte Node, ulong Incarnation)> _told = new(256);
    private readonly Lock _tellers = new();
    private readonly Waiter _waiter;
    private readonly Thread _thread;
    private readonly ulong _peers;
    private readonly long _started = Clock.Now;
    private readonly bool[] _isUp = [true, true];
    private readonly byte[] _lastBeat;
    private readonly int _lastBeatLength;
    private int _beatKind;
    private ulong _live = ulong.MaxValue;
    private long _postedAt;
    private ulong _strangers;
    private volatile bool _stop, _ready, _leaving;

    /// <summary>Opens all sockets.</summary>
    public LivenessThread(
        BoxSettings settings, ClusterKeys keys, Incarnation me, EngineWorkers workers, ReplicationThread replication, LinkThread carriers, BackendWatch backends,
        EngineStatus status, EngineEventRing report)
    {
        _settings = settings;
        _backends = backends;
        _workers = workers;
        _replication = replication;
        _carriers = carriers;
        _status = status;
        _report = report;
        _sync = new UdpPeerSocket(settings.SyncAddress, BeatPort);
        foreach (PeerBox peer in settings.Peers)
        {
            _peers |= 1ul << peer.Id;
            _sync.AddPeer(peer.Id, peer.Address, BeatPort);
        }
        _links = [new BeatLink(settings.External), new BeatLink(settings.Internal)];
        LivenessOptions options = new()
        {
            Self = settings.Node,
            Peers = _peers,
            NodeListHash = NodeListHash(settings),
            Configuration = settings.Digest,
            IntervalNs = settings.HeartbeatIntervalNs,
            Misses = settings.HeartbeatMisses,
        };
        _core = new LivenessCore(options, me, keys, this, Clock.Now);
        _lastBeat = new byte[BeatCodec.Bytes + SealedChannel.MaxOverhead];
        _lastBeatLength = _core.SealLastBeat(_lastBeat);
        _bridge = new LivenessBridge(_core, settings.Node, workers.Memberships, workers.FromLiveness) { Reported = OnReport };
        _bell = new DeathBell(settings.Node, _peers, me, keys, settings.SyncAddress, BellPort, Told, () => SchedulingNative.RunSoon(SchedulingNative.Liveness));
        foreach (PeerBox peer in settings.Peers) _bell.AddPeer(peer.Id, peer.Address, BellPort);
        _waiter = new Waiter([_links[0].PollHandle, _links[1].PollHandle, _sync.PollHandle]);
        carriers.ReopenBeats = link => _links[link].Reopen();
        carriers.LinksChanged = _waiter.Wake;
        _thread = new Thread(Run) { Name = "liveness", IsBackground = true, Priority = ThreadPriority.Highest };
    }

    /// <summary>Starts.</summary>
    public void Start()
    {
        _thread.Start();
        ExitNotice.Leave(_lastBeat.AsSpan(0, _lastBeatLength), (_settings.SyncAddress, 0), [.. _settings.Peers.Select(peer => (peer.Address, BeatPort))]);
    }

    /// <summary>The paths are warm and the backends known.</summary>
    public void SetReady()
    {
        _ready = true;
        _waiter.Wake();
    }

    /// <summary>The box is about to stop: no new flows for it.</summary>
    public void SetLeaving()
    {
        _leaving = true;
        _waiter.Wake();
    }

    /// <inheritdoc/>
    public void SendBeat(byte link, byte receiver, ReadOnlySpan<byte> datagram)
    {
        if (link == Links.Sync) _sync.Send(receiver, datagram);
        else _links[link].Send(_beatKind & 3, datagram);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop = true;
        _waiter.Wake();
        if (_thread.IsAlive) _thread.Join();
        _bell.Dispose();
        _waiter.Dispose();
        foreach (BeatLink link in _links) link.Dispose();
        _sync.Dispose();
        _core.Dispose();
    }

    // On a thread of the bell.
    private void Told(byte node, ulong incarnation)
    {
        lock (_tellers)
        {
            _told.TryEnqueue((node, incarnation));
        }
        _waiter.Wake();
    }

    private void Run()
    {
        SchedulingNative.RunSoon(SchedulingNative.Liveness);
        byte[] datagram = new byte[2048];
        long factorsAt = 0, cookiesAt = 0;
        while (!_stop)
        {
            long now = Clock.Now;
            if (now - _workers.ProgressAt < _core.BoundNs) _core.WorkersAdvanced(now);
            if (_workers.TakePause() is var away and > 0) _core.AskAfterPause(away, now);
            SetLocal(now);
            TakeTold(now);
            for (byte link = 0; link < _links.Length; link++)
            {
                while (_links[link].Receive(datagram) is var length and > 0) _core.Receive(link, datagram.AsSpan(0, length), now);
            }
            while (_sync.Receive(datagram) is var length and > 0) _core.Receive(Links.Sync, datagram.AsSpan(0, length), now);
            TakeCarriers(now);
            long next = _core.Step(now, Clock.WallMs);
            _bridge.Pump();
            Follow(now);
            if (now >= factorsAt)
            {
                factorsAt = now + FactorsEveryNs;
                _bridge.OwnFactor = (byte)Math.Max(_workers.Workload >> 8, 1);
                _bridge.UpdateFactors();
                WriteStatus();
                _backends.Look();
                // Not beside what a death has to have done, and not if a beat late by a table's building were a death.
                if (now - _postedAt > QuietNs && _core.BoundNs > SpareNs) _bridge.BuildAhead();
            }
            if (now >= cookiesAt)
            {
                cookiesAt = now + CookiesEveryNs;
                _workers.PrepareCookies();
            }
            _waiter.Wait(Math.Max(next - Clock.Now, 0));
        }
    }

    private void Follow(long now)
    {
        if (_bridge.MustWake)
        {
            _bridge.MustWake = false;
            _postedAt = now;
            _workers.Wake();
        }
        ulong live = _bridge.LivePeers;
        if (live == _live) return;
        _live = live;
        _replication.SetLive(live);
    }

    private void SetLocal(long now)
    {
        NodeFlags flags = NodeFlags.None;
        if (_settings.IsProxy) flags |= NodeFlags.Proxy;
        // One sharer acts until address takeover exists: the configuration names it.
        if (_settings.IsSharer) flags |= NodeFlags.Sharer | NodeFlags.ActiveSharer;
        bool waited = now - _started > AloneAfterNs || _bridge.LivePeers == _peers;
        if (waited && (_core.Alive & ~_replication.RefilledBy) == 0) flags |= NodeFlags.Refilled;
        if (_ready) flags |= NodeFlags.Ready;
        if (_leaving) flags |= NodeFlags.Leaving;
        _beatKind++;
        _core.SetLocal(new LocalState { Flags = flags, Workload = _workers.Workload });
    }

    private void TakeTold(long now)
    {
        while (_told.TryDequeue(out (byte Node, ulong Incarnation) told)) _core.Told(told.Node, told.Incarnation, DeathCause.ConnectionClosed, now);
        ulong refused = _sync.TakeRefused() | _replication.TakeRefused();
        for (byte node = 0; refused != 0; node++, refused >>= 1)
        {
            if ((refused & 1) != 0) _core.Told(node, 0, DeathCause.PortUnreachable, now);
        }
    }

    private void TakeCarriers(long now)
    {
        for (int link = 0; link < _links.Length; link++)
        {
            bool up = _carriers.IsUp(link);
            if (up == _isUp[link]) continue;
            _isUp[link] = up;
            _core.SetCarrier((byte)link, up, now);
        }
    }

    private void OnReport(LivenessEvent e)
    {
        EngineEventKind kind = e.Kind switch
        {
            LivenessEventKind.NodeUp => EngineEventKind.PeerUp,
            LivenessEventKind.NodeDied => EngineEventKind.PeerDied,
            LivenessEventKind.LinkUsable => EngineEventKind.LinkUsable,
            LivenessEventKind.LinkUnusable => EngineEventKind.LinkUnusable,
            LivenessEventKind.MembershipChanged => EngineEventKind.MembershipChanged,
            LivenessEventKind.OwnPause => EngineEventKind.OwnPause,
            LivenessEventKind.PauseResolved => EngineEventKind.PauseResolved,
            LivenessEventKind.CountedDead => EngineEventKind.CountedDead,
            LivenessEventKind.ClockSkew => EngineEventKind.ClockSkew,
            LivenessEventKind.ClockAgrees => EngineEventKind.ClockAgrees,
            LivenessEventKind.NodeListDiffers => EngineEventKind.NodeListDiffers,
            LivenessEventKind.NodeListAgrees => EngineEventKind.NodeListAgrees,
            LivenessEventKind.ConfigurationDiffers => EngineEventKind.ConfigurationDiffers,
            LivenessEventKind.ConfigurationAgrees => EngineEventKind.ConfigurationAgrees,
            LivenessEventKind.NameTaken => EngineEventKind.NameTaken,
            _ => EngineEventKind.None,
        };
        if (kind != EngineEventKind.None) _report.Report(kind, e.Node, e.Link, (byte)e.Cause, kind == EngineEventKind.MembershipChanged ? e.Membership : e.Value);
    }

    private void WriteStatus()
    {
        ref EngineHeader header = ref _status.Header;
        header.MembershipVersion = (long)_core.TableVersion;
        header.Usable = (long)_core.Table;
        header.LivenessAllocated = GC.GetAllocatedBytesForCurrentThread();
        _core.Rejected.CopyTo(_status.RejectedBeats);
        header.Live = (long)(_core.Alive | (1ul << _settings.Node));
        foreach (PeerBox box in _settings.Peers)
        {
            PeerState peer = _core.Peer(box.Id)!;
            ref PeerStatus status = ref _status.Peer(box.Id);
            status.Live = peer.Alive ? 1 : 0;
            status.Usable = (long)(_core.Table >> box.Id & 1);
            status.Links = peer.UsableOn;
            status.Factor = peer.Last.Workload >> 8;
            status.LastBeatWallMs = peer.Last.WallMs;
            status.Incarnation = (long)peer.Incarnation;
            status.Configuration = (long)peer.Last.Configuration;
            status.RejectedBeats = _core.RejectedFrom[box.Id];
            ReportStrangers(box.Id, peer.Alive);
        }
    }

    // Said once for a peer that is not believed; again only after it has been.
    private void ReportStrangers(byte node, bool alive)
    {
        ulong bit = 1ul << node;
        if (alive) _strangers &= ~bit;
        else if (_core.WrongKeyFrom[node] != 0 && (_strangers & bit) == 0)
        {
            _strangers |= bit;
            _report.Report(EngineEventKind.WrongKey, node);
        }
    }

    private static ulong NodeListHash(BoxSettings settings)
    {
        ulong hash = 0xcbf2_9ce4_8422_2325;
        foreach (string node in settings.Nodes) hash = (hash * 31) ^ DataPath.Balance.MaglevTable.NameHash(node);
        return hash;
    }
}
