using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Appliance.DataPath.Splice;

/// <summary>
/// The keys of the cookie windows (SPLICE 4.1): window w = wall seconds / 64 has HKDF(cluster key,
/// "cookie", w), the same on every box. One thread off the packet path calls <see cref="Prepare"/> at least every
/// 64 s (every few seconds is cheap: it works only when the window changed); it derives the window before, this one and two ahead, so that
/// workers find t-1, t, t+1 at any time. Workers read without lock: a slot is a seqlock of its own.
/// </summary>
public sealed class CookieKeys
{
    /// <summary>Length of a window in seconds.</summary>
    public const int WindowSeconds = 64;

    private const int Slots = 4;
    private const long Unset = -1;
    private static readonly byte[] Purpose = "cookie"u8.ToArray();

    private readonly byte[] _clusterKey;
    private readonly Slot[] _slots = new Slot[Slots];

    private struct Slot
    {
        public long Window;
        public ulong K0, K1;
    }

    /// <summary>Keys from the cluster key (the key file's bytes), ready for <paramref name="wallSeconds"/> (Unix time).</summary>
    public CookieKeys(ReadOnlySpan<byte> clusterKey, long wallSeconds)
    {
        _clusterKey = clusterKey.ToArray();
        for (int i = 0; i < Slots; i++) _slots[i].Window = Unset;
        Prepare(wallSeconds);
    }

    /// <summary>Derives what is missing around <paramref name="wallSeconds"/>. One caller at a time.</summary>
    public void Prepare(long wallSeconds)
    {
        long now = WindowOf(wallSeconds);
        for (long window = now - 1; window <= now + 2; window++)
        {
            ref Slot slot = ref _slots[window & (Slots - 1)];
            if (slot.Window != window) Derive(ref slot, window);
        }
    }

    /// <summary>The window of a wall clock time (Unix seconds).</summary>
    public static long WindowOf(long wallSeconds) => wallSeconds / WindowSeconds;

    /// <summary>The key of a window; false if it was not prepared.</summary>
    public bool TryGet(long window, out SipKey key)
    {
        ref Slot slot = ref _slots[window & (Slots - 1)];
        long before = Volatile.Read(ref slot.Window);
        key = new SipKey(Volatile.Read(ref slot.K0), Volatile.Read(ref slot.K1));
        return before == window && Volatile.Read(ref slot.Window) == window;
    }

    private void Derive(ref Slot slot, long window)
    {
        Span<byte> info = stackalloc byte[14], key = stackalloc byte[16];
        Purpose.CopyTo(info);
        BinaryPrimitives.WriteInt64BigEndian(info[6..], window);
        HKDF.DeriveKey(HashAlgorithmName.SHA256, _clusterKey, key, [], info);
        SipKey derived = SipKey.Read(key);
        Volatile.Write(ref slot.Window, Unset);
        Volatile.Write(ref slot.K0, derived.K0);
        Volatile.Write(ref slot.K1, derived.K1);
        Volatile.Write(ref slot.Window, window);
    }
}
