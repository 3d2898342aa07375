using Appliance.DataPath.State;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Chooses a backend as a pure function of (pool version, pool, record id, attempt) (SPLICE 4.3):
/// a weighted draw without replacement, so that attempt k is never a real of an earlier attempt and each draw is in
/// proportion to the weights that are left. Integers only: every box with the same
/// configuration agrees to the last bit. Knows nothing of health: a caller that skips a resting real asks for the next attempt.
/// </summary>
public static class BackendChooser
{
    /// <summary>Most reals of one pool that are considered; further ones get nothing.</summary>
    public const int MaxReals = 1024;

    /// <summary>Index into <see cref="Pool.Reals"/> for attempt 0, 1, ...; -1 when every real of positive weight was tried.</summary>
    public static int Choose(Pool pool, ulong recordId, int attempt)
    {
        int count = Math.Min(pool.Reals.Length, MaxReals);
        Span<ulong> taken = stackalloc ulong[MaxReals / 64];
        taken.Clear();
        ulong total = 0;
        for (int i = 0; i < count; i++) total += Weight(pool, i);
        ulong state = Mix(recordId ^ ((ulong)pool.Version << 32) ^ pool.Id);
        for (int k = 0; ; k++)
        {
            if (total == 0) return -1;
            state = Mix(state + 0x9e37_79b9_7f4a_7c15);
            // High word of the product: uniform in [0, total) without division.
            int index = Pick(pool, taken, Math.BigMul(state, total, out _));
            if (k >= attempt) return index;
            taken[index >> 6] |= 1UL << (index & 63);
            total -= Weight(pool, index);
        }
    }

    private static int Pick(Pool pool, ReadOnlySpan<ulong> taken, ulong draw)
    {
        for (int i = 0; ; i++)
        {
            if ((taken[i >> 6] & (1UL << (i & 63))) != 0) continue;
            ulong weight = Weight(pool, i);
            if (draw < weight) return i;
            draw -= weight;
        }
    }

    private static ulong Weight(Pool pool, int index) => (ulong)Math.Max(0, pool.Reals[index].Weight);

    // SplitMix64's finalizer: a bijection with full avalanche.
    private static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xbf58_476d_1ce4_e5b9;
        x = (x ^ (x >> 27)) * 0x94d0_49bb_1331_11eb;
        return x ^ (x >> 31);
    }
}
