namespace Appliance.DataPath.Port;

/// <summary>What a faulty wire does to the segments of one direction. Probabilities are per wire segment, 0..1.</summary>
public sealed record FaultPlan
{
    /// <summary>Loss of single segments.</summary>
    public double Loss { get; init; }

    /// <summary>Beginning of a burst in which <see cref="BurstLength"/> segments in a row are lost.</summary>
    public double Burst { get; init; }

    /// <summary>Segments lost by a burst.</summary>
    public int BurstLength { get; init; } = 10;

    /// <summary>A second copy of the segment.</summary>
    public double Duplicate { get; init; }

    /// <summary>The segment comes later by <see cref="ReorderNs"/>.</summary>
    public double Reorder { get; init; }

    /// <summary>Lateness of reordered segments, in nanoseconds.</summary>
    public long ReorderNs { get; init; } = 1_000_000;

    /// <summary>One bit behind the Ethernet header is flipped (checksums are completed first).</summary>
    public double Corrupt { get; init; }

    /// <summary>The end of the frame is missing.</summary>
    public double Truncate { get; init; }

    /// <summary>Delay of all segments and its random addition (uniform, so it reorders), in nanoseconds.</summary>
    public long DelayNs { get; init; }

    /// <inheritdoc cref="DelayNs"/>
    public long JitterNs { get; init; }
}

/// <summary>What was done so far, in wire segments.</summary>
public sealed class FaultCounters
{
    /// <summary>Segments that entered, were lost, doubled, made late, damaged, shortened; lost because too many were under way, or because a super-frame could not be split.</summary>
    public long Segments, Lost, Duplicated, Reordered, Corrupted, Truncated, Overflowed, Unsplittable;
}
