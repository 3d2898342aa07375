using System.Numerics;
using System.Runtime.CompilerServices;
using Appliance.DataPath.Memory;

namespace Appliance.DataPath.Flow;

/// <summary>
/// Fixed-size blittable records by index, in one piece of unmanaged memory that may be a shared
/// mapping (<see cref="TableReader{T}"/> walks it from outside). A slot is reserved, filled by the
/// caller and published, so nobody ever sees half a record; a removed slot is given out again only
/// after its grace period (<see cref="Quiescence"/>), oldest first. Index 0 is never given out: a
/// zeroed field means "none". The record has a seqlock, a <see cref="uint"/> at a fixed offset,
/// which publishing sets to a value that the slot has not had before. Several threads may reserve
/// and remove at once. Nothing is allocated after construction.
/// </summary>
public sealed class RecordTable<T> : IDisposable where T : unmanaged
{
    private readonly nint _base;
    private readonly nint _meta;
    private readonly nint _free;
    private readonly nint _entries;
    private readonly uint _freeMask;
    private readonly int _slots;
    private readonly int _versionOffset;
    private readonly bool _owned;
    private readonly Quiescence _quiescence;
    private long _reached;

    /// <summary>A table for <paramref name="capacity"/> records in memory of its own.</summary>
    /// <param name="capacity">Most records at once, 1 to 2^28.</param>
    /// <param name="versionOffset">Where in <typeparamref name="T"/> the seqlock is.</param>
    /// <param name="quiescence">The threads that read without a lock.</param>
    public RecordTable(int capacity, int versionOffset, Quiescence quiescence)
        : this(MemoryNative.Allocate((nuint)BytesNeeded(capacity)), capacity, versionOffset, quiescence) => _owned = true;

    /// <summary>A table in zeroed memory of the caller's, at least <see cref="BytesNeeded"/> long and aligned to 64.</summary>
    public RecordTable(nint address, int capacity, int versionOffset, Quiescence quiescence)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, 1 << 28);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(versionOffset, Unsafe.SizeOf<T>() - sizeof(uint));
        _base = address;
        _slots = capacity + 1;
        _versionOffset = versionOffset;
        _quiescence = quiescence;
        ref TableHeader header = ref Header;
        header.EntrySize = Unsafe.SizeOf<T>();
        header.VersionOffset = versionOffset;
        header.Slots = _slots;
        header.MetaOffset = TableHeader.Size;
        header.FreeOffset = Align(header.MetaOffset + (long)_slots * Unsafe.SizeOf<SlotMeta>());
        header.EntriesOffset = Align(header.FreeOffset + (long)RingSize(_slots) * sizeof(int));
        header.Length = BytesNeeded(capacity);
        _meta = address + (nint)header.MetaOffset;
        _free = address + (nint)header.FreeOffset;
        _entries = address + (nint)header.EntriesOffset;
        _freeMask = RingSize(_slots) - 1;
        for (int i = 0; i < _slots; i++) Meta(i).Position = SlotMeta.Free;
        for (int i = 1; i < _slots; i++) FreeAt(header.FreeTail++) = i;
        Volatile.Write(ref header.Magic, TableHeader.CurrentMagic);
    }

    /// <summary>Most records at once.</summary>
    public int Capacity => _slots - 1;

    /// <summary>Published records.</summary>
    public int Count => Volatile.Read(ref Header.Count);

    /// <summary>Where the memory is.</summary>
    public nint Address => _base;

    internal ref TableHeader Header => ref MemoryNative.Ref<TableHeader>(_base);

    /// <summary>Bytes of memory for a table of <paramref name="capacity"/> records.</summary>
    public static long BytesNeeded(int capacity)
    {
        long slots = capacity + 1L;
        long bytes = Align(TableHeader.Size + slots * Unsafe.SizeOf<SlotMeta>());
        bytes = Align(bytes + RingSize((int)slots) * (long)sizeof(int));
        return Align(bytes + slots * Unsafe.SizeOf<T>());
    }

    /// <summary>The record at an index that this table gave out. Fields outside the seqlock's protection may be written by their owner at any time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref T Entry(int index) => ref MemoryNative.Ref<T>(EntryAddress(index));

    /// <summary>Asks the processor to load the record's first three cache lines.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Prefetch(int index)
    {
        nint at = EntryAddress(index);
        MemoryNative.Prefetch(at);
        if (Unsafe.SizeOf<T>() > 64) MemoryNative.Prefetch(at + 64);
        if (Unsafe.SizeOf<T>() > 128) MemoryNative.Prefetch(at + 128);
    }

    /// <summary>True between the record's publication and its removal.</summary>
    public bool IsLive(int index) => (uint)index < (uint)_slots && Volatile.Read(ref Meta(index).Position) >= 0;

    /// <summary>A consistent copy; false while it is being written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead(int index, out T copy) => SeqLock.TryRead(in Entry(index), in VersionOf(index), out copy);

    /// <summary>The record's seqlock.</summary>
    public ref uint VersionOf(int index) => ref MemoryNative.Ref<uint>(EntryAddress(index) + _versionOffset);

    /// <summary>Takes a free slot for the caller to fill; false if there is none (or none past its grace period).</summary>
    public bool TryReserve(out int index)
    {
        ref TableHeader header = ref Header;
        index = 0;
        SpinGuard.Enter(ref header.FreeLock);
        if (header.FreeHead != header.FreeTail)
        {
            int candidate = FreeAt(header.FreeHead);
            if (IsPastGrace(Meta(candidate).Retired))
            {
                header.FreeHead++;
                index = candidate;
                Meta(candidate).Position = SlotMeta.Reserved;
            }
        }
        SpinGuard.Exit(ref header.FreeLock);
        return index != 0;
    }

    /// <summary>Makes a reserved and filled slot visible.</summary>
    public void Publish(int index)
    {
        Stamp(index);
        MarkPublished(index, 0);
    }

    /// <summary>Gives a reserved slot back that was never published.</summary>
    public void Abandon(int index)
    {
        ref SlotMeta meta = ref Meta(index);
        if (Interlocked.CompareExchange(ref meta.Position, SlotMeta.Free, SlotMeta.Reserved) == SlotMeta.Reserved) PutBack(index, 0);
    }

    /// <summary>Removes a published record; false if it was not there (any more).</summary>
    public bool Remove(int index)
    {
        if ((uint)index >= (uint)_slots || Interlocked.CompareExchange(ref Meta(index).Position, SlotMeta.Free, 0) != 0) return false;
        Interlocked.Decrement(ref Header.Count);
        PutBack(index, _quiescence.Retire());
        return true;
    }

    /// <summary>
    /// Fills <paramref name="found"/> with live indexes from <paramref name="cursor"/> on (0 to begin),
    /// looking at no more than <paramref name="maxSlots"/> slots. Returns how many; the cursor is 0
    /// again when the walk is through. What lives during the whole walk is met exactly once.
    /// </summary>
    public int Walk(ref int cursor, Span<int> found, int maxSlots) => TableWalk.Next(_meta, _slots, ref cursor, found, maxSlots);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_owned) MemoryNative.Free(_base);
    }

    internal nint EntryAddress(int index) => _entries + (nint)index * Unsafe.SizeOf<T>();

    internal ref SlotMeta Meta(int index) => ref MemoryNative.Ref<SlotMeta>(_meta + (nint)index * Unsafe.SizeOf<SlotMeta>());

    internal void Stamp(int index) => VersionOf(index) = Interlocked.Increment(ref Header.Publications) * 2;

    internal void MarkPublished(int index, int position)
    {
        Volatile.Write(ref Meta(index).Position, position);
        Interlocked.Increment(ref Header.Count);
    }

    /// <summary>For an index structure on top, which has set the position to free and unlinked the slot.</summary>
    internal void Retire(int index)
    {
        Interlocked.Decrement(ref Header.Count);
        PutBack(index, _quiescence.Retire());
    }

    internal static long Align(long offset) => (offset + 63) & ~63L;

    private static uint RingSize(int slots) => BitOperations.RoundUpToPowerOf2((uint)slots);

    private ref int FreeAt(uint position) => ref MemoryNative.Ref<int>(_free + (nint)(position & _freeMask) * sizeof(int));

    private bool IsPastGrace(long retired)
    {
        if (retired <= _reached) return true;
        _reached = _quiescence.Reached();
        // With every thread parked there is no bound to remember.
        if (_reached != long.MaxValue) return retired <= _reached;
        _reached = retired;
        return true;
    }

    private void PutBack(int index, long retired)
    {
        ref TableHeader header = ref Header;
        SpinGuard.Enter(ref header.FreeLock);
        Meta(index).Retired = retired;
        FreeAt(header.FreeTail++) = index;
        SpinGuard.Exit(ref header.FreeLock);
    }
}
