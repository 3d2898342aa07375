using System.Numerics;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Balance;

/// <summary>
/// Spreads packets over nodes in bursts, in proportion to workload factors (thesis 3: bursts of
/// 40), by stride scheduling: every packet costs its node a stride inversely proportional to the
/// factor, and each burst goes to the node that has paid least. Deterministic. One worker, one
/// service. A super-frame costs as many packets as the segments it stands for and is never split.
/// </summary>
public sealed class PacketSpreader
{
    private const int StrideOfOne = 1 << 24;

    private readonly int[] _stride = new int[NodeIds.Max];
    private readonly long[] _paid = new long[NodeIds.Max];
    private readonly int _burst;
    private ulong _usable;
    private byte _node = NodeIds.None;
    private int _left;

    /// <summary>Bursts of <paramref name="burst"/> packets, at least 1.</summary>
    public PacketSpreader(int burst) => _burst = Math.Max(burst, 1);

    /// <summary>
    /// Sets the usable nodes and their factors (0..255, by number; missing ones count 1). A node with
    /// factor 0 gets nothing, unless all have 0: then all get the same. A burst on a node that left
    /// ends; a node that joins is not given what it missed.
    /// </summary>
    public void Update(ulong usable, ReadOnlySpan<byte> factors)
    {
        ulong old = _usable, chosen = 0;
        for (ulong rest = usable; rest != 0; rest &= rest - 1)
        {
            int node = BitOperations.TrailingZeroCount(rest);
            int factor = node < factors.Length ? factors[node] : 1;
            if (factor != 0) chosen |= 1ul << node;
            _stride[node] = StrideOfOne / Math.Max(factor, 1);
        }
        _usable = chosen != 0 ? chosen : usable;
        long least = Least(old & _usable);
        for (ulong joined = _usable & ~old; joined != 0; joined &= joined - 1) _paid[BitOperations.TrailingZeroCount(joined)] = least;
        if (_node == NodeIds.None || (_usable >> _node & 1) == 0) _left = 0;
    }

    /// <summary>The node for the next frame, of <paramref name="segments"/> packets; <see cref="NodeIds.None"/> if none is usable.</summary>
    public byte Next(int segments = 1)
    {
        if (_left <= 0 && !TryTurn()) return NodeIds.None;
        _left -= segments;
        _paid[_node] += (long)_stride[_node] * segments;
        return _node;
    }

    private bool TryTurn()
    {
        _node = NodeIds.None;
        long least = Least(_usable);
        for (ulong rest = _usable; rest != 0; rest &= rest - 1)
        {
            int node = BitOperations.TrailingZeroCount(rest);
            // Only differences matter; kept small, they never overflow.
            _paid[node] -= least;
            if (_paid[node] == 0 && _node == NodeIds.None) _node = (byte)node;
        }
        _left = _burst;
        return _node != NodeIds.None;
    }

    private long Least(ulong nodes)
    {
        long least = nodes == 0 ? 0 : long.MaxValue;
        for (; nodes != 0; nodes &= nodes - 1) least = Math.Min(least, _paid[BitOperations.TrailingZeroCount(nodes)]);
        return least;
    }
}
