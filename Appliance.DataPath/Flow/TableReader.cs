using System.Runtime.CompilerServices;
using Appliance.DataPath.Memory;

namespace Appliance.DataPath.Flow;

/// <summary>
/// Reads a <see cref="RecordTable{T}"/> or <see cref="FlowTable{TEntry}"/> from outside, usually from
/// another process's read-only mapping. It never writes, so it cannot hold back the reuse of
/// slots: each copy is checked against the slot's seqlock and liveness before it is handed out.
/// </summary>
public sealed class TableReader<T> where T : unmanaged
{
    private readonly nint _base;
    private readonly nint _meta;
    private readonly nint _entries;
    private readonly int _slots;
    private readonly int _versionOffset;

    private TableReader(nint address)
    {
        ref TableHeader header = ref MemoryNative.Ref<TableHeader>(address);
        _base = address;
        _meta = address + (nint)header.MetaOffset;
        _entries = address + (nint)header.EntriesOffset;
        _slots = header.Slots;
        _versionOffset = header.VersionOffset;
    }

    /// <summary>Seed of the keys' hash.</summary>
    public ulong Seed => MemoryNative.Ref<TableHeader>(_base).Seed;

    /// <summary>Most records at once.</summary>
    public int Capacity => _slots - 1;

    /// <summary>Published records.</summary>
    public int Count => Volatile.Read(ref MemoryNative.Ref<TableHeader>(_base).Count);

    /// <summary>Opens the table in <paramref name="length"/> bytes at <paramref name="address"/>; null if it is not one of <typeparamref name="T"/>, or not whole.</summary>
    public static TableReader<T>? Open(nint address, long length)
    {
        if (length < TableHeader.Size) return null;
        ref TableHeader header = ref MemoryNative.Ref<TableHeader>(address);
        if (Volatile.Read(ref header.Magic) != TableHeader.CurrentMagic) return null;
        if (header.EntrySize != Unsafe.SizeOf<T>() || header.Length > length || header.Slots <= 0) return null;
        if (header.VersionOffset < 0 || header.VersionOffset > header.EntrySize - sizeof(uint)) return null;
        long metaEnd = header.MetaOffset + (long)header.Slots * Unsafe.SizeOf<SlotMeta>();
        long entriesEnd = header.EntriesOffset + (long)header.Slots * header.EntrySize;
        bool inside = header.MetaOffset >= TableHeader.Size && metaEnd <= header.EntriesOffset && entriesEnd <= header.Length;
        return inside ? new TableReader<T>(address) : null;
    }

    /// <summary>A consistent copy of a live record; false if it is not live or is being written.</summary>
    public bool TryRead(int index, out T copy)
    {
        copy = default;
        if ((uint)index >= (uint)_slots) return false;
        ref SlotMeta meta = ref MemoryNative.Ref<SlotMeta>(_meta + (nint)index * Unsafe.SizeOf<SlotMeta>());
        if (Volatile.Read(ref meta.Position) < 0) return false;
        nint at = _entries + (nint)index * Unsafe.SizeOf<T>();
        bool stable = SeqLock.TryRead(in MemoryNative.Ref<T>(at), in MemoryNative.Ref<uint>(at + _versionOffset), out copy);
        return stable && Volatile.Read(ref meta.Position) >= 0;
    }

    /// <summary>As <see cref="RecordTable{T}.Walk"/>.</summary>
    public int Walk(ref int cursor, Span<int> found, int maxSlots) => TableWalk.Next(_meta, _slots, ref cursor, found, maxSlots);
}

/// <summary>The walk that owner and reader share.</summary>
internal static class TableWalk
{
    public static int Next(nint meta, int slots, ref int cursor, Span<int> found, int maxSlots)
    {
        int at = Math.Max(cursor, 1), count = 0;
        int end = (int)Math.Min((long)at + maxSlots, slots);
        for (; at < end && count < found.Length; at++)
        {
            if (Volatile.Read(ref MemoryNative.Ref<SlotMeta>(meta + (nint)at * Unsafe.SizeOf<SlotMeta>()).Position) >= 0) found[count++] = at;
        }
        cursor = at >= slots ? 0 : at;
        return count;
    }
}
