using System.Runtime.InteropServices;
using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>What became of a record that was to be installed.</summary>
public enum InstallResult : byte
{
    /// <summary>It is new here.</summary>
    Installed,

    /// <summary>A newer version of one that was here.</summary>
    Updated,

    /// <summary>This version, or a newer one, was here already.</summary>
    Stale,

    /// <summary>No room.</summary>
    Full,

    /// <summary>One of its tuples belongs to another live connection.</summary>
    Occupied,

    /// <summary>The same connection is held here, joined to another backend, or to another of its connections.</summary>
    Conflict,
}

/// <summary>
/// The splices of a box: per splice one record and two directed entries, so that a packet of
/// either direction is one lookup from its rewrite. Owner of the invariant that the three belong together: both
/// entries name the record and the record both entries. Changes are made by the worker that owns
/// the flow; any thread may read copies (seqlocks).
/// </summary>
public sealed class SpliceTable
{
    private static readonly int GuardOffset = (int)Marshal.OffsetOf<SpliceRecord>(nameof(SpliceRecord.Guard));

    private readonly FlowTable<RewriteEntry> _flows;
    private readonly RecordTable<SpliceRecord> _records;
    private readonly Dictionary<ulong, int> _byId;
    private readonly NeighborTable? _hops;

    /// <summary>Room for <paramref name="capacity"/> splices in memory at two addresses (zeroed, aligned to 64; see the Bytes functions). Their entries use <paramref name="hops"/>.</summary>
    public SpliceTable(nint flows, nint records, int capacity, ulong seed, Quiescence quiescence, NeighborTable? hops = null)
    {
        _hops = hops;
        _flows = new FlowTable<RewriteEntry>(flows, capacity * 2, seed, quiescence);
        _records = new RecordTable<SpliceRecord>(records, capacity, GuardOffset, quiescence);
        _byId = new Dictionary<ulong, int>(capacity);
    }

    /// <summary>The directed entries.</summary>
    public FlowTable<RewriteEntry> Flows => _flows;

    /// <summary>Splices held.</summary>
    public int Count => _records.Count;

    /// <summary>Most splices at once.</summary>
    public int Capacity => _records.Capacity;

    /// <summary>True if there is no room for another one.</summary>
    public bool IsFull => _records.Count >= _records.Capacity;

    /// <summary>Bytes for the directed entries of <paramref name="capacity"/> splices.</summary>
    public static long FlowBytes(int capacity) => FlowTable<RewriteEntry>.BytesNeeded(capacity * 2);

    /// <summary>Bytes for the records of <paramref name="capacity"/> splices.</summary>
    public static long RecordBytes(int capacity) => RecordTable<SpliceRecord>.BytesNeeded(capacity);

    /// <summary>Index of the directed entry for packets with <paramref name="key"/>, or -1.</summary>
    public int Find(in FlowKey key) => _flows.Find(key, key.Hash(_flows.Seed));

    /// <summary>Index of the record with <paramref name="id"/>, or -1.</summary>
    public int FindRecord(ulong id) => _byId.TryGetValue(id, out int index) ? index : -1;

    /// <summary>The directed entry.</summary>
    public ref RewriteEntry Entry(int index) => ref _flows.Entry(index);

    /// <summary>The record.</summary>
    public ref SpliceRecord Record(int index) => ref _records.Entry(index);

    /// <summary>True while a record stands at <paramref name="index"/>.</summary>
    public bool IsLive(int index) => _records.IsLive(index);

    /// <summary>A consistent copy of a record and its progress, for any thread; false if it is gone.</summary>
    public bool TryRead(int index, out SpliceRecord record, out SpliceProgress progress)
    {
        progress = default;
        for (int tries = 0; tries < 100; tries++)
        {
            if (!_records.IsLive(index)) break;
            if (!_records.TryRead(index, out record)) continue;
            progress.ToServer = DirectionProgress.Of(_flows.Entry(record.ToServer));
            progress.ToClient = DirectionProgress.Of(_flows.Entry(record.ToClient));
            return true;
        }
        record = default;
        return false;
    }

    /// <summary>Finds up to a span of live records from a cursor on; 0 at the end of the table.</summary>
    public int Walk(ref int cursor, Span<int> found, int maxSlots) => _records.Walk(ref cursor, found, maxSlots);

    /// <summary>Progress of both directions.</summary>
    public SpliceProgress ProgressOf(int index)
    {
        ref SpliceRecord record = ref _records.Entry(index);
        return new SpliceProgress { ToServer = DirectionProgress.Of(_flows.Entry(record.ToServer)), ToClient = DirectionProgress.Of(_flows.Entry(record.ToClient)) };
    }

    /// <summary>
    /// Installs a record (local fields are set here) or a newer version of it. A closed connection gives
    /// its tuples up to a live one; the id of what was pushed out is returned in <paramref name="displaced"/> (0 if none).
    /// </summary>
    public InstallResult Install(in SpliceRecord record, ushort nextHopToServer, ushort nextHopToClient, long now, out int index, out ulong displaced)
    {
        displaced = 0;
        if (_byId.TryGetValue(record.Id, out index)) return _records.Entry(index).IsSameJoin(record) ? Update(index, record) : InstallResult.Conflict;
        FlowKey toServer = KeyToServer(record), toClient = KeyToClient(record);
        if (!Vacate(toServer, record, ref displaced) || !Vacate(toClient, record, ref displaced)) return InstallResult.Occupied;
        if (!_records.TryReserve(out index)) return InstallResult.Full;
        RewriteEntryBuilder.Build(record, index, nextHopToServer, nextHopToClient, out RewriteEntry forward, out RewriteEntry backward);
        forward.LastSeen = backward.LastSeen = now;
        if (!_flows.TryInsert(forward, toServer.Hash(_flows.Seed), out int forwardIndex))
        {
            _records.Abandon(index);
            return InstallResult.Full;
        }
        if (!_flows.TryInsert(backward, toClient.Hash(_flows.Seed), out int backwardIndex))
        {
            _flows.Remove(forwardIndex);
            _records.Abandon(index);
            return InstallResult.Full;
        }
        ref SpliceRecord slot = ref _records.Entry(index);
        uint guard = slot.Guard;
        slot = record;
        slot.Guard = guard;
        slot.ToServer = forwardIndex;
        slot.ToClient = backwardIndex;
        slot.Created = slot.Gossiped = slot.Heard = now;
        slot.Deadline = slot.Repeated = 0;
        _records.Publish(index);
        _byId[record.Id] = index;
        _hops?.AddUser(nextHopToServer);
        _hops?.AddUser(nextHopToClient);
        if (record.State != SpliceState.Established) Watch(slot);
        return InstallResult.Installed;
    }

    /// <summary>Removes a splice whole.</summary>
    public void Remove(int index)
    {
        ref SpliceRecord record = ref _records.Entry(index);
        _byId.Remove(record.Id);
        _hops?.RemoveUser(_flows.Entry(record.ToServer).NextHop);
        _hops?.RemoveUser(_flows.Entry(record.ToClient).NextHop);
        _flows.Remove(record.ToServer);
        _flows.Remove(record.ToClient);
        _records.Remove(index);
    }

    /// <summary>Applies a change to the replicated part of a record: rebuilds the entries' values, keeps their progress.</summary>
    public void Change(int index, in SpliceRecord changed)
    {
        ref SpliceRecord record = ref _records.Entry(index);
        bool offsets = changed.Ds != record.Ds || changed.AckFloor != record.AckFloor;
        SeqLock.BeginWrite(ref record.Guard);
        record.Version = changed.Version;
        record.State = changed.State;
        record.AckFloor = changed.AckFloor;
        record.FloorOpen = changed.FloorOpen;
        record.Ds = changed.Ds;
        record.TsFirst = changed.TsFirst;
        SeqLock.EndWrite(ref record.Guard);
        if (offsets) SetOffsets(record);
        if (changed.FloorOpen == 0) CloseFloor(record);
        if (changed.State != SpliceState.Established) Watch(record);
    }

    /// <summary>Takes a peer's progress in: every field only grows.</summary>
    public void Merge(int index, in SpliceProgress progress, long now)
    {
        ref SpliceRecord record = ref _records.Entry(index);
        record.Heard = now;
        progress.ToServer.MergeInto(ref _flows.Entry(record.ToServer));
        progress.ToClient.MergeInto(ref _flows.Entry(record.ToClient));
    }

    /// <summary>Sets or clears the flag that sends a direction's packets to the slow path.</summary>
    public void SetSlowPath(int entry, bool slow)
    {
        ref RewriteEntry line = ref _flows.Entry(entry);
        SetFlags(ref line, slow ? line.Flags | RewriteFlags.SlowPath : line.Flags & ~RewriteFlags.SlowPath);
    }

    /// <summary>Ends the breakpoint's floors in both entries.</summary>
    public void CloseFloor(in SpliceRecord record)
    {
        ClearFlags(record.ToServer, RewriteFlags.TsEcrFloor | RewriteFlags.AckFloor);
        ClearFlags(record.ToClient, RewriteFlags.TsEcrFloor | RewriteFlags.AckFloor);
    }

    /// <summary>The key of packets from the client.</summary>
    public static FlowKey KeyToServer(in SpliceRecord record) => new(record.Client, record.Virtual, record.ClientPort, record.VirtualPort, Packet.ProtocolTcp);

    /// <summary>The key of packets from the server.</summary>
    public static FlowKey KeyToClient(in SpliceRecord record) => new(record.Real, record.Source, record.RealPort, record.SourcePort, Packet.ProtocolTcp);

    // Boxes change a record at the same time: each field only ever moves one way, so taking the further of both, whatever the
    // versions say, leaves the same record everywhere, in any order of arrival.
    private InstallResult Update(int index, in SpliceRecord record)
    {
        ref SpliceRecord held = ref _records.Entry(index);
        SpliceRecord joined = held;
        joined.Version = (int)(record.Version - held.Version) > 0 ? record.Version : held.Version;
        joined.State = record.State > held.State ? record.State : held.State;
        joined.FloorOpen = Math.Min(held.FloorOpen, record.FloorOpen);
        joined.AckFloor = TcpSeq.Max(new TcpSeq(held.AckFloor), new TcpSeq(record.AckFloor)).Value;
        // Two boxes that joined the same halves (each thought the other dead) measured two offsets: no clock may go back.
        bool clock = record.Ds != held.Ds && new TcpSeq(record.Ds) > new TcpSeq(held.Ds);
        if (clock) (joined.Ds, joined.TsFirst) = (record.Ds, record.TsFirst);
        bool news = joined.State != held.State || joined.FloorOpen != held.FloorOpen || joined.AckFloor != held.AckFloor || clock;
        if (!news && joined.Version == held.Version) return InstallResult.Stale;
        Change(index, joined);
        return news ? InstallResult.Updated : InstallResult.Stale;
    }

    // True if nobody has the tuple (any more).
    private bool Vacate(in FlowKey key, in SpliceRecord newcomer, ref ulong displaced)
    {
        int entry = Find(key);
        if (entry < 0) return true;
        int holder = _flows.Entry(entry).Record;
        ref SpliceRecord old = ref _records.Entry(holder);
        bool sameClient = old.Client == newcomer.Client && old.ClientPort == newcomer.ClientPort && old.Virtual == newcomer.Virtual && old.VirtualPort == newcomer.VirtualPort;
        bool newer = sameClient && (sbyte)(newcomer.Generation - old.Generation) > 0;
        // What has ended pushes nothing out: a peer that still holds it may tell of it long after its ports were used again.
        if ((old.State < SpliceState.TimeWait || newcomer.State >= SpliceState.TimeWait) && !newer) return false;
        displaced = old.Id;
        Remove(holder);
        return true;
    }

    private void SetOffsets(in SpliceRecord record)
    {
        ref RewriteEntry toServer = ref _flows.Entry(record.ToServer);
        SeqLock.BeginWrite(ref toServer.Version);
        toServer.TsEcrDelta = 0u - record.Ds;
        toServer.TsEcrFloor = record.TsFirst;
        SeqLock.EndWrite(ref toServer.Version);
        ref RewriteEntry toClient = ref _flows.Entry(record.ToClient);
        SeqLock.BeginWrite(ref toClient.Version);
        toClient.TsValDelta = record.Ds;
        toClient.AckFloor = record.AckFloor;
        SeqLock.EndWrite(ref toClient.Version);
    }

    /// <summary>
    /// What the sender of <paramref name="entry"/> acknowledged last, as its receiver was told (the Rewriter's ack'), but not more than
    /// that receiver was seen to send: a corrupt or forged segment may have named any number.
    /// </summary>
    public static TcpSeq AcknowledgedBy(in RewriteEntry entry, in RewriteEntry reverse)
    {
        TcpSeq ack = new TcpSeq(entry.AckSeen) + entry.AckDelta;
        // What it sent before the splice was not noted.
        if (reverse.Seen != 0 && ack > new TcpSeq(reverse.SeqNext)) ack = new TcpSeq(reverse.SeqNext);
        return (entry.Flags & RewriteFlags.AckFloor) == RewriteFlags.None ? ack : TcpSeq.Max(ack, new TcpSeq(entry.AckFloor));
    }

    /// <summary>From now on every packet may move the record on: an end has finished, or may have.</summary>
    public void Watch(in SpliceRecord record)
    {
        SetFlags(ref _flows.Entry(record.ToServer), _flows.Entry(record.ToServer).Flags | RewriteFlags.Watch);
        SetFlags(ref _flows.Entry(record.ToClient), _flows.Entry(record.ToClient).Flags | RewriteFlags.Watch);
    }

    /// <summary>No end has finished.</summary>
    public void Unwatch(in SpliceRecord record)
    {
        ClearFlags(record.ToServer, RewriteFlags.Watch);
        ClearFlags(record.ToClient, RewriteFlags.Watch);
    }

    private void ClearFlags(int entry, RewriteFlags flags)
    {
        ref RewriteEntry line = ref _flows.Entry(entry);
        if ((line.Flags & flags) != RewriteFlags.None) SetFlags(ref line, line.Flags & ~flags);
    }

    private static void SetFlags(ref RewriteEntry line, RewriteFlags flags)
    {
        SeqLock.BeginWrite(ref line.Version);
        line.Flags = flags;
        SeqLock.EndWrite(ref line.Version);
    }
}
