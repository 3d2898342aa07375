using System.Runtime.CompilerServices;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Balance;

/// <summary>
/// Which node has which share of all hashes, for one set of usable nodes: consistent hashing after Maglev (NSDI 2016, 3.4). Any number
/// may look up; <see cref="MaglevTables"/> fills it before anybody sees it, and not again while somebody holds it.
/// </summary>
public sealed class MaglevTable
{
    /// <summary>Entries; prime.</summary>
    public const int Size = 65537;

    internal MaglevTable() => Array.Fill(Entries, NodeIds.None);

    /// <summary>The set that the table is for.</summary>
    public ulong Usable { get; internal set; }

    internal byte[] Entries { get; } = new byte[Size];

    /// <summary>How many membership slots refer to it, and when one was last asked for (a count).</summary>
    internal int Holders { get; set; }

    internal long Asked { get; set; }

    /// <summary>A well mixed hash of a node's name, the same on every box.</summary>
    public static ulong NameHash(string name)
    {
        ulong hash = 0xcbf2_9ce4_8422_2325;
        foreach (byte b in System.Text.Encoding.UTF8.GetBytes(name)) hash = (hash ^ b) * 0x100_0000_01b3;
        hash = (hash ^ (hash >> 30)) * 0xbf58_476d_1ce4_e5b9;
        hash = (hash ^ (hash >> 27)) * 0x94d0_49bb_1331_11eb;
        return hash ^ (hash >> 31);
    }

    /// <summary>The node for a hash, <see cref="NodeIds.None"/> if none is usable.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte Lookup(ulong hash) =>
        // The high half scaled to [0, M): no division.
        Entries[(int)((hash >> 32) * Size >> 32)];
}
