using System.Numerics;
using System.Runtime.CompilerServices;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Balance;

/// <summary>
/// Consistent hashing after Maglev (NSDI 2016, 3.4): every node of the usable set gets an equal
/// share of M = 65537 entries, in an order that depends on its name only; so every box builds the
/// same table from the same names and set, and a node that leaves moves hardly more than its own
/// share. Two buffers: lookups go on while the other is filled. One thread rebuilds, any number
/// look up; a lookup overtaken by two rebuilds still gets a node of one of the three tables. Equal weights only.
/// </summary>
public sealed class MaglevTable
{
    /// <summary>Entries; prime.</summary>
    public const int Size = 65537;

    private readonly uint[] _offset = new uint[NodeIds.Max];
    private readonly uint[] _skip = new uint[NodeIds.Max];
    private readonly uint[] _next = new uint[NodeIds.Max];
    private readonly byte[] _order = new byte[NodeIds.Max];
    private readonly ulong[] _taken = new ulong[(Size + 63) / 64];
    private byte[] _active = new byte[Size];
    private byte[] _spare = new byte[Size];

    /// <summary>A well mixed hash of a node's name, the same on every box.</summary>
    public static ulong NameHash(string name)
    {
        ulong hash = 0xcbf2_9ce4_8422_2325;
        foreach (byte b in System.Text.Encoding.UTF8.GetBytes(name)) hash = (hash ^ b) * 0x100_0000_01b3;
        hash = (hash ^ (hash >> 30)) * 0xbf58_476d_1ce4_e5b9;
        hash = (hash ^ (hash >> 27)) * 0x94d0_49bb_1331_11eb;
        return hash ^ (hash >> 31);
    }

    /// <summary>An empty table; <paramref name="nameHashes"/> holds a well mixed hash of each node's name, by number.</summary>
    public MaglevTable(ReadOnlySpan<ulong> nameHashes)
    {
        Nodes = Math.Min(nameHashes.Length, NodeIds.Max);
        for (int i = 0; i < Nodes; i++)
        {
            _offset[i] = (uint)(nameHashes[i] % Size);
            _skip[i] = (uint)((nameHashes[i] >> 32) % (Size - 1)) + 1;
        }
        Array.Fill(_active, NodeIds.None);
    }

    /// <summary>Nodes that have a name.</summary>
    public int Nodes { get; }

    /// <summary>The set that the table was last built for.</summary>
    public ulong Usable { get; private set; }

    /// <summary>The node for a hash, <see cref="NodeIds.None"/> if none is usable.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte Lookup(ulong hash)
    {
        byte[] table = Volatile.Read(ref _active);
        // The high half scaled to [0, M): no division.
        return table[(int)((hash >> 32) * Size >> 32)];
    }

    /// <summary>Builds the table for <paramref name="usable"/>, a bitmap of node numbers; bits without a name are ignored.</summary>
    public void Rebuild(ulong usable)
    {
        if (Nodes < 64) usable &= (1ul << Nodes) - 1;
        byte[] table = _spare;
        if (usable == 0) Array.Fill(table, NodeIds.None);
        else Fill(table, usable);
        Usable = usable;
        _spare = _active;
        Volatile.Write(ref _active, table);
    }

    private void Fill(byte[] table, ulong usable)
    {
        Array.Clear(_taken);
        int nodes = 0;
        for (ulong rest = usable; rest != 0; rest &= rest - 1)
        {
            int node = BitOperations.TrailingZeroCount(rest);
            _order[nodes++] = (byte)node;
            _next[node] = _offset[node];
        }
        for (int filled = 0, turn = 0; filled < Size; filled++)
        {
            byte node = _order[turn];
            table[Claim(node)] = node;
            if (++turn == nodes) turn = 0;
        }
    }

    // The first entry of the node's permutation that nobody has: offset, offset + skip, ... modulo M.
    private int Claim(int node)
    {
        uint at = _next[node], skip = _skip[node];
        while (true)
        {
            uint here = at;
            at += skip;
            if (at >= Size) at -= Size;
            ref ulong word = ref _taken[here >> 6];
            ulong bit = 1ul << (int)(here & 63);
            if ((word & bit) != 0) continue;
            word |= bit;
            _next[node] = at;
            return (int)here;
        }
    }
}
