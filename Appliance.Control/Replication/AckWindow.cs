namespace Appliance.Control.Replication;

/// <summary>
/// The receiving half of a link: takes datagrams in rising order only. One that comes after a
/// later one is not applied but reported missing, and its sender sends the contents, as they
/// then are, again; so a record never goes backwards. On a sync link reordering is rare.
/// </summary>
public sealed class AckWindow
{
    /// <summary>Numbers remembered; more than a sender keeps in flight.</summary>
    public const int Size = 2048;

    private readonly ulong[] _bits = new ulong[Size / 64];
    private ulong _floor = 1;

    /// <summary>Highest number applied.</summary>
    public ulong Highest { get; private set; }

    /// <summary>True if something arrived that has not been acknowledged yet.</summary>
    public bool Owes { get; set; }

    /// <summary>Forgets everything: a new incarnation counts from 1.</summary>
    public void Reset()
    {
        Array.Clear(_bits);
        (Highest, _floor, Owes) = (0, 1, false);
    }

    /// <summary>True if a datagram is to be applied. Either way its sender hears of it.</summary>
    public bool Accept(ulong sequence, ulong floor)
    {
        Owes = true;
        if (floor > _floor && floor <= sequence) _floor = floor;
        if (sequence <= Highest) return false;
        if (sequence - Highest >= Size) Array.Clear(_bits);
        else for (ulong s = Highest + 1; s < sequence; s++) Clear(s);
        Set(sequence);
        Highest = sequence;
        return true;
    }

    /// <summary>Fills in what to acknowledge; if there are more gaps than ranges, only up to the last gap that fits.</summary>
    public int Describe(Span<uint> ranges, out ulong highest)
    {
        highest = Highest;
        ulong low = Math.Max(_floor, Highest >= Size ? Highest - Size + 1 : 1);
        Span<(ulong Start, ulong End)> gaps = stackalloc (ulong, ulong)[SyncHeader.MaxRanges];
        int count = 0;
        for (ulong s = low; s <= Highest; s++)
        {
            if (IsSet(s)) continue;
            if (count == Math.Min(gaps.Length, ranges.Length))
            {
                highest = s - 1;
                break;
            }
            ulong start = s;
            while (!IsSet(s + 1)) s++;
            gaps[count++] = (start, s);
        }
        for (int i = 0; i < count; i++) ranges[i] = SyncHeader.Range(highest - gaps[i].Start, gaps[i].End - gaps[i].Start + 1);
        return count;
    }

    private bool IsSet(ulong s) => (_bits[s / 64 % (Size / 64)] & (1UL << (int)(s % 64))) != 0;

    private void Set(ulong s) => _bits[s / 64 % (Size / 64)] |= 1UL << (int)(s % 64);

    private void Clear(ulong s) => _bits[s / 64 % (Size / 64)] &= ~(1UL << (int)(s % 64));
}
