namespace Appliance.Control.Replication;

/// <summary>The last ids that were removed, bounded: the oldest is forgotten first. An id never comes back, so membership is final.</summary>
public sealed class Tombstones
{
    private readonly ulong[] _ring;
    private readonly ulong[] _table;
    private int _next;

    /// <summary>Remembers <paramref name="capacity"/> ids.</summary>
    public Tombstones(int capacity)
    {
        _ring = new ulong[capacity];
        int size = 16;
        while (size < capacity * 2) size *= 2;
        _table = new ulong[size];
    }

    /// <summary>Places in the ring.</summary>
    public int Capacity => _ring.Length;

    /// <summary>The id in a place of the ring; 0 if none.</summary>
    public ulong this[int place] => _ring[place];

    /// <summary>True if the id is remembered as removed.</summary>
    public bool Contains(ulong id)
    {
        for (int at = Home(id); _table[at] != 0; at = Next(at)) if (_table[at] == id) return true;
        return false;
    }

    /// <summary>Remembers an id (not 0).</summary>
    public void Add(ulong id)
    {
        if (id == 0 || Contains(id)) return;
        if (_ring[_next] != 0) Forget(_ring[_next]);
        _ring[_next] = id;
        _next = (_next + 1) % _ring.Length;
        int at = Home(id);
        while (_table[at] != 0) at = Next(at);
        _table[at] = id;
    }

    private int Home(ulong id) => (int)((id * 0x9e37_79b9_7f4a_7c15) >> 32) & (_table.Length - 1);

    private int Next(int at) => (at + 1) & (_table.Length - 1);

    // Linear probing without marks: what follows the hole moves up unless it is at home beyond it.
    private void Forget(ulong id)
    {
        int hole = Home(id);
        while (_table[hole] != id) hole = Next(hole);
        for (int at = Next(hole); _table[at] != 0; at = Next(at))
        {
            int distance = (at - Home(_table[at])) & (_table.Length - 1);
            if (distance < ((at - hole) & (_table.Length - 1))) continue;
            _table[hole] = _table[at];
            hole = at;
        }
        _table[hole] = 0;
    }
}
