using Appliance.Control.Sealing;
using Appliance.DataPath.State;

namespace Appliance.Control.Replication;

/// <summary>
/// Replication of this box with all its peers: gives every change made here to each live peer, and what peers
/// send to the tables (<see cref="IRecordSink"/>); imported records are never passed on, except in a full transfer, which carries the
/// whole table. Removed ids are remembered for a while, so that a slow peer cannot bring
/// one back. Settled, it allocates nothing. Single-threaded, no I/O, no clock; the caller calls <see cref="Step"/> after
/// every batch of publications and datagrams, and when the time it returned has come.
/// Sources: DESIGN "Replication", SPLICE 3 (R1-R4).
/// </summary>
public sealed class Replicator : ILinkOwner, IDisposable
{
    private readonly SealedChannel _channel;
    private readonly IRecordSink _sink;
    private readonly IRecordSource _source;
    private readonly IDatagramSender _sender;
    private readonly PeerLink?[] _links = new PeerLink?[NodeIds.Max];
    private readonly Tombstones _removed;
    private readonly byte[] _payload = new byte[RecordCodec.MaxBytes];
    private readonly byte[] _body = new byte[SealedChannel.MaxDatagram];
    private readonly ulong _peers;
    private long _stamp, _now;

    /// <summary>Replication of box <paramref name="self"/> with <paramref name="peers"/> (a bitmap). A simulation gives the source of its challenges.</summary>
    public Replicator(byte self, ulong peers, Incarnation me, ClusterKeys keys, IRecordSink sink, IRecordSource source, IDatagramSender sender, LinkOptions? options = null, Random? simulated = null)
    {
        options ??= new LinkOptions();
        _peers = peers & ~(1UL << self);
        _channel = new SealedChannel(self, _peers, me, ChannelPurpose.Sync, keys, simulated);
        (_sink, _source, _sender) = (sink, source, sender);
        _removed = new Tombstones(Math.Max(options.Slots * 2, 16384));
        foreach (byte peer in new NodeSet(_peers)) _links[peer] = new PeerLink(peer, me.Id, options, _removed, this);
    }

    /// <summary>Peers that get records.</summary>
    public ulong Live { get; private set; }

    /// <summary>Peers whose table has been received whole, since they started.</summary>
    public ulong Refilled { get; private set; }

    /// <summary>True if every live peer has sent its whole table (trivially if there is none: how long to wait for one is the caller's decision).</summary>
    public bool IsRefilled => (Live & ~Refilled) == 0;

    /// <summary>Datagrams rejected, by reason.</summary>
    public ReadOnlySpan<long> Rejected => _channel.Rejected;

    /// <inheritdoc cref="SealedChannel.RejectedFrom"/>
    public ReadOnlySpan<long> RejectedFrom => _channel.RejectedFrom;

    /// <summary>Keys derived since the start (the only cause of allocation).</summary>
    public long KeysDerived => _channel.KeysDerived;

    /// <summary>Stamp of the last change published.</summary>
    public long LastStamp => _stamp;

    /// <summary>Imports refused because the id had been removed.</summary>
    public long Resurrections { get; private set; }

    /// <summary>The link to a peer, for what <c>show peers</c> says.</summary>
    public PeerLink? Link(byte peer) => _links[peer];

    /// <summary>Incarnation of a peer as its datagrams have proved; 0 if none.</summary>
    public ulong IncarnationOf(byte peer) => _channel.IncarnationOf(peer);

    /// <summary>Says which peers are alive. One that appears gets the whole table; one that disappears is not waited for any more.</summary>
    public void SetLive(ulong nodes, long nowNs)
    {
        Live = nodes & _peers;
        foreach (byte peer in new NodeSet(_peers)) _links[peer]!.SetLive((Live >> peer & 1) != 0, nowNs);
        UpdateRefilled();
    }

    /// <summary>Publishes a record that was created or changed here; returns the change's stamp.</summary>
    public long Publish(in SpliceRecord record, in SpliceProgress progress, bool wantsConfirm, long nowNs)
    {
        int length = SpliceRecordCodec.Write(record, progress, _payload);
        return PutAll(RecordKind.Splice, record.Id, record.Version, length, wantsConfirm, nowNs);
    }

    /// <summary>Publishes progress seen here (R4).</summary>
    public long PublishProgress(ulong id, in SpliceProgress progress, long nowNs) =>
        PutAll(RecordKind.Progress, id, 0, RecordCodec.WriteProgress(id, progress, _payload), wantsConfirm: false, nowNs);

    /// <summary>Publishes that a splice has ended here.</summary>
    public long PublishRemove(ulong id, uint version, long nowNs)
    {
        _removed.Add(id);
        return PutAll(RecordKind.Remove, id, version, RecordCodec.WriteRemove(id, version, _payload), wantsConfirm: false, nowNs);
    }

    /// <summary>Publishes a choice of backend.</summary>
    public long PublishChoice(in ChoiceRecord choice, bool wantsConfirm, long nowNs) =>
        PutAll(RecordKind.Choice, choice.Id, choice.Attempt, RecordCodec.WriteChoice(choice, _payload), wantsConfirm, nowNs);

    /// <summary>Publishes request bytes that are about to be acknowledged (R2); they are safe once <see cref="HeldByAny"/> says so of the stamp returned.</summary>
    public long PublishOwnedBytes(ulong id, uint sequence, ReadOnlySpan<byte> bytes, long nowNs)
    {
        _stamp++;
        foreach (byte peer in new NodeSet(Live)) _links[peer]!.PutOwned(id, sequence, bytes, _stamp, nowNs);
        return _stamp;
    }

    /// <summary>Tells a peer alone of a record that its own contradicts, before anything else, so that it comes with the acknowledgment.</summary>
    public void Object(byte to, in SpliceRecord record, in SpliceProgress progress)
    {
        int length = SpliceRecordCodec.Write(record, progress, _payload);
        _links[to]!.PutReply(RecordKind.Splice, record.Id, _payload.AsSpan(0, length), ++_stamp, _now, first: true);
    }

    /// <summary>Asks all live peers who holds a connection; returns whom. Each answers once by <see cref="IRecordSink.Answered"/>, unless it dies before.</summary>
    public ulong Ask(in OwnerQuery query, long nowNs)
    {
        ulong asked = 0;
        foreach (byte peer in new NodeSet(Live)) if (_links[peer]!.Established) asked |= 1UL << peer;
        PutAll(RecordKind.Query, query.Id, 0, RecordCodec.WriteQuery(query, _payload), wantsConfirm: false, nowNs);
        return asked;
    }

    /// <summary>True if one live peer holds all the changes with stamps from <paramref name="first"/> to <paramref name="last"/>.</summary>
    public bool HeldByAny(long first, long last)
    {
        foreach (byte peer in new NodeSet(Live)) if (_links[peer]!.Holds(first, last)) return true;
        return false;
    }

    /// <summary>Takes a datagram from the sync address.</summary>
    public RejectReason Receive(ReadOnlySpan<byte> datagram, long nowNs)
    {
        _now = nowNs;
        RejectReason reason = _channel.Open(datagram, nowNs, _body, out OpenedDatagram opened);
        if (reason != RejectReason.None) return reason;
        PeerLink link = _links[opened.Sender]!;
        if (opened.IsNewIncarnation) link.Restart(opened.Incarnation);
        reason = link.Receive(_body.AsSpan(0, opened.Length), nowNs);
        if (reason != RejectReason.None) _channel.Rejected[(int)reason]++;
        UpdateRefilled();
        return reason;
    }

    /// <summary>Sends what waits; returns when to call again at the latest.</summary>
    public long Step(long nowNs)
    {
        long next = long.MaxValue;
        foreach (byte peer in new NodeSet(_peers)) next = Math.Min(next, _links[peer]!.Step(nowNs, _channel, _sender, _source));
        return next;
    }

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();

    void ILinkOwner.Confirmed(RecordKind kind, ulong key, uint version) => _sink.Confirmed(kind, key, version);

    void ILinkOwner.Filling(byte peer) => _sink.Filling(peer);

    bool ILinkOwner.Apply(byte from, RecordKind kind, ReadOnlySpan<byte> payload)
    {
        switch (kind)
        {
            case RecordKind.Splice:
                SpliceRecord record = default;
                SpliceProgress progress = default;
                if (!SpliceRecordCodec.TryRead(payload, ref record, ref progress)) return false;
                Import(from, record, progress);
                return true;
            case RecordKind.Progress:
                if (!RecordCodec.TryReadProgress(payload, out ulong id, out SpliceProgress gossip)) return false;
                _sink.Progress(from, id, gossip);
                return true;
            case RecordKind.Remove:
                if (!RecordCodec.TryReadRemove(payload, out ulong removed, out uint version)) return false;
                _removed.Add(removed);
                _sink.Remove(from, removed, version);
                return true;
            case RecordKind.Choice:
                if (!RecordCodec.TryReadChoice(payload, out ChoiceRecord choice)) return false;
                _sink.Choice(from, choice);
                return true;
            case RecordKind.OwnedBytes:
                if (!RecordCodec.TryReadOwnedBytes(payload, out ulong owner, out uint sequence, out ReadOnlySpan<byte> bytes)) return false;
                _sink.OwnedBytes(from, owner, sequence, bytes);
                return true;
            case RecordKind.Query:
                return Answer(from, payload);
            case RecordKind.Answer:
                return TakeAnswer(from, payload);
            case RecordKind.ResyncBegin or RecordKind.ResyncEnd:
                return TakeMark(from, kind, payload);
            default:
                // A later version's kind: its length is known, so it is skipped.
                return true;
        }
    }

    private void Import(byte from, in SpliceRecord record, in SpliceProgress progress)
    {
        if (_removed.Contains(record.Id)) Resurrections++;
        else _sink.Import(from, record, progress);
    }

    private bool Answer(byte from, ReadOnlySpan<byte> payload)
    {
        if (!RecordCodec.TryReadQuery(payload, out OwnerQuery query)) return false;
        SpliceRecord record = default;
        SpliceProgress progress = default;
        ChoiceRecord choice = default;
        AnswerKind kind = _sink.Query(from, query, ref record, ref progress, ref choice);
        int length = RecordCodec.WriteAnswer(query.Id, kind, record, progress, choice, _payload);
        _links[from]!.PutReply(RecordKind.Answer, query.Id, _payload.AsSpan(0, length), ++_stamp, _now);
        return true;
    }

    private bool TakeAnswer(byte from, ReadOnlySpan<byte> payload)
    {
        SpliceRecord record = default;
        SpliceProgress progress = default;
        ChoiceRecord choice = default;
        if (!RecordCodec.TryReadAnswer(payload, out ulong id, out AnswerKind kind, ref record, ref progress, ref choice)) return false;
        if (kind == AnswerKind.Splice) Import(from, record, progress);
        if (kind == AnswerKind.Choice) _sink.Choice(from, choice);
        _sink.Answered(from, id, kind);
        return true;
    }

    private bool TakeMark(byte from, RecordKind kind, ReadOnlySpan<byte> payload)
    {
        if (!RecordCodec.TryReadMark(payload, out ResyncCause cause, out _)) return false;
        PeerLink link = _links[from]!;
        if (kind == RecordKind.ResyncBegin)
        {
            link.Counters.PeerResyncsBegun++;
            // A table that was whole once is only behind while a repeated transfer runs; it still carries packets.
            if (cause == ResyncCause.Join) link.Refilled = false;
        }
        else
        {
            link.Counters.PeerResyncsEnded++;
            link.Refilled = true;
            _sink.ResyncEnded(from, cause);
        }
        return true;
    }

    private long PutAll(RecordKind kind, ulong key, uint version, int length, bool wantsConfirm, long nowNs)
    {
        _stamp++;
        foreach (byte peer in new NodeSet(Live)) _links[peer]!.Put(kind, key, 0, version, _payload.AsSpan(0, length), wantsConfirm, _stamp, nowNs);
        return _stamp;
    }

    private void UpdateRefilled()
    {
        ulong refilled = 0;
        foreach (byte peer in new NodeSet(_peers)) if (_links[peer]!.Refilled) refilled |= 1UL << peer;
        Refilled = refilled;
    }
}
