using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;

namespace Appliance.DataPath.Wire;

/// <summary>
/// An IPv4 or IPv6 address in 16 bytes; IPv4 stands as its mapped form ::ffff:a.b.c.d
/// (RFC 4291 2.5.5.2), so that one key serves both families. A blittable value: it may
/// stand in shared memory.
/// </summary>
public readonly struct IpAddr(ulong high, ulong low) : IEquatable<IpAddr>
{
    private const ulong MappedPrefix = 0x0000_ffff_0000_0000;

    /// <summary>First eight bytes, as a big-endian number.</summary>
    public readonly ulong High = high;

    /// <summary>Last eight bytes, as a big-endian number.</summary>
    public readonly ulong Low = low;

    /// <summary>The address made of an IPv4 number (203.0.113.1 = 0xcb007101).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static IpAddr FromV4(uint value) => new(0, MappedPrefix | value);

    /// <summary>Reads four bytes of an IPv4 header.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static IpAddr ReadV4(ReadOnlySpan<byte> source) => FromV4(BinaryPrimitives.ReadUInt32BigEndian(source));

    /// <summary>Reads sixteen bytes of an IPv6 header.</summary>
    public static IpAddr ReadV6(ReadOnlySpan<byte> source) =>
        new(BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[8..]));

    /// <summary>True for an IPv4 address.</summary>
    public bool IsV4 => High == 0 && (Low & 0xffff_ffff_0000_0000) == MappedPrefix;

    /// <summary>True for the all-zero value, which stands for "none".</summary>
    public bool IsNone => High == 0 && Low == 0;

    /// <summary>The IPv4 number; meaningful only if <see cref="IsV4"/>.</summary>
    public uint V4 => (uint)Low;

    /// <summary>Writes the four bytes of an IPv4 address.</summary>
    public void WriteV4(Span<byte> destination) => BinaryPrimitives.WriteUInt32BigEndian(destination, (uint)Low);

    /// <summary>Writes sixteen bytes.</summary>
    public void WriteV6(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, High);
        BinaryPrimitives.WriteUInt64BigEndian(destination[8..], Low);
    }

    /// <summary>Parses the usual text forms; "none", prefixes and zones are refused.</summary>
    public static bool TryParse(string text, out IpAddr address)
    {
        address = default;
        if (!IPAddress.TryParse(text, out IPAddress? parsed)) return false;
        if (parsed.AddressFamily == AddressFamily.InterNetwork && text.Split('.').Length != 4) return false;
        address = From(parsed);
        return true;
    }

    /// <summary>Converts a framework address.</summary>
    public static IpAddr From(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        return address.TryWriteBytes(bytes, out int written) && written == 4 ? ReadV4(bytes) : ReadV6(bytes);
    }

    /// <summary>Converts to a framework address (allocates; control plane only).</summary>
    public IPAddress ToIPAddress()
    {
        Span<byte> bytes = stackalloc byte[16];
        if (IsV4)
        {
            WriteV4(bytes);
            return new IPAddress(bytes[..4]);
        }
        WriteV6(bytes);
        return new IPAddress(bytes);
    }

    /// <summary>True if this address lies in <paramref name="network"/>/<paramref name="prefixLength"/>, lengths counted in the address's own family.</summary>
    public bool IsWithin(IpAddr network, int prefixLength)
    {
        if (IsV4 != network.IsV4) return false;
        int bits = IsV4 ? prefixLength + 96 : prefixLength;
        ulong highMask = bits >= 64 ? ulong.MaxValue : bits <= 0 ? 0 : ulong.MaxValue << (64 - bits);
        ulong lowMask = bits >= 128 ? ulong.MaxValue : bits <= 64 ? 0 : ulong.MaxValue << (128 - bits);
        return ((High ^ network.High) & highMask) == 0 && ((Low ^ network.Low) & lowMask) == 0;
    }

    /// <summary>Same address.</summary>
    public static bool operator ==(IpAddr x, IpAddr y) => x.High == y.High && x.Low == y.Low;

    /// <summary>Different addresses.</summary>
    public static bool operator !=(IpAddr x, IpAddr y) => !(x == y);

    /// <inheritdoc/>
    public bool Equals(IpAddr other) => this == other;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is IpAddr other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(High, Low);

    /// <inheritdoc/>
    public override string ToString() => ToIPAddress().ToString();
}
