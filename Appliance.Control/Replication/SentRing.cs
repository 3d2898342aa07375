namespace Appliance.Control.Replication;

/// <summary>A datagram in flight: its number, when it left, which cache slots or which stretch of the table it carried.</summary>
internal struct SentDatagram
{
    public ulong Sequence;
    public long SentAt;
    public long FirstEntry;
    public int Entries;
    public bool Done;

    /// <summary>Stretch [From, To) of a full transfer, if it carried one.</summary>
    public bool IsSlice;
    public long SliceFrom, SliceTo;
}

/// <summary>The datagrams in flight, oldest first, with the slots that each carries; both rings have fixed room.</summary>
internal sealed class SentRing(int window, int entries)
{
    private readonly SentDatagram[] _ring = new SentDatagram[window];
    private readonly int[] _entries = new int[entries];
    private long _head, _tail, _entryHead, _entryTail;

    /// <summary>Number of datagrams between the oldest in flight and the newest.</summary>
    public int Count => (int)(_tail - _head);

    /// <summary>True if another datagram with up to <paramref name="slots"/> slots has room.</summary>
    public bool HasRoom(int slots) => Count < _ring.Length && _entryTail - _entryHead + slots <= _entries.Length;

    /// <summary>The datagram at a distance from the oldest.</summary>
    public ref SentDatagram this[int index] => ref _ring[(_head + index) % _ring.Length];

    /// <summary>Begins a datagram.</summary>
    public ref SentDatagram Add(ulong sequence, long nowNs)
    {
        ref SentDatagram sent = ref _ring[_tail++ % _ring.Length];
        sent = new SentDatagram { Sequence = sequence, SentAt = nowNs, FirstEntry = _entryTail };
        return ref sent;
    }

    /// <summary>Notes that the newest datagram carries a slot.</summary>
    public void AddEntry(int slot)
    {
        _entries[_entryTail++ % _entries.Length] = slot;
        this[Count - 1].Entries++;
    }

    /// <summary>The slot that a datagram carries in a place.</summary>
    public int Entry(in SentDatagram sent, int index) => _entries[(sent.FirstEntry + index) % _entries.Length];

    /// <summary>Drops finished datagrams from the old end.</summary>
    public void Trim()
    {
        while (Count > 0 && this[0].Done) _head++;
        _entryHead = Count > 0 ? this[0].FirstEntry : _entryTail;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        _head = _tail;
        _entryHead = _entryTail;
    }
}
