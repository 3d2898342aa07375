namespace Appliance.Control.Sealing;

/// <summary>
/// Which counters of a sender have been seen (RFC 4303 3.4.3 with a longer window). A counter
/// older than the window counts as seen. The sender's counter is shared by all its peers and
/// links, so gaps are normal.
/// </summary>
public sealed class ReplayWindow
{
    // One word more than is promised: the newest word is cleared as a whole when it is entered (RFC 6479).
    private const int Words = 64;

    /// <summary>Counters remembered.</summary>
    public const int Size = (Words - 1) * 64;

    private readonly ulong[] _bits = new ulong[Words];
    private ulong _highest;

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        Array.Clear(_bits);
        _highest = 0;
    }

    /// <summary>True if the counter is new; look first, mark only what has proved authentic.</summary>
    public bool IsNew(ulong counter)
    {
        if (counter > _highest) return true;
        return _highest - counter < Size && (_bits[counter / 64 % Words] & (1UL << (int)(counter % 64))) == 0;
    }

    /// <summary>Marks a counter that <see cref="IsNew"/>.</summary>
    public void Mark(ulong counter)
    {
        if (counter > _highest)
        {
            if (counter - _highest >= Size)
            {
                Array.Clear(_bits);
            }
            else
            {
                for (ulong word = _highest / 64 + 1; word <= counter / 64; word++) _bits[word % Words] = 0;
            }
            _highest = counter;
        }
        _bits[counter / 64 % Words] |= 1UL << (int)(counter % 64);
    }
}
