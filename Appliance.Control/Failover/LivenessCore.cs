using Appliance.Control.Sealing;
using Appliance.DataPath.State;

namespace Appliance.Control.Failover;

/// <summary>
/// Who is alive, on which links, and which proxies form the table. Silence counts only while this
/// box was awake: time by which it was called late is taken out of every deadline ("waking time"), so a pause of all
/// boxes at once is no death; after a pause longer than the detection bound it asks before it judges. Told deaths
/// count at once. A death does nothing here but change sets: a false one costs a detour. Not handled: address takeover,
/// leases. Single-threaded, no I/O, no clock. Source: DESIGN 8.
/// </summary>
public sealed class LivenessCore : IDisposable
{
    private const long LastWordsNs = 1_000_000;

    private readonly LivenessOptions _options;
    private readonly SealedChannel _channel;
    private readonly IBeatOutput _output;
    private readonly PeerState?[] _peers = new PeerState?[NodeIds.Max];
    private readonly LivenessEvent[] _events = new LivenessEvent[1024];
    private readonly byte[] _body = new byte[SealedChannel.MaxDatagram];
    private readonly byte[] _datagram = new byte[BeatCodec.Bytes + SealedChannel.MaxOverhead];
    private readonly Membership _membership;
    private LocalState _local;
    private byte _linksUp = (1 << Links.Count) - 1;
    private int _eventHead, _eventTail;
    private long _now, _due, _skipped, _nextBeat, _workersAt, _askUntil, _wallMs;
    private long _startedWallMs = long.MaxValue;
    private ulong _twin;
    private uint _askId;
    private bool _asking, _beatNow;

    /// <summary>A core that starts at <paramref name="nowNs"/>. A simulation gives the source of its challenges.</summary>
    public LivenessCore(LivenessOptions options, Incarnation me, ClusterKeys keys, IBeatOutput output, long nowNs, Random? simulated = null)
    {
        (_options, _output) = (options, output);
        ulong peers = options.Peers & ~(1UL << options.Self);
        _channel = new SealedChannel(options.Self, peers, me, ChannelPurpose.Beat, keys, simulated);
        foreach (byte peer in new NodeSet(peers)) _peers[peer] = new PeerState { Configuration = options.Configuration };
        Peers = peers;
        (_due, _nextBeat, _workersAt) = (nowNs, nowNs, nowNs);
        BoundNs = options.IntervalNs * options.Misses;
        _membership = new Membership(nowNs + 2 * BoundNs);
    }

    /// <summary>All peers.</summary>
    public ulong Peers { get; }

    /// <summary>Detection bound of this box's own interval, ns.</summary>
    public long BoundNs { get; }

    /// <summary>Peers that are not dead.</summary>
    public ulong Alive { get; private set; }

    /// <summary>The table of proxies that this box goes by, and its version (0: none yet).</summary>
    public ulong Table => _membership.Set;

    public ulong TableVersion => _membership.Version;

    /// <summary>True while the peers are being asked after a pause: nothing may be transmitted.</summary>
    public bool IsAsking => _asking;

    /// <summary>Datagrams rejected, by reason.</summary>
    public ReadOnlySpan<long> Rejected => _channel.Rejected;

    /// <inheritdoc cref="SealedChannel.RejectedFrom"/>
    public ReadOnlySpan<long> RejectedFrom => _channel.RejectedFrom;

    /// <inheritdoc cref="SealedChannel.RejectedFrom"/>
    public ReadOnlySpan<long> WrongKeyFrom => _channel.WrongKeyFrom;

    /// <inheritdoc cref="SealedChannel.KeysDerived"/>
    public long KeysDerived => _channel.KeysDerived;

    /// <summary>Beats not sent because the workers did not advance; reports lost because nobody took them.</summary>
    public long Withheld { get; private set; }

    public long EventsLost { get; private set; }

    /// <summary>What is known of a peer; null if it is none.</summary>
    public PeerState? Peer(byte node) => _peers[node];

    /// <summary>Peers usable on a link.</summary>
    public ulong UsableOn(byte link)
    {
        ulong set = 0;
        foreach (byte peer in new NodeSet(Peers)) if ((_peers[peer]!.UsableOn >> link & 1) != 0) set |= 1UL << peer;
        return set;
    }

    /// <summary>Takes the next report; false if there is none.</summary>
    public bool TryTake(out LivenessEvent e)
    {
        e = _eventHead == _eventTail ? default : _events[_eventHead++ % _events.Length];
        return e.Kind != LivenessEventKind.None;
    }

    /// <summary>Says what the beats are to say; a change of flags is told at once.</summary>
    public void SetLocal(in LocalState local)
    {
        _beatNow |= local.Flags != _local.Flags;
        _local = local;
    }

    /// <summary>This box's own port on a link went up or down (netlink).</summary>
    public void SetCarrier(byte link, bool up, long nowNs)
    {
        Advance(nowNs);
        byte before = _linksUp;
        _linksUp = (byte)(up ? _linksUp | 1 << link : _linksUp & ~(1 << link));
        _beatNow |= before != _linksUp;
        Judge();
    }

    /// <summary>The workers advance (an idle one does): beats may go on.</summary>
    public void WorkersAdvanced(long nowNs) => _workersAt = nowNs;

    /// <summary>A death was told. Incarnation 0: whichever it is now.</summary>
    public void Told(byte node, ulong incarnation, DeathCause cause, long nowNs)
    {
        Advance(nowNs);
        if (_peers[node] is not { Alive: true } peer || (incarnation != 0 && incarnation != peer.Incarnation)) return;
        Die(node, peer, cause);
        // Beats that it had sent before are still on their way.
        peer.DeafUntil = Awake + Bound(peer);
        Judge();
    }

    /// <summary>Seals the beat that says this incarnation is dead, for somebody else to send then over sync; returns its length. Once.</summary>
    public int SealLastBeat(Span<byte> datagram)
    {
        Span<byte> body = stackalloc byte[BeatCodec.Bytes];
        BeatCodec.Write(new Beat { Link = Links.Sync, Flags = NodeFlags.Ended, IntervalMicros = (uint)(_options.IntervalNs / 1000) }, body);
        return _channel.SealLast(body, datagram);
    }

    /// <summary>This box, or one of its workers, was away for longer than the bound: ask before anything is transmitted.</summary>
    public void AskAfterPause(long awayNs, long nowNs)
    {
        if (_asking) return;
        Report(LivenessEventKind.OwnPause, _options.Self, value: (ulong)awayNs);
        if (++_askId == 0) _askId = 1;
        (_asking, _askUntil, _beatNow) = (true, nowNs + BoundNs, true);
    }

    /// <summary>Takes a datagram from a link.</summary>
    public RejectReason Receive(byte link, ReadOnlySpan<byte> datagram, long nowNs)
    {
        Advance(nowNs);
        RejectReason reason = _channel.Open(datagram, nowNs, _body, out OpenedDatagram opened);
        if (reason == RejectReason.OwnName) HearTwin(opened);
        if (reason != RejectReason.None) return reason;
        PeerState peer = _peers[opened.Sender]!;
        Beat beat = default;
        if (!BeatCodec.TryRead(_body.AsSpan(0, opened.Length), ref beat) || beat.Link != link)
        {
            _channel.Rejected[(int)RejectReason.Malformed]++;
            return RejectReason.Malformed;
        }
        if ((beat.Flags & NodeFlags.Ended) != NodeFlags.None)
        {
            // What it said before, to replication, may still be on its way, and a worker that is to do without it should have it.
            if (peer.Alive) peer.EndsAt = Awake + LastWordsNs;
            return RejectReason.None;
        }
        if (opened.IsNewIncarnation) Restarted(opened.Sender, peer, opened.Incarnation);
        if (Awake < peer.DeafUntil) return RejectReason.None;
        bool newest = opened.Counter > peer.Newest;
        if (newest) (peer.Newest, peer.Last) = (opened.Counter, beat);
        peer.Heard(link, Awake, Bound(peer), nowNs);
        if (!peer.Alive)
        {
            peer.Alive = true;
            Alive |= 1UL << opened.Sender;
            Report(LivenessEventKind.NodeUp, opened.Sender, value: peer.Incarnation);
        }
        if (newest) TakeNews(opened.Sender, opened.Incarnation, peer, beat, isForUs: datagram[3] == _options.Self, nowNs);
        Judge();
        return RejectReason.None;
    }

    /// <summary>Judges silence and sends the beats that are due; returns when to call again at the latest. <paramref name="wallMs"/>: wall clock, ms since 1970.</summary>
    public long Step(long nowNs, long wallMs)
    {
        _wallMs = wallMs;
        _startedWallMs = Math.Min(_startedWallMs, wallMs);
        Advance(nowNs);
        if (_asking && nowNs >= _askUntil) Resolve(_options.Self, countedDead: false);
        FindEnded(nowNs);
        if (!_asking) FindSilent();
        Judge();
        if (nowNs >= _nextBeat || _beatNow)
        {
            _nextBeat = nowNs + _options.IntervalNs;
            _beatNow = false;
            if (nowNs - _workersAt > BoundNs) Withheld++;
            else BeatAll();
        }
        _due = NextDue(nowNs);
        return _due;
    }

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();

    private long Awake { get; set; }

    private long Bound(PeerState peer) => Math.Max(BoundNs, peer.Last.IntervalMicros * 1000L * _options.Misses);

    // Whatever comes first after a late wake-up takes the lateness out of all deadlines.
    private void Advance(long nowNs)
    {
        long late = nowNs - _due;
        if (late > 0)
        {
            _skipped += late;
            _due = nowNs;
            if (late > BoundNs) AskAfterPause(late, nowNs);
            // A worker shares the pause; it has not had the time to say that it advances.
            if (late > _options.IntervalNs) _workersAt = Math.Max(_workersAt, nowNs - _options.IntervalNs);
        }
        _now = nowNs;
        Awake = nowNs - _skipped;
    }

    private long NextDue(long nowNs)
    {
        long next = _asking ? Math.Min(_nextBeat, _askUntil) : _nextBeat;
        foreach (byte node in new NodeSet(Peers))
        {
            PeerState peer = _peers[node]!;
            long silent = Math.Min(peer.EndsAt, peer.NextSilence(Awake, Bound(peer)));
            if (silent != long.MaxValue) next = Math.Min(next, silent + _skipped + 1);
        }
        return Math.Max(next, nowNs + 1);
    }

    private void FindEnded(long nowNs)
    {
        foreach (byte node in new NodeSet(Alive))
        {
            if (_peers[node]!.EndsAt <= Awake) Told(node, 0, DeathCause.Supervisor, nowNs);
        }
    }

    private void FindSilent()
    {
        foreach (byte node in new NodeSet(Alive))
        {
            PeerState peer = _peers[node]!;
            if (!peer.AnyHeard(Awake, Bound(peer))) Die(node, peer, DeathCause.Silence);
        }
    }

    private void Die(byte node, PeerState peer, DeathCause cause)
    {
        if ((peer.Last.Flags & NodeFlags.Leaving) != NodeFlags.None) cause = DeathCause.Left;
        peer.Alive = false;
        peer.Deaths++;
        peer.Forget();
        Alive &= ~(1UL << node);
        Report(LivenessEventKind.NodeDied, node, cause: cause, value: peer.Incarnation);
    }

    private void Restarted(byte node, PeerState peer, ulong incarnation)
    {
        if (peer.Alive) Die(node, peer, DeathCause.Restarted);
        peer.Forget();
        peer.Newest = 0;
        (peer.Incarnation, peer.Deaths, peer.DeathsOfUs, peer.DeafUntil) = (incarnation, 0, -1, long.MinValue);
    }

    private void TakeNews(byte node, ulong incarnation, PeerState peer, in Beat beat, bool isForUs, long nowNs)
    {
        if (isForUs) HeardDirectly(node, peer, beat, nowNs);
        CheckAlarms(node, peer, beat);
        _beatNow |= _membership.Hear(beat, incarnation, (_local.Flags & NodeFlags.ActiveSharer) != NodeFlags.None, out bool adopted);
        if (adopted) ReportMembership();
    }

    private void HeardDirectly(byte node, PeerState peer, in Beat beat, long nowNs)
    {
        bool more = peer.DeathsOfUs >= 0 && beat.DeathsOfYou > peer.DeathsOfUs;
        peer.DeathsOfUs = beat.DeathsOfYou;
        if (more) Report(LivenessEventKind.CountedDead, node);
        if (_asking && (more || beat.AnswerId == _askId)) Resolve(node, more);
        if (beat.AskId != 0 && nowNs - _workersAt <= BoundNs) SendBeat(Links.Sync, node, beat.AskId);
    }

    private void Resolve(byte node, bool countedDead)
    {
        _asking = false;
        Report(LivenessEventKind.PauseResolved, node, value: countedDead ? 1UL : 0UL);
    }

    // What is older than this process may be a recording of the one before it.
    private void HearTwin(in OpenedDatagram opened)
    {
        Beat beat = default;
        if (opened.Incarnation == _twin || !BeatCodec.TryRead(_body.AsSpan(0, opened.Length), ref beat) || beat.WallMs <= _startedWallMs) return;
        _twin = opened.Incarnation;
        // With another list of boxes our number is somebody else's, whatever its name.
        Report(beat.NodeListHash == _options.NodeListHash ? LivenessEventKind.NameTaken : LivenessEventKind.NodeListDiffers, _options.Self, value: _twin);
    }

    private void CheckAlarms(byte node, PeerState peer, in Beat beat)
    {
        long skew = Math.Abs(beat.WallMs - _wallMs);
        bool skewed = _wallMs != 0 && skew > _options.SkewMs;
        if (skewed != peer.SkewAlarm) Report(skewed ? LivenessEventKind.ClockSkew : LivenessEventKind.ClockAgrees, node, value: (ulong)skew);
        peer.SkewAlarm = skewed;
        bool differs = beat.NodeListHash != _options.NodeListHash;
        if (differs != peer.ListAlarm) Report(differs ? LivenessEventKind.NodeListDiffers : LivenessEventKind.NodeListAgrees, node);
        peer.ListAlarm = differs;
        if (beat.Configuration == peer.Configuration) return;
        peer.Configuration = beat.Configuration;
        Report(beat.Configuration == _options.Configuration ? LivenessEventKind.ConfigurationAgrees : LivenessEventKind.ConfigurationDiffers, node, value: beat.Configuration);
    }

    // Usable on a link: beats arrive there, and it says that its traffic links are up.
    private void Judge()
    {
        const NodeFlags Needed = NodeFlags.Proxy | NodeFlags.Refilled | NodeFlags.Ready;
        byte traffic = _options.TrafficLinks;
        ulong table = 0, unsure = 0;
        foreach (byte node in new NodeSet(Peers))
        {
            PeerState peer = _peers[node]!;
            byte usable = 0;
            bool trafficUp = (peer.Last.LinksUp & ~peer.Last.LinksDeaf & traffic) == traffic;
            for (int l = 0; l < Links.Count; l++)
            {
                if (peer.Alive && trafficUp && !peer.ListAlarm && (_linksUp >> l & 1) != 0 && peer.Hears(l, Awake, Bound(peer))) usable |= (byte)(1 << l);
            }
            ReportLinks(node, peer.UsableOn, usable);
            peer.UsableOn = usable;
            if ((usable & traffic) == traffic && (peer.Last.Flags & (Needed | NodeFlags.Leaving)) == Needed) table |= 1UL << node;
            if (peer.Alive && (peer.Last.Flags & (NodeFlags.Proxy | NodeFlags.Ready)) == (NodeFlags.Proxy | NodeFlags.Ready)) unsure |= 1UL << node;
        }
        if ((_local.Flags & NodeFlags.ActiveSharer) == NodeFlags.None || _asking) return;
        if ((_local.Flags & (Needed | NodeFlags.Leaving)) == Needed && (_linksUp & traffic) == traffic) table |= 1UL << _options.Self;
        // Nobody is beyond doubt, as when one that starts anew has not told the others yet that it has nothing to give: better who may
        // not hold every record, or is not heard on every link, than nobody, and of these who was in the table already; if all are silent
        // at once, those who were in it last.
        if (table == 0) table = (unsure & _membership.Set) != 0 ? unsure & _membership.Set : unsure != 0 ? unsure : _membership.Set;
        if (!_membership.Decide(table, _now)) return;
        _beatNow = true;
        ReportMembership();
    }

    private void ReportLinks(byte node, byte before, byte after)
    {
        for (byte l = 0; l < Links.Count; l++)
        {
            if (((before ^ after) >> l & 1) == 0) continue;
            Report((after >> l & 1) != 0 ? LivenessEventKind.LinkUsable : LivenessEventKind.LinkUnusable, node, l);
        }
    }

    private void BeatAll()
    {
        for (byte l = 0; l < Links.Count; l++)
        {
            if ((_options.TrafficLinks >> l & 1) != 0 && (_linksUp >> l & 1) != 0) SendBeat(l, SealedChannel.Everybody, 0);
        }
        foreach (byte peer in new NodeSet(Peers)) SendBeat(Links.Sync, peer, 0);
    }

    private void SendBeat(byte link, byte receiver, uint answerId)
    {
        var beat = new Beat
        {
            Link = link,
            Flags = _local.Flags,
            LinksUp = _linksUp,
            LinksDeaf = DeafLinks(),
            NodeListHash = _options.NodeListHash,
            Configuration = _options.Configuration,
            MembershipVersion = _membership.Version,
            Membership = _membership.Set,
            Workload = _local.Workload,
            LagMicros = _local.LagMicros,
            IntervalMicros = (uint)(_options.IntervalNs / 1000),
            WallMs = _wallMs,
            Macs = _local.Macs,
            AnswerId = answerId,
        };
        if (receiver != SealedChannel.Everybody)
        {
            beat.AskId = _asking && answerId == 0 ? _askId : 0;
            beat.DeathsOfYou = _peers[receiver]!.Deaths;
        }
        Span<byte> body = stackalloc byte[BeatCodec.Bytes];
        int length = BeatCodec.Write(beat, body);
        int total = _channel.Seal(receiver, body[..length], _datagram);
        _output.SendBeat(link, receiver, _datagram.AsSpan(0, total));
    }

    // Beats that leave say nothing about frames that arrive.
    private byte DeafLinks()
    {
        byte deaf = 0;
        for (int l = 0; l < Links.Count; l++)
        {
            bool heard = false, expected = false;
            foreach (byte node in new NodeSet(Alive))
            {
                PeerState peer = _peers[node]!;
                expected |= (peer.Last.LinksUp >> l & 1) != 0;
                heard |= peer.HeardLately(l, Awake, Bound(peer));
            }
            if (expected && !heard && (_linksUp >> l & 1) != 0) deaf |= (byte)(1 << l);
        }
        return deaf;
    }

    private void ReportMembership() => Report(LivenessEventKind.MembershipChanged, _options.Self, value: _membership.Version, membership: _membership.Set);

    private void Report(LivenessEventKind kind, byte node, byte link = 0, DeathCause cause = DeathCause.None, ulong value = 0, ulong membership = 0)
    {
        if (_eventTail - _eventHead >= _events.Length)
        {
            EventsLost++;
            return;
        }
        _events[_eventTail++ % _events.Length] = new LivenessEvent(kind, node, link, cause, value, membership);
    }
}
