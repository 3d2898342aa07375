using System.Numerics;
using System.Runtime.InteropServices;

namespace Appliance.DataPath.Memory;

/// <summary>What a read found.</summary>
public enum RingRead
{
    /// <summary>No record waits.</summary>
    Empty,

    /// <summary>A record was copied out.</summary>
    Record,

    /// <summary>What waits makes no sense, or is longer than the caller's buffer: all of it was discarded; the writer's state must be announced again.</summary>
    Corrupt,
}

/// <summary>
/// A bounded ring of byte records between one writer and one reader, in memory that they may share
/// across processes. A record is copied in and out; the index is published last (release) and read
/// first (acquire), so a torn record is never visible. Neither side trusts what the other could
/// have overwritten: each keeps its own index, and every record carries a stamp made of the ring's
/// generation and its position, so that left-overs, a writer of another incarnation, or
/// rubbish are recognised. Full: the record is refused and <see cref="Overflows"/> counts it. Nobody waits or is woken here.
/// </summary>
public sealed unsafe class SpscRing
{
    /// <summary>Bytes in front of the data.</summary>
    public const int HeaderSize = 256;

    private const uint Magic = 0x5250_4131;
    private const int Alignment = 8, RecordHeader = 8;

    private readonly Header* _header;
    private readonly byte* _data;
    private readonly ulong _mask;
    private ulong _position, _other;

    private SpscRing(nint address, int capacity, uint generation, ulong position)
    {
        _header = (Header*)address;
        _data = (byte*)address + HeaderSize;
        _mask = (ulong)capacity - 1;
        Generation = generation;
        _position = _other = position;
    }

    /// <summary>Distinguishes this ring from earlier ones in the same memory.</summary>
    public uint Generation { get; }

    /// <summary>Bytes for records, each of which takes 8 more than its length, rounded up to 8.</summary>
    public int Capacity => (int)_mask + 1;

    /// <summary>Longest record in bytes.</summary>
    public int MaxRecord => Capacity - RecordHeader;

    /// <summary>Records refused since the ring was made; the reader compares it with what it saw before.</summary>
    public ulong Overflows => Volatile.Read(ref _header->Overflows);

    /// <summary>Makes an empty ring in <paramref name="length"/> bytes at <paramref name="address"/> (8-byte aligned) and returns the writer's end. The capacity is the greatest power of two that fits.</summary>
    public static SpscRing Create(nint address, long length, uint generation)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, HeaderSize + 64);
        int capacity = (int)Math.Min(1 << 30, 1L << BitOperations.Log2((ulong)(length - HeaderSize)));
        Header* header = (Header*)address;
        Volatile.Write(ref header->Magic, 0);
        header->Capacity = (uint)capacity;
        header->Generation = generation;
        header->Written = header->Read = header->Overflows = 0;
        Volatile.Write(ref header->Magic, Magic);
        return new SpscRing(address, capacity, generation, 0);
    }

    /// <summary>The reader's end of a ring that somebody else made; false if there is none in these <paramref name="length"/> bytes. Goes on where an earlier reader stopped.</summary>
    public static bool TryAttachReader(nint address, long length, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out SpscRing? ring)
    {
        ring = null;
        Header* header = (Header*)address;
        if (length < HeaderSize || Volatile.Read(ref header->Magic) != Magic) return false;
        uint capacity = header->Capacity;
        if (!BitOperations.IsPow2(capacity) || capacity < 64 || capacity > length - HeaderSize) return false;
        ulong read = Volatile.Read(ref header->Read), written = Volatile.Read(ref header->Written);
        if (written - read > capacity || read % Alignment != 0) return false;
        ring = new SpscRing(address, (int)capacity, header->Generation, read);
        return true;
    }

    /// <summary>Writer: appends a record of both parts one after the other; false, and counted, if there is no room.</summary>
    public bool TryWrite(ReadOnlySpan<byte> record, ReadOnlySpan<byte> rest = default)
    {
        ulong length = (ulong)record.Length + (ulong)rest.Length;
        ulong size = Space(length);
        if (size > Room(size))
        {
            Volatile.Write(ref _header->Overflows, _header->Overflows + 1);
            return false;
        }
        byte* at = _data + (_position & _mask);
        *(uint*)at = (uint)length;
        *(uint*)(at + 4) = Stamp(_position);
        CopyIn(_position + RecordHeader, record);
        CopyIn(_position + RecordHeader + (ulong)record.Length, rest);
        _position += size;
        Volatile.Write(ref _header->Written, _position);
        return true;
    }

    /// <summary>Reader: copies the oldest record to <paramref name="destination"/> and gives its place back.</summary>
    public RingRead TryRead(Span<byte> destination, out int length)
    {
        length = 0;
        if (_other == _position) _other = Volatile.Read(ref _header->Written);
        ulong waiting = _other - _position;
        if (waiting == 0) return RingRead.Empty;
        if (waiting > _mask + 1 || waiting % Alignment != 0 || waiting < RecordHeader) return Discard();
        byte* at = _data + (_position & _mask);
        uint claimed = Volatile.Read(ref *(uint*)at);
        if (Volatile.Read(ref *(uint*)(at + 4)) != Stamp(_position) || Space(claimed) > waiting || claimed > (uint)destination.Length) return Discard();
        length = (int)claimed;
        CopyOut(_position + RecordHeader, destination[..length]);
        _position += Space(claimed);
        Volatile.Write(ref _header->Read, _position);
        return RingRead.Record;
    }

    private static ulong Space(ulong length) => (length + RecordHeader + Alignment - 1) & ~(ulong)(Alignment - 1);

    /// <summary>Free bytes; the reader's index is read again only if what is known of it is not enough.</summary>
    private ulong Room(ulong wanted)
    {
        ulong capacity = _mask + 1, room = capacity - (_position - _other);
        if (room >= wanted) return room;
        ulong read = Volatile.Read(ref _header->Read);
        // A reader that claims to be ahead of us, or to go backwards, is not believed.
        if (read - _other <= _position - _other) _other = read;
        return capacity - (_position - _other);
    }

    private RingRead Discard()
    {
        // The writer's index need not be a multiple of 8 if it is rubbish; ours stays one.
        _position = Volatile.Read(ref _header->Written) & ~(ulong)(Alignment - 1);
        _other = _position;
        Volatile.Write(ref _header->Read, _position);
        return RingRead.Corrupt;
    }

    private uint Stamp(ulong position) => (Generation * 0x9e37_79b1u) ^ (uint)(position >> 3) ^ Magic;

    private void CopyIn(ulong position, ReadOnlySpan<byte> bytes)
    {
        int start = (int)(position & _mask);
        int first = Math.Min(bytes.Length, Capacity - start);
        bytes[..first].CopyTo(new Span<byte>(_data + start, first));
        bytes[first..].CopyTo(new Span<byte>(_data, bytes.Length - first));
    }

    private void CopyOut(ulong position, Span<byte> bytes)
    {
        int start = (int)(position & _mask);
        int first = Math.Min(bytes.Length, Capacity - start);
        new ReadOnlySpan<byte>(_data + start, first).CopyTo(bytes);
        new ReadOnlySpan<byte>(_data, bytes.Length - first).CopyTo(bytes[first..]);
    }

    /// <summary>Each side's words on cache lines of their own (two, for the adjacent-line prefetcher).</summary>
    [StructLayout(LayoutKind.Explicit, Size = HeaderSize)]
    private struct Header
    {
        [FieldOffset(0)] internal uint Magic;
        [FieldOffset(4)] internal uint Capacity;
        [FieldOffset(8)] internal uint Generation;
        [FieldOffset(64)] internal ulong Written;
        [FieldOffset(72)] internal ulong Overflows;
        [FieldOffset(192)] internal ulong Read;
    }
}
