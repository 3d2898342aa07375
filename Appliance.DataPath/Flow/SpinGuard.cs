namespace Appliance.DataPath.Flow;

/// <summary>A spin lock that is one word of unmanaged memory; held for tens of nanoseconds, never across a call that may wait.</summary>
internal static class SpinGuard
{
    public static void Enter(ref int word)
    {
        if (Interlocked.CompareExchange(ref word, 1, 0) == 0) return;
        Wait(ref word);
    }

    public static void Exit(ref int word) => Volatile.Write(ref word, 0);

    private static void Wait(ref int word)
    {
        var spin = new SpinWait();
        do
        {
            // Yields, but never sleeps a millisecond: the holder may have been preempted.
            spin.SpinOnce(sleep1Threshold: -1);
        }
        while (Volatile.Read(ref word) != 0 || Interlocked.CompareExchange(ref word, 1, 0) != 0);
    }
}
