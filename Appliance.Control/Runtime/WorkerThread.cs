using System.Diagnostics;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Runtime;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// The thread of one worker: cycles while there is work, sleeps in poll otherwise. Wakes
/// replication when a cycle left messages for it. Allocates nothing once it runs.
/// </summary>
public sealed class WorkerThread : IDisposable
{
    private const long StatusEveryNs = WorkloadFactor.StepNs, LongestSleepNs = 100_000_000;

    private readonly Worker _worker;
    private readonly FramePort[] _ports;
    private readonly EngineStatus _status;
    private readonly int _number;
    private readonly Quiescence _quiescence;
    private readonly int _reader;
    private readonly Waiter _waiter;
    private readonly Thread _thread;
    private readonly SpscQueue<SpliceEvent> _events;
    private readonly WorkloadFactor _workload = new();
    private long _progressAt, _pausedNs;
    private volatile bool _stop;

    /// <summary>A thread for <paramref name="worker"/>; <see cref="Start"/> starts it.</summary>
    public WorkerThread(Worker worker, FramePort[] ports, SpscQueue<SpliceEvent> events, EngineStatus status, Quiescence quiescence)
    {
        _worker = worker;
        _number = worker.Box.Worker;
        _ports = ports;
        _events = events;
        _status = status;
        _quiescence = quiescence;
        _reader = quiescence.Register();
        _waiter = new Waiter([.. ports.SelectMany(p => p.PollHandles)]);
        _thread = new Thread(Run) { Name = $"worker {_number}", IsBackground = true, Priority = ThreadPriority.AboveNormal };
    }

    /// <summary>Keeps the worker on the processor of its number among those allowed; set before <see cref="Start"/>.</summary>
    public bool Pinned { get; init; }

    /// <summary>Called after a cycle that left messages for replication.</summary>
    public Action? EventsWaiting { get; set; }

    /// <summary>When the worker last showed that it advances: a cycle, or a sleep that it may be woken from. Clock of <see cref="Clock"/>.</summary>
    public long ProgressAt => _waiter.IsSleeping ? Clock.Now : Volatile.Read(ref _progressAt);

    /// <summary>See <see cref="WorkloadFactor"/>.</summary>
    public ushort Workload => _workload.Value;

    /// <summary>How long the worker was away (ns), if that was longer than the detection bound since the last call; else 0. It holds still until it is told what peers thought meanwhile.</summary>
    public long TakePause() => Interlocked.Exchange(ref _pausedNs, 0);

    /// <summary>Starts.</summary>
    public void Start() => _thread.Start();

    /// <summary>Ends the worker's sleep: a command waits.</summary>
    public void Wake() => _waiter.Wake();

    /// <summary>Stops after the present cycle and waits for the thread.</summary>
    public void Stop()
    {
        _stop = true;
        _waiter.Wake();
        if (_thread.IsAlive) _thread.Join();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Stop();
        _waiter.Dispose();
    }

    private void Run()
    {
        SchedulingNative.RunSoon(SchedulingNative.Worker);
        if (Pinned) SchedulingNative.Pin(_number);
        using SchedulerDelay delay = new();
        long statusAt = Clock.Now, dueAt = long.MaxValue;
        while (!_stop)
        {
            _quiescence.Report(_reader);
            long now = Clock.Now;
            Volatile.Write(ref _progressAt, now);
            if (now > dueAt && now - dueAt > _worker.DetectionNs && _worker.Hold(now)) Volatile.Write(ref _pausedNs, now - dueAt);
            int work = _worker.Cycle(now, Clock.WallMs);
            if (_events.Count > 0) EventsWaiting?.Invoke();
            if (now - statusAt >= StatusEveryNs)
            {
                _workload.Update(delay.ReadNs(), now - statusAt);
                statusAt = now;
                WriteStatus();
            }
            dueAt = Clock.Now;
            if (work > 0) continue;
            _quiescence.Park(_reader);
            long sleep = Math.Clamp(_worker.NextDeadline - Clock.Now, 0, LongestSleepNs);
            dueAt += sleep;
            _waiter.Wait(sleep);
        }
    }

    private void WriteStatus()
    {
        WorkerStatus status = _status.Workers[_number];
        for (int i = 0; i < _ports.Length; i++)
        {
            if (_ports[i] is AfPacketPort packets) packets.ReadDrops();
            status.Port((LinkRole)i).Set(_ports[i].Counters);
        }
        _status.Header.UpdatedWallMs = Clock.WallMs;
        status.Allocated = GC.GetAllocatedBytesForCurrentThread();
    }
}

/// <summary>The engine's clocks: one monotonic, one wall.</summary>
public static class Clock
{
    private static readonly double NsPerTick = 1e9 / Stopwatch.Frequency;

    /// <summary>Monotonic nanoseconds.</summary>
    public static long Now => Stopwatch.Frequency == 1_000_000_000 ? Stopwatch.GetTimestamp() : (long)(Stopwatch.GetTimestamp() * NsPerTick);

    /// <summary>Wall time, milliseconds since 1970.</summary>
    public static long WallMs => (DateTime.UtcNow.Ticks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerMillisecond;
}
