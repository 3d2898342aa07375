namespace Appliance.DataPath.Splice;

/// <summary>
/// Which bytes of a buffer have arrived: up to four ranges beyond the contiguous start. The
/// first copy of a byte wins: <see cref="Add"/> names the parts that are new. Not for more holes
/// than that: what does not fit is refused, and its sender sends it again.
/// </summary>
public struct ByteRanges
{
    private const int Most = 4;

    private RangeArray _from;
    private RangeArray _to;
    private int _count;

    /// <summary>Bytes from 0 that have arrived without a hole.</summary>
    public int Contiguous { get; private set; }

    /// <summary>
    /// Takes [<paramref name="from"/>, <paramref name="to"/>): copies the bytes that are new from
    /// <paramref name="source"/> to <paramref name="buffer"/>. False if there is no room for another hole.
    /// </summary>
    public bool Add(int from, int to, ReadOnlySpan<byte> source, Span<byte> buffer)
    {
        int at = Math.Max(from, Contiguous);
        if (at >= to) return true;
        if (at > Contiguous && _count == Most && !Touches(at, to)) return false;
        // Copy what no range covers yet, walking the sorted ranges.
        int position = at;
        for (int i = 0; i < _count && position < to; i++)
        {
            if (_to[i] <= position) continue;
            int gapEnd = Math.Min(_from[i], to);
            if (position < gapEnd) source[(position - from)..(gapEnd - from)].CopyTo(buffer[position..]);
            position = Math.Max(position, _to[i]);
        }
        if (position < to) source[(position - from)..(to - from)].CopyTo(buffer[position..]);
        Merge(at, to);
        return true;
    }

    private bool Touches(int from, int to)
    {
        for (int i = 0; i < _count; i++)
        {
            if (from <= _to[i] && to >= _from[i]) return true;
        }
        return false;
    }

    private void Merge(int from, int to)
    {
        int write = 0;
        for (int i = 0; i < _count; i++)
        {
            if (_from[i] > to || _to[i] < from)
            {
                (_from[write], _to[write]) = (_from[i], _to[i]);
                write++;
                continue;
            }
            from = Math.Min(from, _from[i]);
            to = Math.Max(to, _to[i]);
        }
        _count = write;
        if (from <= Contiguous)
        {
            Contiguous = Math.Max(Contiguous, to);
            return;
        }
        int slot = _count++;
        while (slot > 0 && _from[slot - 1] > from)
        {
            (_from[slot], _to[slot]) = (_from[slot - 1], _to[slot - 1]);
            slot--;
        }
        (_from[slot], _to[slot]) = (from, to);
    }

    [System.Runtime.CompilerServices.InlineArray(Most + 1)]
    private struct RangeArray
    {
        private int _first;
    }
}
