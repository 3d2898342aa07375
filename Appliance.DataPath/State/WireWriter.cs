using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>
/// Writes big-endian fields one after another into a span. What does not fit is not written and
/// <see cref="Overflowed"/> says so; nothing throws.
/// </summary>
public ref struct WireWriter(Span<byte> target)
{
    private readonly Span<byte> _target = target;

    /// <summary>Bytes written.</summary>
    public int Length { get; private set; }

    /// <summary>True once something did not fit.</summary>
    public bool Overflowed { get; private set; }

    public void U8(byte value)
    {
        if (Take(1) is var at and >= 0) _target[at] = value;
    }

    public void U16(ushort value)
    {
        if (Take(2) is var at and >= 0) BinaryPrimitives.WriteUInt16BigEndian(_target[at..], value);
    }

    public void U32(uint value)
    {
        if (Take(4) is var at and >= 0) BinaryPrimitives.WriteUInt32BigEndian(_target[at..], value);
    }

    public void U64(ulong value)
    {
        if (Take(8) is var at and >= 0) BinaryPrimitives.WriteUInt64BigEndian(_target[at..], value);
    }

    /// <summary>Seven bits a byte, lowest first; the high bit says that more follow (at most five bytes).</summary>
    public void Var32(uint value)
    {
        for (; value >= 0x80; value >>= 7) U8((byte)(value | 0x80));
        U8((byte)value);
    }

    /// <summary>An address in its 4-byte or 16-byte form.</summary>
    public void Address(IpAddr address, bool v6)
    {
        if (v6)
        {
            U64(address.High);
            U64(address.Low);
        }
        else
        {
            U32(address.V4);
        }
    }

    public void Bytes(ReadOnlySpan<byte> bytes)
    {
        if (Take(bytes.Length) is var at and >= 0) bytes.CopyTo(_target[at..]);
    }

    private int Take(int count)
    {
        if (Overflowed || Length + count > _target.Length)
        {
            Overflowed = true;
            return -1;
        }
        int at = Length;
        Length += count;
        return at;
    }
}

/// <summary>
/// Reads what <see cref="WireWriter"/> wrote. Reading past the end gives zeros and sets
/// <see cref="Failed"/>; nothing throws, so a decoder checks once at its end.
/// </summary>
public ref struct WireReader(ReadOnlySpan<byte> source)
{
    private readonly ReadOnlySpan<byte> _source = source;
    private int _at;

    /// <summary>True once something was missing or impossible.</summary>
    public bool Failed { get; private set; }

    /// <summary>Bytes not yet read.</summary>
    public readonly int Left => _source.Length - _at;

    /// <summary>True if all bytes were read and none was missing.</summary>
    public readonly bool Complete => !Failed && Left == 0;

    public byte U8() => Take(1) is var at and >= 0 ? _source[at] : (byte)0;

    public ushort U16() => Take(2) is var at and >= 0 ? BinaryPrimitives.ReadUInt16BigEndian(_source[at..]) : (ushort)0;

    public uint U32() => Take(4) is var at and >= 0 ? BinaryPrimitives.ReadUInt32BigEndian(_source[at..]) : 0;

    public ulong U64() => Take(8) is var at and >= 0 ? BinaryPrimitives.ReadUInt64BigEndian(_source[at..]) : 0;

    /// <summary>See <see cref="WireWriter.Var32"/>.</summary>
    public uint Var32()
    {
        ulong value = 0;
        for (int shift = 0; shift < 35; shift += 7)
        {
            byte b = U8();
            value |= (ulong)(b & 0x7f) << shift;
            if (b < 0x80)
            {
                if (value > uint.MaxValue) Failed = true;
                return (uint)value;
            }
        }
        Failed = true;
        return 0;
    }

    /// <summary>See <see cref="WireWriter.Address"/>.</summary>
    public IpAddr Address(bool v6) => v6 ? new IpAddr(U64(), U64()) : IpAddr.FromV4(U32());

    public ReadOnlySpan<byte> Bytes(int count) => count >= 0 && Take(count) is var at and >= 0 ? _source.Slice(at, count) : default;

    /// <summary>All that is left.</summary>
    public ReadOnlySpan<byte> Rest() => Bytes(Left);

    /// <summary>Says that what was read is impossible.</summary>
    public void Fail() => Failed = true;

    private int Take(int count)
    {
        if (Failed || count > _source.Length - _at)
        {
            Failed = true;
            return -1;
        }
        int at = _at;
        _at += count;
        return at;
    }
}
