using System.Numerics;

namespace Appliance.Control.Sealing;

/// <summary>Walks the nodes of a bitmap, lowest first, without allocating.</summary>
public ref struct NodeSet(ulong nodes)
{
    private ulong _left = nodes;

    /// <summary>The node reached.</summary>
    public byte Current { get; private set; }

    /// <summary>For foreach.</summary>
    public readonly NodeSet GetEnumerator() => this;

    /// <summary>Goes to the next node.</summary>
    public bool MoveNext()
    {
        if (_left == 0) return false;
        Current = (byte)BitOperations.TrailingZeroCount(_left);
        _left &= _left - 1;
        return true;
    }
}
