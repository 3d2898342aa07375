using Appliance.Lab.Load;
using Appliance.Lab.Net;

namespace Appliance.Lab.Judges;

/// <summary>
/// A thread that wants to run every millisecond and records how late it was: the share of any stall measured at the
/// same time that is the machine's own.
/// </summary>
public sealed class SchedulingProbe : IDisposable
{
    private const long PeriodNs = 1_000_000;

    private readonly LatencyHistogram _late = new();
    private readonly Thread _thread;
    private volatile bool _stop;

    public SchedulingProbe()
    {
        _thread = new Thread(Run) { IsBackground = true, Name = "probe", Priority = ThreadPriority.Highest };
        _thread.Start();
    }

    /// <summary>How often it has run.</summary>
    public long Count => _late.Count;

    /// <summary>Ends the probe; its delays in nanoseconds.</summary>
    public LatencyHistogram Stop()
    {
        _stop = true;
        _thread.Join();
        return _late;
    }

    public void Dispose() => Stop();

    private void Run()
    {
        LabNative.NoTimerSlack();
        long next = LabNative.MonotonicNs();
        while (!_stop)
        {
            next += PeriodNs;
            LabNative.SleepUntil(next);
            long now = LabNative.MonotonicNs();
            _late.Add(now - next);
            next = Math.Max(next, now - PeriodNs);
        }
    }
}
