namespace Appliance.DataPath.Flow;

/// <summary>
/// Tells when a removed table slot may be given out again: not before every thread that reads the
/// tables without a lock has said, once since the removal, that it holds no index. A removal takes
/// a stamp after it has unlinked the slot; a thread's report repeats the newest stamp, so a stamp
/// that every thread has reached belongs to a slot that nobody can still hold. A sleeping thread
/// parks, or it would hold back all reuse. With no registered thread reuse is immediate.
/// </summary>
public sealed class Quiescence
{
    private const int Stride = 8;
    private const int MaxThreads = 64;

    private readonly long[] _reported = new long[MaxThreads * Stride];
    private long _stamp = 1;
    private int _threads;

    /// <summary>Adds a thread, parked; returns its number. At start-up only; throws if there are 64 already.</summary>
    public int Register()
    {
        int thread = _threads;
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(thread, MaxThreads);
        Volatile.Write(ref _reported[thread * Stride], long.MaxValue);
        Volatile.Write(ref _threads, thread + 1);
        return thread;
    }

    /// <summary>The thread holds no index at this moment; also ends its parking. Once per cycle.</summary>
    public void Report(int thread)
    {
        ref long mine = ref _reported[thread * Stride];
        long stamp = Volatile.Read(ref _stamp);
        if (mine == stamp) return;
        // A full fence: lookups that follow must not be ordered before the report is seen.
        Interlocked.Exchange(ref mine, stamp);
    }

    /// <summary>The thread holds no index and will take none until it reports again (before it sleeps).</summary>
    public void Park(int thread) => Volatile.Write(ref _reported[thread * Stride], long.MaxValue);

    /// <summary>A stamp for a slot that has just been unlinked.</summary>
    public long Retire() => Interlocked.Increment(ref _stamp);

    /// <summary>The newest stamp that every thread has reached: slots with this or an older one are free.</summary>
    public long Reached()
    {
        Interlocked.MemoryBarrier();
        long reached = long.MaxValue;
        int threads = Volatile.Read(ref _threads);
        for (int i = 0; i < threads; i++) reached = Math.Min(reached, Volatile.Read(ref _reported[i * Stride]));
        return reached;
    }
}
