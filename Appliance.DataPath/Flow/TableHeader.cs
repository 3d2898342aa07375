using System.Runtime.InteropServices;

namespace Appliance.DataPath.Flow;

/// <summary>
/// The first 256 bytes of a table's memory, from which another process that maps the memory
/// read-only finds everything else. Written once, except for the counters. Native byte order.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = Size)]
public struct TableHeader
{
    /// <summary>Bytes of the header.</summary>
    public const int Size = 256;

    /// <summary>"APPLTBL" and the layout's version.</summary>
    public const ulong CurrentMagic = 0x4150_504c_5442_4c01;

    /// <summary><see cref="CurrentMagic"/>, written last.</summary>
    public ulong Magic;

    /// <summary>Bytes of one entry, and where its seqlock is.</summary>
    public int EntrySize, VersionOffset;

    /// <summary>Slots, slot 0 (never used) included.</summary>
    public int Slots;

    /// <summary>Buckets and shards of the hash index; 0 without one.</summary>
    public int Buckets, Shards;

    /// <summary>Live entries.</summary>
    public int Count;

    /// <summary>Seed of the keys' hash.</summary>
    public ulong Seed;

    /// <summary>Bytes of the whole memory; where the parts start.</summary>
    public long Length, MetaOffset, FreeOffset, EntriesOffset, ShardsOffset, BucketsOffset;

    /// <summary>Lock of the free slots, and the positions of the ring that keeps them.</summary>
    internal int FreeLock;

    internal uint FreeHead, FreeTail, Publications;
}

/// <summary>What a table keeps about a slot, beside the entry.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SlotMeta
{
    /// <summary>-1 unless published; in a flow table the position in the buckets.</summary>
    public int Position;

    /// <summary>Flow table: the bucket where the search for the key begins.</summary>
    public int Home;

    /// <summary>When it was removed, see <see cref="Quiescence"/>.</summary>
    public long Retired;

    public const int Free = -1, Reserved = -2;
}
