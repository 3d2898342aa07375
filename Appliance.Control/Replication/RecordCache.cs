using Appliance.DataPath.State;

namespace Appliance.Control.Replication;

/// <summary>One change that a peer has yet to acknowledge.</summary>
internal struct CacheSlot
{
    public ulong Key;
    public uint Sub;
    public uint Version;
    public RecordKind Kind;
    public byte Class;
    public bool Used, Queued, WantsConfirm;
    public ushort Length;

    /// <summary>Number of the change that brought the oldest part not acknowledged, and when that was.</summary>
    public long FirstStamp, Since;

    /// <summary>Datagram that carried the current contents; 0 if none has.</summary>
    public ulong SentIn;

    public int HashNext, QueueNext, AgePrevious, AgeNext;
}

/// <summary>
/// The internal cache of a link: for each record that changed, the *last* value, until the peer
/// has acknowledged it. A change to a waiting record replaces its contents and costs no room, so
/// memory is bounded by the number of slots; a full cache says so and the link starts over with a
/// full transfer. A removal is final: later contents for the same id are ignored.
/// </summary>
internal sealed class RecordCache
{
    /// <summary>Longest contents of a record.</summary>
    public const int MaxPayload = 320;

    private const int Nil = -1;

    private readonly CacheSlot[] _slots;
    private readonly byte[] _payload;
    private readonly int[] _buckets;
    private int _free, _queueHead, _queueTail, _ageHead, _ageTail;

    public RecordCache(int capacity)
    {
        _slots = new CacheSlot[capacity];
        _payload = new byte[capacity * MaxPayload];
        int size = 16;
        while (size < capacity * 2) size *= 2;
        _buckets = new int[size];
        Clear();
    }

    /// <summary>Changes held.</summary>
    public int Count { get; private set; }

    /// <summary>Changes that wait to be sent.</summary>
    public int QueuedCount { get; private set; }

    /// <summary>Changes replaced by later ones before they were acknowledged.</summary>
    public long Coalesced { get; private set; }

    public ref CacheSlot this[int slot] => ref _slots[slot];

    /// <summary>Contents of a slot.</summary>
    public ReadOnlySpan<byte> Payload(int slot) => _payload.AsSpan(slot * MaxPayload, _slots[slot].Length);

    /// <summary>The first slot that waits to be sent, or -1.</summary>
    public int Queued => _queueHead;

    /// <summary>Stamp and time of the oldest change not acknowledged (progress apart); false if there is none.</summary>
    public bool Oldest(out long stamp, out long since)
    {
        (stamp, since) = _ageHead == Nil ? (0, 0) : (_slots[_ageHead].FirstStamp, _slots[_ageHead].Since);
        return _ageHead != Nil;
    }

    /// <summary>Takes a change, to be sent before the others if <paramref name="first"/>; false if the cache is full.</summary>
    public bool Put(RecordKind kind, ulong key, uint sub, uint version, ReadOnlySpan<byte> payload, bool wantsConfirm, long stamp, long nowNs, bool first = false)
    {
        byte cls = ClassOf(kind);
        int bucket = Bucket(key, sub, cls);
        int at = _buckets[bucket];
        while (at != Nil && !(_slots[at].Key == key && _slots[at].Sub == sub && _slots[at].Class == cls)) at = _slots[at].HashNext;
        if (at == Nil)
        {
            if (_free == Nil) return false;
            at = _free;
            _free = _slots[at].QueueNext;
            _slots[at] = new CacheSlot { Key = key, Sub = sub, Class = cls, Used = true, FirstStamp = stamp, Since = nowNs, HashNext = _buckets[bucket], AgePrevious = Nil, AgeNext = Nil };
            _buckets[bucket] = at;
            Count++;
            if (kind != RecordKind.Progress) AppendAge(at);
        }
        else
        {
            Coalesced++;
            if (_slots[at].Kind == RecordKind.Remove && kind != RecordKind.Remove) return true;
        }
        ref CacheSlot slot = ref _slots[at];
        slot.Kind = kind;
        slot.Version = version;
        slot.WantsConfirm |= wantsConfirm;
        slot.SentIn = 0;
        slot.Length = (ushort)payload.Length;
        payload.CopyTo(_payload.AsSpan(at * MaxPayload));
        if (!slot.Queued) Enqueue(at, first);
        return true;
    }

    /// <summary>Takes the first slot off the send queue; it is carried by a datagram now.</summary>
    public void MarkSent(ulong sequence)
    {
        int at = _queueHead;
        ref CacheSlot slot = ref _slots[at];
        _queueHead = slot.QueueNext;
        if (_queueHead == Nil) _queueTail = Nil;
        slot.Queued = false;
        slot.SentIn = sequence;
        QueuedCount--;
    }

    /// <summary>The datagram that carried a slot is lost: its current contents wait again.</summary>
    public void Lost(int at, ulong sequence)
    {
        if (!_slots[at].Used || _slots[at].SentIn != sequence) return;
        _slots[at].SentIn = 0;
        Enqueue(at);
    }

    /// <summary>True if what the datagram carried is the slot's current contents.</summary>
    public bool IsCurrent(int at, ulong sequence) => _slots[at].Used && _slots[at].SentIn == sequence;

    /// <summary>Frees a slot that is not queued.</summary>
    public void Release(int at)
    {
        ref CacheSlot slot = ref _slots[at];
        int bucket = Bucket(slot.Key, slot.Sub, slot.Class);
        ref int link = ref _buckets[bucket];
        while (link != at) link = ref _slots[link].HashNext;
        link = slot.HashNext;
        if (slot.Kind != RecordKind.Progress) RemoveAge(at);
        slot.Used = false;
        slot.SentIn = 0;
        slot.QueueNext = _free;
        _free = at;
        Count--;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        Array.Fill(_buckets, Nil);
        for (int i = 0; i < _slots.Length; i++) _slots[i] = new CacheSlot { QueueNext = i + 1 };
        _slots[^1].QueueNext = Nil;
        _free = 0;
        (_queueHead, _queueTail, _ageHead, _ageTail) = (Nil, Nil, Nil, Nil);
        (Count, QueuedCount) = (0, 0);
    }

    private static byte ClassOf(RecordKind kind) => (byte)(kind == RecordKind.Remove ? RecordKind.Splice : kind);

    private int Bucket(ulong key, uint sub, byte cls) => (int)(((key ^ ((ulong)sub << 8) ^ cls) * 0x9e37_79b9_7f4a_7c15) >> 32) & (_buckets.Length - 1);

    private void Enqueue(int at, bool first = false)
    {
        first |= _queueTail == Nil;
        _slots[at].QueueNext = first ? _queueHead : Nil;
        _slots[at].Queued = true;
        if (!first) _slots[_queueTail].QueueNext = at;
        if (first) _queueHead = at;
        if (!first || _queueTail == Nil) _queueTail = at;
        QueuedCount++;
    }

    private void AppendAge(int at)
    {
        _slots[at].AgePrevious = _ageTail;
        if (_ageTail == Nil) _ageHead = at;
        else _slots[_ageTail].AgeNext = at;
        _ageTail = at;
    }

    private void RemoveAge(int at)
    {
        ref CacheSlot slot = ref _slots[at];
        if (slot.AgePrevious == Nil) _ageHead = slot.AgeNext;
        else _slots[slot.AgePrevious].AgeNext = slot.AgeNext;
        if (slot.AgeNext == Nil) _ageTail = slot.AgePrevious;
        else _slots[slot.AgeNext].AgePrevious = slot.AgePrevious;
    }
}
