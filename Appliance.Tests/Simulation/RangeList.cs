namespace Appliance.Tests.Simulation;

/// <summary>Disjoint ranges [start, end) in ascending order: what arrived out of order, or what the peer has selectively acknowledged.</summary>
internal sealed class RangeList
{
    private long[] _start = new long[16], _end = new long[16];

    public int Count { get; private set; }

    public long Start(int i) => _start[i];

    public long End(int i) => _end[i];

    /// <summary>Sum of all lengths.</summary>
    public long Total
    {
        get
        {
            long total = 0;
            for (int i = 0; i < Count; i++) total += _end[i] - _start[i];
            return total;
        }
    }

    public void Clear() => Count = 0;

    /// <summary>Index of the range that holds <paramref name="at"/>, or -1.</summary>
    public int IndexOf(long at)
    {
        for (int i = 0; i < Count && _start[i] <= at; i++)
        {
            if (at < _end[i]) return i;
        }
        return -1;
    }

    /// <summary>Start of the first range behind <paramref name="at"/>, or <see cref="long.MaxValue"/>.</summary>
    public long NextStart(long at)
    {
        for (int i = 0; i < Count; i++)
        {
            if (_start[i] > at) return _start[i];
        }
        return long.MaxValue;
    }

    /// <summary>Adds a range, joining what it touches; returns the index of the range that now holds it.</summary>
    public int Add(long start, long end)
    {
        int i = 0;
        while (i < Count && _end[i] < start) i++;
        int j = i;
        while (j < Count && _start[j] <= end)
        {
            start = Math.Min(start, _start[j]);
            end = Math.Max(end, _end[j]);
            j++;
        }
        Replace(i, j - i, start, end);
        return i;
    }

    /// <summary>Forgets everything below <paramref name="at"/>.</summary>
    public void RemoveBelow(long at)
    {
        int gone = 0;
        while (gone < Count && _end[gone] <= at) gone++;
        if (gone > 0)
        {
            Array.Copy(_start, gone, _start, 0, Count - gone);
            Array.Copy(_end, gone, _end, 0, Count - gone);
            Count -= gone;
        }
        if (Count > 0) _start[0] = Math.Max(_start[0], at);
    }

    private void Replace(int at, int removed, long start, long end)
    {
        if (removed == 0 && Count == _start.Length)
        {
            Array.Resize(ref _start, Count * 2);
            Array.Resize(ref _end, Count * 2);
        }
        Array.Copy(_start, at + removed, _start, at + 1, Count - at - removed);
        Array.Copy(_end, at + removed, _end, at + 1, Count - at - removed);
        _start[at] = start;
        _end[at] = end;
        Count += 1 - removed;
    }
}
