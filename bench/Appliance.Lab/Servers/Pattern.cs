using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Appliance.Lab.Servers;

/// <summary>
/// Content that both ends can compute: byte i of the content of a seed is byte i mod 8 of a mixed counter i / 8
/// (splitmix64). It never repeats, so a byte of another place or of another connection shows.
/// </summary>
public static class Pattern
{
    /// <summary>Fills a buffer with the content of <paramref name="seed"/> from <paramref name="offset"/> on.</summary>
    public static void Fill(Span<byte> buffer, ulong seed, long offset)
    {
        Span<byte> word = stackalloc byte[8];
        int lead = (int)(offset & 7);
        ulong index = (ulong)(offset >> 3);
        if (lead != 0)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(word, Word(seed, index++));
            var rest = word[lead..];
            int take = Math.Min(rest.Length, buffer.Length);
            rest[..take].CopyTo(buffer);
            buffer = buffer[take..];
        }
        var words = MemoryMarshal.Cast<byte, ulong>(buffer);
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = Word(seed, index++);
        }
        var tail = buffer[(words.Length * 8)..];
        if (tail.Length > 0)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(word, Word(seed, index));
            word[..tail.Length].CopyTo(tail);
        }
    }

    /// <summary>Number of bytes that differ from the content of <paramref name="seed"/> at <paramref name="offset"/>.</summary>
    public static long Differences(ReadOnlySpan<byte> data, ulong seed, long offset)
    {
        Span<byte> expected = stackalloc byte[8192];
        long differences = 0;
        while (data.Length > 0)
        {
            var part = data[..Math.Min(data.Length, expected.Length)];
            Fill(expected[..part.Length], seed, offset);
            if (!part.SequenceEqual(expected[..part.Length]))
            {
                for (int i = 0; i < part.Length; i++)
                {
                    differences += part[i] == expected[i] ? 0 : 1;
                }
            }
            offset += part.Length;
            data = data[part.Length..];
        }
        return differences;
    }

    /// <summary>Bytes in which a file differs from the first <paramref name="length"/> bytes of the content of a seed; missing and surplus bytes count.</summary>
    public static long DifferencesOfFile(string path, ulong seed, long length)
    {
        using var file = File.OpenRead(path);
        byte[] piece = new byte[1 << 20];
        long done = 0, differences = 0;
        for (int read = file.Read(piece); read > 0; read = file.Read(piece))
        {
            differences += Differences(piece.AsSpan(0, read), seed, done);
            done += read;
        }
        return differences + Math.Abs(length - done);
    }

    private static ulong Word(ulong seed, ulong index)
    {
        ulong z = (seed * 0xD1342543DE82EF95UL) + ((index + 1) * 0x9E3779B97F4A7C15UL);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }
}
