using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Appliance.DataPath.Memory;

namespace Appliance.DataPath.Flow;

/// <summary>
/// FlowKey to entry, for one box's millions of flows. An entry begins with its <see cref="FlowKey"/>
/// and, at offset 40, its seqlock. The index is an array of buckets of one cache line (eight 16-bit
/// tags and eight slot numbers); a full bucket overflows into the next ones, at most
/// <see cref="MaxProbe"/> in all, and counts what has passed over it, so a search stops at the first
/// bucket that nothing has passed. Entries never move. Readers take no lock: they verify the whole
/// key, and what they found stays theirs to read until they report to <see cref="Quiescence"/>.
/// Writers lock a shard, a range of buckets in which overflow stays. Two writers of one key: the
/// second publication fails. Nothing is allocated after construction; full is a return value.
/// Does not expire entries.
/// </summary>
public sealed class FlowTable<TEntry> : IDisposable where TEntry : unmanaged
{
    /// <summary>Most buckets that a search looks at.</summary>
    public const int MaxProbe = 32;

    private const int KeySize = 40;
    private const int SlotsPerBucket = 8;
    private const int MaxShards = 64;

    private readonly RecordTable<TEntry> _records;
    private readonly nint _base;
    private readonly nint _entries;
    private readonly nint _buckets;
    private readonly nint _shards;
    private readonly uint _bucketMask;
    private readonly int _shardShift;
    private readonly uint _localMask;
    private readonly bool _owned;

    /// <summary>A table for <paramref name="capacity"/> entries in memory of its own.</summary>
    public FlowTable(int capacity, ulong seed, Quiescence quiescence)
        : this(MemoryNative.Allocate((nuint)BytesNeeded(capacity)), capacity, seed, quiescence) => _owned = true;

    /// <summary>A table in zeroed memory of the caller's, at least <see cref="BytesNeeded"/> long and aligned to 64.</summary>
    public FlowTable(nint address, int capacity, ulong seed, Quiescence quiescence)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Unsafe.SizeOf<TEntry>(), KeySize + sizeof(uint));
        _base = address;
        _records = new RecordTable<TEntry>(address, capacity, KeySize, quiescence);
        Seed = seed;
        int buckets = BucketsFor(capacity);
        int shards = Math.Clamp(buckets / MaxProbe, 1, MaxShards);
        ref TableHeader header = ref _records.Header;
        header.Seed = seed;
        header.Buckets = buckets;
        header.Shards = shards;
        header.ShardsOffset = RecordTable<TEntry>.BytesNeeded(capacity);
        header.BucketsOffset = header.ShardsOffset + MaxShards * 64;
        header.Length = BytesNeeded(capacity);
        _entries = address + (nint)header.EntriesOffset;
        _shards = address + (nint)header.ShardsOffset;
        _buckets = address + (nint)header.BucketsOffset;
        _bucketMask = (uint)buckets - 1;
        _localMask = (uint)(buckets / shards) - 1;
        _shardShift = BitOperations.Log2((uint)(buckets / shards));
    }

    /// <summary>Seed of the keys' hash: pass <c>key.Hash(Seed)</c> wherever a hash is asked for.</summary>
    public ulong Seed { get; }

    /// <summary>Most entries at once.</summary>
    public int Capacity => _records.Capacity;

    /// <summary>Published entries.</summary>
    public int Count => _records.Count;

    /// <summary>Where the memory is.</summary>
    public nint Address => _base;

    /// <summary>Bytes of memory for a table of <paramref name="capacity"/> entries.</summary>
    public static long BytesNeeded(int capacity) =>
        RecordTable<TEntry>.BytesNeeded(capacity) + MaxShards * 64 + (long)BucketsFor(capacity) * Unsafe.SizeOf<Bucket>();

    /// <summary>The index of the key's entry, or -1. It stays readable until this thread reports to <see cref="Quiescence"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Find(in FlowKey key, ulong hash)
    {
        uint home = (uint)hash & _bucketMask, number = home;
        Vector128<ushort> tag = Vector128.Create(TagOf(hash));
        for (uint probe = 1; probe <= MaxProbe; probe++)
        {
            ref Bucket bucket = ref BucketAt(number);
            uint hits = Vector128.Equals(Vector128.LoadUnsafe(ref bucket.Tags), tag).ExtractMostSignificantBits();
            for (; hits != 0; hits &= hits - 1)
            {
                int index = Volatile.Read(ref Unsafe.Add(ref bucket.Slots, BitOperations.TrailingZeroCount(hits)));
                if (SameKey(EntryAddress(index), in key)) return index;
            }
            if (Volatile.Read(ref bucket.Passed) == 0) return -1;
            number = Neighbour(home, probe);
        }
        return -1;
    }

    /// <summary>The entry at an index that this table gave out.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref TEntry Entry(int index) => ref MemoryNative.Ref<TEntry>(EntryAddress(index));

    /// <summary>A consistent copy; false while it is being written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead(int index, out TEntry copy) => _records.TryRead(index, out copy);

    /// <summary>The entry's seqlock.</summary>
    public ref uint VersionOf(int index) => ref _records.VersionOf(index);

    /// <summary>True between the entry's publication and its removal.</summary>
    public bool IsLive(int index) => _records.IsLive(index);

    /// <summary>Loads the bucket where the search for this hash begins.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Prefetch(ulong hash) => MemoryNative.Prefetch(_buckets + (nint)((uint)hash & _bucketMask) * Unsafe.SizeOf<Bucket>());

    /// <summary>
    /// With the bucket at hand (after <see cref="Prefetch"/>), the index of the entry that probably is the one, which it
    /// asks the processor for without touching it; 0 if there is none. A hint for <see cref="IsAt"/>.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Locate(ulong hash)
    {
        ref Bucket bucket = ref BucketAt((uint)hash & _bucketMask);
        uint hits = Vector128.Equals(Vector128.LoadUnsafe(ref bucket.Tags), Vector128.Create(TagOf(hash))).ExtractMostSignificantBits();
        if (hits == 0) return 0;
        int index = Volatile.Read(ref Unsafe.Add(ref bucket.Slots, BitOperations.TrailingZeroCount(hits)));
        _records.Prefetch(index);
        return index;
    }

    /// <summary>
    /// True if the key's entry is at the index that <see cref="Locate"/> gave this thread since it last reported to
    /// <see cref="Quiescence"/>; it is still the one that <see cref="Find"/> would give if <see cref="Removals"/> is as it was then.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool IsAt(int index, in FlowKey key) => index != 0 && SameKey(EntryAddress(index), in key);

    /// <summary>Changes whenever an entry is removed.</summary>
    public uint Removals => Volatile.Read(ref _records.Header.FreeTail);

    /// <summary>First phase: takes a free slot, which the caller fills, key included. False if the table is full.</summary>
    public bool TryReserve(out int index) => _records.TryReserve(out index);

    /// <summary>Gives back a reserved slot that is not published.</summary>
    public void Abandon(int index) => _records.Abandon(index);

    /// <summary>
    /// Second phase: makes the filled entry visible, all at once. False if the key is there already
    /// (<paramref name="existing"/> is its index) or its buckets are full (-1); the slot is then
    /// still reserved, for <see cref="Abandon"/> or another key. Sets the entry's seqlock.
    /// </summary>
    public bool TryPublish(int index, ulong hash, out int existing)
    {
        ref FlowKey key = ref MemoryNative.Ref<FlowKey>(EntryAddress(index));
        uint home = (uint)hash & _bucketMask;
        ref int guard = ref ShardOf(home);
        SpinGuard.Enter(ref guard);
        existing = Find(in key, hash);
        bool done = existing < 0 && Link(index, home, TagOf(hash));
        SpinGuard.Exit(ref guard);
        return done;
    }

    /// <summary>Both phases: puts a whole entry in. On false, <paramref name="index"/> is the existing entry's, or -1 if the table is full.</summary>
    public bool TryInsert(in TEntry entry, ulong hash, out int index)
    {
        if (!TryReserve(out int slot))
        {
            index = Find(in Unsafe.As<TEntry, FlowKey>(ref Unsafe.AsRef(in entry)), hash);
            return false;
        }
        Entry(slot) = entry;
        if (TryPublish(slot, hash, out index))
        {
            index = slot;
            return true;
        }
        Abandon(slot);
        return false;
    }

    /// <summary>Removes a published entry; false if it was not there (any more). The slot is used again only after its grace period.</summary>
    public bool Remove(int index)
    {
        if (!IsLive(index)) return false;
        ref SlotMeta meta = ref _records.Meta(index);
        uint home = (uint)Volatile.Read(ref meta.Home);
        ref int guard = ref ShardOf(home);
        SpinGuard.Enter(ref guard);
        int position = meta.Position;
        bool ours = position >= 0 && (uint)meta.Home == home;
        if (ours) Unlink(ref meta, home, (uint)position);
        SpinGuard.Exit(ref guard);
        if (ours) _records.Retire(index);
        return ours;
    }

    /// <summary>As <see cref="RecordTable{T}.Walk"/>.</summary>
    public int Walk(ref int cursor, Span<int> found, int maxSlots) => _records.Walk(ref cursor, found, maxSlots);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_owned) MemoryNative.Free(_base);
    }

    // At most 5 of 8 bucket slots are used when the table is full: one entry in forty overflows then, and 32 full buckets in a row do not happen.
    private static int BucketsFor(int capacity) => (int)Math.Max(BitOperations.RoundUpToPowerOf2((uint)((capacity + 4L) / 5)), MaxProbe);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private nint EntryAddress(int index) => _entries + (nint)index * Unsafe.SizeOf<TEntry>();

    private static ushort TagOf(ulong hash) => (ushort)((hash >> 48) | 1);

    // Five machine words, as they were written; the key's padding is always zero.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool SameKey(nint entry, in FlowKey key)
    {
        ref FlowKey other = ref MemoryNative.Ref<FlowKey>(entry);
        return other == key;
    }

    private bool Link(int index, uint home, ushort tag)
    {
        for (uint probe = 0; probe < MaxProbe; probe++)
        {
            uint number = Neighbour(home, probe);
            ref Bucket bucket = ref BucketAt(number);
            uint empty = Vector128.Equals(Vector128.LoadUnsafe(ref bucket.Tags), Vector128<ushort>.Zero).ExtractMostSignificantBits();
            if (empty == 0) continue;
            int slot = BitOperations.TrailingZeroCount(empty);
            for (uint i = 0; i < probe; i++) BucketAt(Neighbour(home, i)).Passed++;
            _records.Stamp(index);
            _records.Meta(index).Home = (int)home;
            Unsafe.Add(ref bucket.Slots, slot) = index;
            _records.MarkPublished(index, (int)number * SlotsPerBucket + slot);
            // Last, and with release: from here on readers may follow it.
            Volatile.Write(ref Unsafe.Add(ref bucket.Tags, slot), tag);
            return true;
        }
        return false;
    }

    private void Unlink(ref SlotMeta meta, uint home, uint position)
    {
        uint number = position / SlotsPerBucket;
        Volatile.Write(ref Unsafe.Add(ref BucketAt(number).Tags, (int)(position % SlotsPerBucket)), 0);
        for (uint i = 0; Neighbour(home, i) != number; i++) BucketAt(Neighbour(home, i)).Passed--;
        Volatile.Write(ref meta.Position, SlotMeta.Free);
    }

    // Overflow stays in the shard, so that its lock covers it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private uint Neighbour(uint home, uint distance) => (home & ~_localMask) | ((home + distance) & _localMask);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ref Bucket BucketAt(uint number) => ref MemoryNative.Ref<Bucket>(_buckets + (nint)number * Unsafe.SizeOf<Bucket>());

    private ref int ShardOf(uint bucket) => ref MemoryNative.Ref<int>(_shards + (nint)(bucket >> _shardShift) * 64);
}

/// <summary>One cache line: eight tags (0 = empty), eight slot numbers, and how many entries have passed over it.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct Bucket
{
    [FieldOffset(0)] public ushort Tags;
    [FieldOffset(16)] public int Slots;
    [FieldOffset(48)] public int Passed;
}
