namespace Appliance.DataPath.Splice;

/// <summary>
/// A ring of (index, id, due) for things that all wait equally long, so that the oldest is due first and nothing is
/// searched. Whoever takes one out looks whether it is still what waits. One worker.
/// </summary>
internal sealed class Expiry(int capacity)
{
    private readonly (int Index, ulong Id, long Due)[] _ring = new (int, ulong, long)[capacity];
    private int _first, _count;

    /// <summary>When the oldest is due, ns.</summary>
    public long Next => _count == 0 ? long.MaxValue : _ring[_first].Due;

    /// <summary>Adds one, not due before any that is here; false if there is no room.</summary>
    public bool Push(int index, ulong id, long due)
    {
        if (_count == _ring.Length) return false;
        _ring[(_first + _count++) % _ring.Length] = (index, id, due);
        return true;
    }

    /// <summary>The oldest; false if there is none.</summary>
    public bool TryPeek(out int index, out ulong id, out long due)
    {
        (index, id, due) = _ring[_first];
        return _count > 0;
    }

    /// <summary>Takes the oldest out.</summary>
    public void Pop()
    {
        _first = (_first + 1) % _ring.Length;
        _count--;
    }
}
