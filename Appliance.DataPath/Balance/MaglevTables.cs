using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Balance;

/// <summary>
/// Builds <see cref="MaglevTable"/>s and keeps the last: every node of a set gets an equal share of the entries, in an order that depends
/// on its name only; so every box builds the same table from the same names and set, and a node that leaves moves hardly more than its own
/// share. Equal weights only. Building takes a millisecond or two; so that a death need not wait for it, the tables of the sets that a
/// single death would leave are built ahead (<see cref="BuildAhead"/>). One thread.
/// </summary>
public sealed class MaglevTables
{
    // Sets of this many deaths are built ahead: larger clusters wait for some.
    private const int MostAhead = 8;

    private readonly uint[] _offset = new uint[NodeIds.Max];
    private readonly uint[] _skip = new uint[NodeIds.Max];
    private readonly uint[] _next = new uint[NodeIds.Max];
    private readonly byte[] _order = new byte[NodeIds.Max];
    private readonly ulong[] _taken = new ulong[(MaglevTable.Size + 63) / 64];
    private readonly MaglevTable[] _tables;
    private long _asked;

    /// <summary>
    /// For the nodes whose names hash to <paramref name="nameHashes"/> (well mixed in both halves), by number, and for so many
    /// <paramref name="holders"/> of a table each.
    /// </summary>
    public MaglevTables(ReadOnlySpan<ulong> nameHashes, int holders)
    {
        Nodes = Math.Min(nameHashes.Length, NodeIds.Max);
        for (int i = 0; i < Nodes; i++)
        {
            _offset[i] = (uint)(nameHashes[i] % MaglevTable.Size);
            _skip[i] = (uint)((nameHashes[i] >> 32) % (MaglevTable.Size - 1)) + 1;
        }
        _tables = new MaglevTable[holders + 1 + Math.Min(Nodes, MostAhead)];
        for (int i = 0; i < _tables.Length; i++) _tables[i] = new MaglevTable();
    }

    /// <summary>Nodes that have a name.</summary>
    public int Nodes { get; }

    /// <summary>Tables built so far.</summary>
    public long Built { get; private set; }

    /// <summary>
    /// The table for <paramref name="usable"/>, a bitmap of node numbers (bits without a name are ignored): one that there is, or one built in
    /// the place of what nobody holds and was asked for longest ago.
    /// </summary>
    public MaglevTable For(ulong usable)
    {
        usable = Named(usable);
        MaglevTable table = Find(usable) ?? Build(Oldest(), usable);
        table.Asked = ++_asked;
        return table;
    }

    /// <summary>Builds one table that the death of a node of <paramref name="usable"/> would ask for. False if there are all.</summary>
    public bool BuildAhead(ulong usable)
    {
        usable = Named(usable);
        ulong rest = usable;
        for (int ahead = 0; rest != 0 && ahead < MostAhead; ahead++, rest &= rest - 1)
        {
            ulong left = usable & ~(rest & (~rest + 1));
            if (Find(left) is { } there)
            {
                there.Asked = ++_asked;
                continue;
            }
            Build(Oldest(), left).Asked = ++_asked;
            return true;
        }
        return false;
    }

    /// <summary>Fills a table that nobody holds for <paramref name="usable"/>, whatever it was before.</summary>
    public MaglevTable Build(MaglevTable table, ulong usable)
    {
        if (table.Holders > 0) throw new InvalidOperationException("somebody may be looking up in this table");
        usable = Named(usable);
        if (usable == 0) Array.Fill(table.Entries, NodeIds.None);
        else Fill(table.Entries, usable);
        table.Usable = usable;
        Built++;
        return table;
    }

    private ulong Named(ulong usable) => Nodes < 64 ? usable & ((1ul << Nodes) - 1) : usable;

    // A table that was never built is the empty set's.
    private MaglevTable? Find(ulong usable)
    {
        foreach (MaglevTable table in _tables) if (table.Usable == usable) return table;
        return null;
    }

    private MaglevTable Oldest()
    {
        MaglevTable? oldest = null;
        foreach (MaglevTable table in _tables)
        {
            if (table.Holders == 0 && (oldest is null || table.Asked < oldest.Asked)) oldest = table;
        }
        return oldest ?? throw new InvalidOperationException("more holders of tables than were announced");
    }

    private void Fill(byte[] entries, ulong usable)
    {
        Array.Clear(_taken);
        int nodes = 0;
        for (ulong rest = usable; rest != 0; rest &= rest - 1)
        {
            int node = BitOperations.TrailingZeroCount(rest);
            _order[nodes++] = (byte)node;
            _next[node] = _offset[node];
        }
        ref ulong taken = ref MemoryMarshal.GetArrayDataReference(_taken);
        for (int filled = 0, turn = 0; filled < MaglevTable.Size; filled++)
        {
            byte node = _order[turn];
            entries[Claim(ref taken, ref _next[node], _skip[node])] = node;
            if (++turn == nodes) turn = 0;
        }
    }

    // The first entry of the node's permutation that nobody has: offset, offset + skip, ... modulo M; below M always.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Claim(ref ulong taken, ref uint next, uint skip)
    {
        uint at = next;
        while (true)
        {
            uint here = at;
            at += skip;
            if (at >= MaglevTable.Size) at -= MaglevTable.Size;
            ref ulong word = ref Unsafe.Add(ref taken, here >> 6);
            ulong bit = 1ul << (int)(here & 63);
            if ((word & bit) != 0) continue;
            word |= bit;
            next = at;
            return here;
        }
    }
}
