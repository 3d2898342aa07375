using System.Buffers.Binary;
using System.Numerics;

namespace Appliance.DataPath.Splice;

/// <summary>A 128-bit key of <see cref="SipHash"/>.</summary>
public readonly record struct SipKey(ulong K0, ulong K1)
{
    /// <summary>Reads sixteen bytes.</summary>
    public static SipKey Read(ReadOnlySpan<byte> bytes) =>
        new(BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]));
}

/// <summary>
/// SipHash-2-4, 64-bit output (Aumasson and Bernstein, 2012): a keyed hash for short inputs that an
/// attacker chooses. Pure; allocates nothing.
/// </summary>
public static class SipHash
{
    /// <summary>The keyed hash of <paramref name="data"/>.</summary>
    public static ulong Hash(SipKey key, ReadOnlySpan<byte> data)
    {
        ulong v0 = key.K0 ^ 0x736f6d6570736575, v1 = key.K1 ^ 0x646f72616e646f6d;
        ulong v2 = key.K0 ^ 0x6c7967656e657261, v3 = key.K1 ^ 0x7465646279746573;
        ulong last = (ulong)data.Length << 56;
        for (; data.Length >= 8; data = data[8..])
        {
            ulong word = BinaryPrimitives.ReadUInt64LittleEndian(data);
            v3 ^= word;
            Round(ref v0, ref v1, ref v2, ref v3);
            Round(ref v0, ref v1, ref v2, ref v3);
            v0 ^= word;
        }
        for (int i = 0; i < data.Length; i++) last |= (ulong)data[i] << (8 * i);
        v3 ^= last;
        Round(ref v0, ref v1, ref v2, ref v3);
        Round(ref v0, ref v1, ref v2, ref v3);
        v0 ^= last;
        v2 ^= 0xff;
        for (int i = 0; i < 4; i++) Round(ref v0, ref v1, ref v2, ref v3);
        return v0 ^ v1 ^ v2 ^ v3;
    }

    private static void Round(ref ulong v0, ref ulong v1, ref ulong v2, ref ulong v3)
    {
        v0 += v1;
        v1 = BitOperations.RotateLeft(v1, 13) ^ v0;
        v0 = BitOperations.RotateLeft(v0, 32);
        v2 += v3;
        v3 = BitOperations.RotateLeft(v3, 16) ^ v2;
        v0 += v3;
        v3 = BitOperations.RotateLeft(v3, 21) ^ v0;
        v2 += v1;
        v1 = BitOperations.RotateLeft(v1, 17) ^ v2;
        v2 = BitOperations.RotateLeft(v2, 32);
    }
}
