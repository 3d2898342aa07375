using System.Buffers.Binary;
using System.Globalization;

namespace Appliance.DataPath.Wire;

/// <summary>A 48-bit Ethernet address, kept in the low bits of a number (first byte on the wire is the highest).</summary>
public readonly struct MacAddress(ulong value) : IEquatable<MacAddress>
{
    /// <summary>ff:ff:ff:ff:ff:ff.</summary>
    public static readonly MacAddress Broadcast = new(0xffff_ffff_ffff);

    /// <summary>The address as a number below 2^48.</summary>
    public ulong Value { get; } = value & 0xffff_ffff_ffff;

    /// <summary>True for group addresses (multicast and broadcast: lowest bit of the first byte).</summary>
    public bool IsGroup => (Value & 0x0100_0000_0000) != 0;

    /// <summary>True for 00:00:00:00:00:00, which stands for "not known".</summary>
    public bool IsZero => Value == 0;

    /// <summary>Reads six bytes; the span must hold at least six.</summary>
    public static MacAddress Read(ReadOnlySpan<byte> source) =>
        new(((ulong)BinaryPrimitives.ReadUInt16BigEndian(source) << 32) | BinaryPrimitives.ReadUInt32BigEndian(source[2..]));

    /// <summary>Writes six bytes.</summary>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt16BigEndian(destination, (ushort)(Value >> 32));
        BinaryPrimitives.WriteUInt32BigEndian(destination[2..], (uint)Value);
    }

    /// <summary>Parses "02:00:00:00:00:01"; false for anything else.</summary>
    public static bool TryParse(string text, out MacAddress address)
    {
        address = default;
        string[] parts = text.Split(':');
        if (parts.Length != 6) return false;
        ulong value = 0;
        foreach (string part in parts)
        {
            if (part.Length != 2 || !byte.TryParse(part, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte b)) return false;
            value = (value << 8) | b;
        }
        address = new MacAddress(value);
        return true;
    }

    /// <summary>Same address.</summary>
    public static bool operator ==(MacAddress x, MacAddress y) => x.Value == y.Value;

    /// <summary>Different addresses.</summary>
    public static bool operator !=(MacAddress x, MacAddress y) => x.Value != y.Value;

    /// <inheritdoc/>
    public bool Equals(MacAddress other) => Value == other.Value;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is MacAddress other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Value.GetHashCode();

    /// <inheritdoc/>
    public override string ToString()
    {
        ulong v = Value;
        return string.Create(CultureInfo.InvariantCulture, $"{v >> 40 & 255:x2}:{v >> 32 & 255:x2}:{v >> 24 & 255:x2}:{v >> 16 & 255:x2}:{v >> 8 & 255:x2}:{v & 255:x2}");
    }
}
