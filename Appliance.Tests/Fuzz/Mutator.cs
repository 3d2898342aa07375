using System.Buffers.Binary;

namespace Appliance.Tests.Fuzz;

/// <summary>Makes hostile inputs out of good ones; the same seed makes the same inputs.</summary>
public sealed class Mutator(int seed)
{
    private static readonly byte[] Bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0f, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

    private readonly Random _random = new(seed);

    /// <summary>A number from 0 to <paramref name="limit"/> - 1, for choices of the caller that belong to the seed.</summary>
    public int Pick(int limit) => _random.Next(limit);

    /// <summary>
    /// Writes a mutation of <paramref name="input"/> to <paramref name="output"/>, which is at least as long, and returns its
    /// length; <paramref name="other"/> is spliced in now and then. One in 16 is untouched, one in 16 pure noise.
    /// </summary>
    public int Mutate(ReadOnlySpan<byte> input, ReadOnlySpan<byte> other, Span<byte> output)
    {
        int kind = _random.Next(16);
        if (kind == 0)
        {
            int noise = _random.Next(Math.Min(output.Length, 256));
            _random.NextBytes(output[..noise]);
            return noise;
        }
        input.CopyTo(output);
        int length = input.Length;
        for (int n = kind == 1 ? 0 : 1 + _random.Next(4); n > 0; n--) length = Step(output, length, other);
        return length;
    }

    private int Step(Span<byte> output, int length, ReadOnlySpan<byte> other)
    {
        if (length == 0) return Insert(output, 0);
        int at = Position(length);
        switch (_random.Next(8))
        {
            case 0:
                output[at] ^= (byte)(1 << _random.Next(8));
                return length;
            case 1:
                output[at] = Bytes[_random.Next(Bytes.Length)];
                return length;
            case 2:
                return at;
            case 3:
                CorruptLength(output[..length], at);
                return length;
            case 4:
                return Splice(output, at, other);
            case 5:
                return Insert(output, length);
            case 6:
                int cut = Math.Min(1 + _random.Next(8), length - at);
                output[(at + cut)..length].CopyTo(output[at..]);
                return length - cut;
            default:
                _random.NextBytes(output.Slice(at, Math.Min(1 + _random.Next(4), length - at)));
                return length;
        }
    }

    // Headers are what parsers read: half of the hits go to the first 100 bytes.
    private int Position(int length) => _random.Next(_random.Next(2) == 0 ? Math.Min(length, 100) : length);

    private void CorruptLength(Span<byte> bytes, int at)
    {
        if (bytes.Length < 2) return;
        at = Math.Min(at, bytes.Length - 2);
        int value = BinaryPrimitives.ReadUInt16BigEndian(bytes[at..]);
        int corrupted = _random.Next(6) switch { 0 => 0, 1 => value + 1, 2 => value - 1, 3 => 0xffff, 4 => bytes.Length - at, _ => value * 2 };
        BinaryPrimitives.WriteUInt16BigEndian(bytes[at..], (ushort)corrupted);
    }

    private int Splice(Span<byte> output, int at, ReadOnlySpan<byte> other)
    {
        ReadOnlySpan<byte> tail = other.Length == 0 ? other : other[_random.Next(other.Length)..];
        int taken = Math.Min(tail.Length, output.Length - at);
        tail[..taken].CopyTo(output[at..]);
        return at + taken;
    }

    private int Insert(Span<byte> output, int length)
    {
        int added = Math.Min(1 + _random.Next(8), output.Length - length), at = _random.Next(length + 1);
        output[at..length].CopyTo(output[(at + added)..]);
        _random.NextBytes(output.Slice(at, added));
        return length + added;
    }
}
