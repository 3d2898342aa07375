namespace Appliance.Lab.Load;

/// <summary>Counts durations in nanoseconds, exact to 1.6 % (64 steps per power of two); fixed memory.</summary>
public sealed class LatencyHistogram
{
    private const int StepBits = 6;
    private const int Steps = 1 << StepBits;

    private readonly long[] _counts = new long[64 * Steps];

    public long Count { get; private set; }

    /// <summary>The longest duration, exact.</summary>
    public long Max { get; private set; }

    public void Add(long nanoseconds)
    {
        long value = Math.Max(0, nanoseconds);
        _counts[Index(value)]++;
        Count++;
        Max = Math.Max(Max, value);
    }

    public void Add(LatencyHistogram other)
    {
        for (int i = 0; i < _counts.Length; i++)
        {
            _counts[i] += other._counts[i];
        }
        Count += other.Count;
        Max = Math.Max(Max, other.Max);
    }

    /// <summary>Smallest duration that at least the fraction <paramref name="quantile"/> of all does not exceed; 0 when empty.</summary>
    public long Quantile(double quantile)
    {
        long wanted = (long)Math.Ceiling(Count * quantile);
        long seen = 0;
        for (int i = 0; i < _counts.Length && Count > 0; i++)
        {
            seen += _counts[i];
            if (seen >= wanted)
            {
                return Math.Min(Max, Upper(i));
            }
        }
        return Max;
    }

    private static int Index(long value)
    {
        int shift = Math.Max(0, 63 - System.Numerics.BitOperations.LeadingZeroCount((ulong)value | 1) - StepBits);
        return (shift * Steps) + (int)(value >> shift);
    }

    private static long Upper(int index)
    {
        int shift = Math.Max(0, (index / Steps) - 1);
        return ((index - (shift * Steps) + 1L) << shift) - 1;
    }
}
