using Appliance.Control.Sealing;
using Appliance.DataPath.State;

namespace Appliance.Control.Replication;

/// <summary>
/// The reliable record link to one peer: the last value of each changed record, in as few
/// datagrams as hold it, until it is acknowledged. A link is *established* once each side knows that the other knows
/// its present incarnation, and *live* while the caller says so; becoming both starts a full transfer.
/// Memory is fixed: a peer that does not answer costs the cache and the window, then the rest is left to the next full
/// transfer. Not handled here: who is alive (Failover), what records mean. Single-threaded, no I/O, no clock.
/// </summary>
public sealed class PeerLink
{
    private const ushort PleaseAnswer = 1;
    private const int MostPauses = 8;
    private const int ShortestRecord = 3 + 5;

    private readonly byte _peer;
    private readonly ulong _me;
    private readonly LinkOptions _options;
    private readonly ILinkOwner _owner;
    private readonly Tombstones _removed;
    private readonly RecordCache _cache;
    private readonly SentRing _sent;
    private readonly AckWindow _received = new();
    private readonly Resync _resync;
    private readonly RoundTrip _trip;
    private readonly byte[] _body;
    private readonly byte[] _datagram;
    private readonly byte[] _mark = new byte[5];
    private readonly uint[] _ranges = new uint[SyncHeader.MaxRanges];
    private readonly uint[] _theirRanges = new uint[SyncHeader.MaxRanges];
    private readonly int _mostSlots;
    private ulong _peerIncarnation, _nextSequence = 1;
    private bool _peerKnowsUs, _wasSynced;
    private long _nextHello = long.MinValue, _lastProgress, _droppedThrough;

    internal PeerLink(byte peer, ulong me, LinkOptions options, Tombstones removed, ILinkOwner owner)
    {
        (_peer, _me, _options, _removed, _owner) = (peer, me, options, removed, owner);
        _cache = new RecordCache(options.Slots);
        _mostSlots = options.MaxDatagram / ShortestRecord;
        _sent = new SentRing(options.Window, options.Window * _mostSlots);
        _resync = new Resync(options.Window, removed.Capacity);
        _trip = new RoundTrip(options.MinTimeoutNs, options.MaxTimeoutNs);
        _body = new byte[options.MaxDatagram - SealedChannel.MaxOverhead];
        _datagram = new byte[options.MaxDatagram];
    }

    /// <summary>Counters.</summary>
    public LinkCounters Counters { get; } = new();

    /// <summary>True if the caller counts the peer among those that get records.</summary>
    public bool Live { get; private set; }

    /// <summary>True once both sides know each other's present incarnation.</summary>
    public bool Established => _peerIncarnation != 0 && _peerKnowsUs;

    /// <summary>Where our full transfer to the peer is.</summary>
    public ResyncPhase ResyncPhase => _resync.Phase;

    /// <summary>True once the peer's full transfer to us has ended.</summary>
    public bool Refilled { get; internal set; }

    /// <summary>Changes not acknowledged by the peer.</summary>
    public int Waiting => _cache.Count;

    /// <summary>Datagrams in flight.</summary>
    public int InFlight => _sent.Count;

    /// <summary>True if the peer holds all changes with stamps from <paramref name="first"/> to <paramref name="last"/>, also those that no full transfer would carry.</summary>
    public bool Holds(long first, long last) => Live && Established && first > _droppedThrough && !(_cache.Oldest(out long stamp, out _) && stamp <= last);

    /// <summary>Age of the oldest change that the peer has not acknowledged, ns.</summary>
    public long LagNs(long nowNs) => _cache.Oldest(out _, out long since) ? nowNs - since : 0;

    internal void SetLive(bool live, long nowNs)
    {
        if (live == Live) return;
        Live = live;
        if (live)
        {
            if (Established) StartResync(_wasSynced ? ResyncCause.Return : ResyncCause.Join, nowNs);
            return;
        }
        DropAll();
        _resync.Stop();
        // What it has sent us is still here: only its restart, or a first meeting, empties that.
    }

    /// <summary>The peer has started anew: both directions count from 1 again and it needs everything.</summary>
    internal void Restart(ulong incarnation)
    {
        DropAll();
        _sent.Clear();
        _received.Reset();
        _resync.Stop();
        (_peerIncarnation, _peerKnowsUs, _nextSequence, _wasSynced, Refilled) = (incarnation, false, 1, false, false);
        _nextHello = long.MinValue;
    }

    internal void Put(RecordKind kind, ulong key, uint sub, uint version, ReadOnlySpan<byte> payload, bool wantsConfirm, long stamp, long nowNs)
    {
        if (!Live || !Established) return;
        // Before the begin mark is acknowledged no slice has been read: the transfer will carry this change.
        if (_resync.Phase == ResyncPhase.Beginning && !wantsConfirm && kind is RecordKind.Splice or RecordKind.Progress or RecordKind.Remove) return;
        if (_cache.Put(kind, key, sub, version, payload, wantsConfirm, stamp, nowNs)) return;
        Overflow(nowNs);
    }

    /// <summary>An answer goes to whoever asks, also if we do not count it as live.</summary>
    internal void PutReply(RecordKind kind, ulong key, ReadOnlySpan<byte> payload, long stamp, long nowNs, bool first = false)
    {
        if (Established) _cache.Put(kind, key, 0, 0, payload, wantsConfirm: false, stamp, nowNs, first);
    }

    /// <summary>Takes the contents of a datagram from this peer.</summary>
    internal RejectReason Receive(ReadOnlySpan<byte> body, long nowNs)
    {
        var reader = new WireReader(body);
        if (!SyncHeader.TryRead(ref reader, _theirRanges, out SyncHeader header)) return RejectReason.Malformed;
        if (header.Target != 0 && header.Target != _me) return RejectReason.OldIncarnation;
        if (header.Target == 0 || (header.Flags & PleaseAnswer) != 0) _received.Owes = true;
        if (header.Target == 0) return RejectReason.None;
        if (!_peerKnowsUs)
        {
            _peerKnowsUs = true;
            if (Live) StartResync(ResyncCause.Join, nowNs);
        }
        (Counters.PeerLagMicros, Counters.PeerLagRecords) = (header.LagMicros, header.LagRecords);
        RejectReason reason = header.Sequence == 0 ? RejectReason.None : TakeRecords(header.Sequence, header.Floor, ref reader);
        // Last: a record in the same datagram may contradict the one that this acknowledgment would confirm.
        Acknowledged(header.AckHighest, header.Missing, nowNs);
        return reason;
    }

    private RejectReason TakeRecords(ulong sequence, ulong floor, ref WireReader reader)
    {
        Counters.DatagramsReceived++;
        if (!_received.Accept(sequence, floor)) return RejectReason.Late;
        while (reader.Left > 0)
        {
            var kind = (RecordKind)reader.U8();
            ReadOnlySpan<byte> payload = reader.Bytes(reader.U16());
            if (reader.Failed || !_owner.Apply(_peer, kind, payload)) return RejectReason.Malformed;
            Counters.RecordsReceived++;
        }
        return RejectReason.None;
    }

    /// <summary>Sends what is to be sent; returns when to call again at the latest (<paramref name="nowNs"/> if more waits already).</summary>
    internal long Step(long nowNs, SealedChannel channel, IDatagramSender sender, IRecordSource source)
    {
        if (!Established)
        {
            if (nowNs < _nextHello && !_received.Owes && !channel.WantsToSpeak(_peer)) return _nextHello;
            _nextHello = nowNs + _options.HelloNs;
            SendControl(PleaseAnswer, nowNs, channel, sender);
            return _nextHello;
        }
        // A timeout must make the peer speak, also if what was lost has been dropped since.
        if (Timeout(nowNs) && !HasRecords && _sent.HasRoom(_mostSlots)) SendRecords(nowNs, channel, sender, source);
        int budget = _options.PerStep;
        bool more = HasRecords;
        for (; more && budget > 0 && _sent.HasRoom(_mostSlots); budget--)
        {
            SendRecords(nowNs, channel, sender, source);
            more = HasRecords;
        }
        if (_resync.AllAcknowledged) Mark(RecordKind.ResyncEnd, ResyncPhase.Ending, nowNs);
        if (_received.Owes || channel.WantsToSpeak(_peer)) SendControl(0, nowNs, channel, sender);
        if (HasRecords && _sent.HasRoom(_mostSlots)) return nowNs;
        return _sent.Count > 0 ? TimeoutAt() : long.MaxValue;
    }

    private bool HasRecords => _cache.Queued >= 0 || _resync.HasWork;

    private void StartResync(ResyncCause cause, long nowNs)
    {
        for (int i = 0; i < _sent.Count; i++) _sent[i].IsSlice = false;
        _resync.Start(cause);
        Counters.Resyncs++;
        _owner.Filling(_peer);
        Mark(RecordKind.ResyncBegin, ResyncPhase.Beginning, nowNs);
    }

    private void Mark(RecordKind kind, ResyncPhase phase, long nowNs)
    {
        _resync.Phase = phase;
        _mark[0] = (byte)_resync.Cause;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(_mark.AsSpan(1), _resync.Number);
        // After an overflow there is room; a full cache at the end mark starts over.
        if (!_cache.Put(kind, _resync.Number, 0, 0, _mark, wantsConfirm: false, 0, nowNs)) Overflow(nowNs);
    }

    private void Overflow(long nowNs)
    {
        Counters.Overflows++;
        DropAll();
        StartResync(_wasSynced ? ResyncCause.Overflow : ResyncCause.Join, nowNs);
    }

    private void DropAll()
    {
        _droppedThrough = _owner.LastStamp;
        Counters.Dropped += _cache.Count;
        if (_cache.Count > 0) _cache.Clear();
    }

    private void Acknowledged(ulong highest, ReadOnlySpan<uint> missing, long nowNs)
    {
        bool any = false;
        for (int i = 0; i < _sent.Count && _sent[i].Sequence <= highest; i++)
        {
            ref SentDatagram sent = ref _sent[i];
            if (sent.Done) continue;
            any = true;
            if (IsMissing(highest - sent.Sequence, missing))
            {
                Lost(ref sent);
                continue;
            }
            if (sent.Sequence == highest) _trip.Sample(nowNs - sent.SentAt);
            Settle(ref sent);
        }
        if (!any) return;
        _trip.Progress();
        _lastProgress = nowNs;
        _sent.Trim();
    }

    private static bool IsMissing(ulong distance, ReadOnlySpan<uint> missing)
    {
        foreach (uint range in missing)
        {
            ulong first = range >> 16, length = range & 0xffff;
            if (distance <= first && first - distance < length) return true;
        }
        return false;
    }

    private void Settle(ref SentDatagram sent)
    {
        sent.Done = true;
        if (sent.IsSlice) _resync.InFlight--;
        for (int i = 0; i < sent.Entries; i++)
        {
            int slot = _sent.Entry(sent, i);
            if (!_cache.IsCurrent(slot, sent.Sequence)) continue;
            ref CacheSlot held = ref _cache[slot];
            if (held.Kind == RecordKind.ResyncBegin && held.Key == _resync.Number) _resync.Phase = ResyncPhase.Slicing;
            if (held.Kind == RecordKind.ResyncEnd && held.Key == _resync.Number)
            {
                _resync.Phase = ResyncPhase.Idle;
                _wasSynced = true;
            }
            if (held.WantsConfirm) _owner.Confirmed(held.Kind, held.Key, held.Version);
            _cache.Release(slot);
        }
    }

    private void Lost(ref SentDatagram sent)
    {
        sent.Done = true;
        Counters.DatagramsLost++;
        for (int i = 0; i < sent.Entries; i++) _cache.Lost(_sent.Entry(sent, i), sent.Sequence);
        if (!sent.IsSlice) return;
        _resync.InFlight--;
        _resync.Lost(sent.SliceFrom, sent.SliceTo);
    }

    private long TimeoutAt() => Math.Max(_sent[0].SentAt, _lastProgress) + _trip.TimeoutNs;

    // Only the oldest counts as lost: the acknowledgment of what replaces it tells about all the others.
    private bool Timeout(long nowNs)
    {
        if (_sent.Count == 0 || nowNs < TimeoutAt()) return false;
        Lost(ref _sent[0]);
        _sent.Trim();
        _trip.BackOff();
        _lastProgress = nowNs;
        Counters.Timeouts++;
        return true;
    }

    private void SendControl(ushort flags, long nowNs, SealedChannel channel, IDatagramSender sender)
    {
        int length = WriteHeader(0, flags, nowNs);
        Emit(length, channel, sender);
        Counters.ControlSent++;
    }

    private void SendRecords(long nowNs, SealedChannel channel, IDatagramSender sender, IRecordSource source)
    {
        ulong sequence = _nextSequence++;
        ref SentDatagram sent = ref _sent.Add(sequence, nowNs);
        int length = WriteHeader(sequence, 0, nowNs);
        while (_cache.Queued is var slot and >= 0)
        {
            ReadOnlySpan<byte> payload = _cache.Payload(slot);
            if (!Append(_cache[slot].Kind, payload, ref length)) break;
            _cache.MarkSent(sequence);
            _sent.AddEntry(slot);
        }
        if (_resync.HasWork && _cache.Queued < 0) length = AppendSlice(ref sent, length, nowNs, source);
        Counters.DatagramsSent++;
        Counters.BytesSent += length;
        Emit(length, channel, sender);
    }

    private int AppendSlice(ref SentDatagram sent, int length, long nowNs, IRecordSource source)
    {
        (long from, long to) = _resync.NextStretch();
        long cursor = from;
        uint transfer = _resync.Number;
        bool end = cursor < 0 ? AppendRemoved(ref cursor, to, ref length) : AppendRecords(ref cursor, to, ref length, nowNs, source);
        // Owned bytes may have overflowed the cache: then the transfer has started over.
        if (_resync.Number != transfer) return length;
        _resync.Advance(cursor, end);
        if (cursor == from) return length;
        (sent.SliceFrom, sent.SliceTo, sent.IsSlice) = (from, cursor, true);
        _resync.InFlight++;
        return length;
    }

    private bool AppendRemoved(ref long cursor, long to, ref int length)
    {
        Span<byte> payload = stackalloc byte[16];
        for (; cursor < 0 && cursor < to; cursor++)
        {
            ulong id = _removed[(int)(cursor + _removed.Capacity)];
            if (id != 0 && !Append(RecordKind.Remove, payload[..RecordCodec.WriteRemove(id, uint.MaxValue, payload)], ref length)) break;
        }
        return false;
    }

    private bool AppendRecords(ref long cursor, long to, ref int length, long nowNs, IRecordSource source)
    {
        SpliceRecord record = default;
        SpliceProgress progress = default;
        Span<byte> payload = stackalloc byte[SpliceRecordCodec.MaxBytes];
        int pauses = 0;
        while (true)
        {
            long before = cursor;
            SourceResult result = source.Next(ref cursor, ref record, ref progress, out uint ownedSequence, out ReadOnlySpan<byte> owned);
            if (result == SourceResult.Pause && cursor < to && ++pauses < MostPauses) continue;
            if (result != SourceResult.Record) return result == SourceResult.End;
            bool beyond = cursor > to;
            int bytes = SpliceRecordCodec.Write(record, progress, payload);
            if (beyond || !Append(RecordKind.Splice, payload[..bytes], ref length))
            {
                cursor = beyond ? to : before;
                return false;
            }
            Counters.RecordsInSlices++;
            if (owned.Length > 0) PutOwned(record.Id, ownedSequence, owned, 0, nowNs);
        }
    }

    internal void PutOwned(ulong id, uint sequence, ReadOnlySpan<byte> bytes, long stamp, long nowNs)
    {
        Span<byte> payload = stackalloc byte[RecordCodec.MaxOwnedBytes + RecordCodec.OwnedHeaderBytes];
        while (bytes.Length > 0)
        {
            ReadOnlySpan<byte> chunk = bytes[..Math.Min(bytes.Length, RecordCodec.MaxOwnedBytes)];
            int length = RecordCodec.WriteOwnedBytes(id, sequence, chunk, payload);
            Put(RecordKind.OwnedBytes, id, sequence, sequence, payload[..length], wantsConfirm: true, stamp, nowNs);
            sequence += (uint)chunk.Length;
            bytes = bytes[chunk.Length..];
        }
    }

    private bool Append(RecordKind kind, ReadOnlySpan<byte> payload, ref int length)
    {
        var w = new WireWriter(_body.AsSpan(length));
        w.U8((byte)kind);
        w.U16((ushort)payload.Length);
        w.Bytes(payload);
        if (w.Overflowed) return false;
        length += w.Length;
        return true;
    }

    private int WriteHeader(ulong sequence, ushort flags, long nowNs)
    {
        int ranges = _received.Describe(_ranges, out ulong highest);
        var header = new SyncHeader
        {
            Flags = flags,
            Target = _peerIncarnation,
            Sequence = sequence,
            Floor = _sent.Count > 0 ? _sent[0].Sequence : _nextSequence,
            AckHighest = highest,
            LagMicros = (uint)Math.Min(LagNs(nowNs) / 1000, uint.MaxValue),
            LagRecords = (uint)_cache.Count,
            Missing = _ranges.AsSpan(0, ranges),
        };
        _received.Owes = false;
        return header.Write(_body);
    }

    private void Emit(int length, SealedChannel channel, IDatagramSender sender)
    {
        int total = channel.Seal(_peer, _body.AsSpan(0, length), _datagram);
        if (total > 0) sender.Send(_peer, _datagram.AsSpan(0, total));
    }
}
