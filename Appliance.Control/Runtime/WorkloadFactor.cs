namespace Appliance.Control.Runtime;

/// <summary>
/// What a box says of the room that its worker has: the share of time in which it was not kept waiting for a processor
/// when it had work. Falls within a second when a box is slowed, since its connections wait meanwhile; rises slowly, since
/// a slow box that is given less no longer looks slow: so the share that it can carry is felt for, and does not swing.
/// No I/O, no clock.
/// </summary>
public sealed class WorkloadFactor
{
    /// <summary>How much of the way to what was measured it goes in one step of <see cref="StepNs"/>.</summary>
    private const double Fall = 0.2, Rise = 0.02;

    private double _factor = 1;
    private long _waitedBefore;

    /// <summary>Time that one step stands for, ns.</summary>
    public const long StepNs = 50_000_000;

    /// <summary>65535: never kept waiting.</summary>
    public ushort Value => (ushort)(_factor * ushort.MaxValue);

    /// <summary>A step is over, which took <paramref name="intervalNs"/>; <paramref name="waitedNs"/>: how long the thread has waited for a processor since it started.</summary>
    public void Update(long waitedNs, long intervalNs)
    {
        long waited = waitedNs - _waitedBefore;
        _waitedBefore = waitedNs;
        double free = 1 - Math.Clamp((double)waited / Math.Max(intervalNs, 1), 0, 1);
        double steps = Math.Clamp((double)intervalNs / StepNs, 0.1, 4);
        _factor += (free - _factor) * Math.Min(steps * (free < _factor ? Fall : Rise), 1);
    }
}
