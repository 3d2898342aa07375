using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Appliance.DataPath.Wire;

/// <summary>
/// The one's complement checksum of IP, TCP, UDP and ICMP (RFC 1071) and its incremental update
/// by equation 3 of RFC 1624: HC' = ~(~HC + ~m + m'). A <em>sum</em> is folded to 16 bits and not
/// complemented; a <em>delta</em> is the sum of ~old and new words; sums and deltas are joined by
/// <see cref="Add"/>. All values are big-endian numbers, as read from the wire. A complete
/// field holds the complement of a sum; a partial one (VnetHeader.NeedsChecksum) holds the
/// pseudo-header sum itself, in which only addresses, protocol and length count: it takes deltas of
/// those only, by <see cref="UpdatePartial"/>. A wrong checksum stays wrong by every update.
/// </summary>
public static class InternetChecksum
{
    /// <summary>The sum of <paramref name="data"/>; an odd last byte counts as if a zero followed.</summary>
    public static ushort Sum(ReadOnlySpan<byte> data)
    {
        // The sum is independent of byte order (RFC 1071 2B): words are read as the machine likes and swapped once.
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(data);
        ulong even = 0, odd = 0;
        int i = 0;
        for (; i + 1 < words.Length; i += 2)
        {
            ulong x = words[i], y = words[i + 1];
            even += x;
            even += even < x ? 1UL : 0;
            odd += y;
            odd += odd < y ? 1UL : 0;
        }
        ulong sum = AddCarry(even, odd);
        if (i < words.Length) sum = AddCarry(sum, words[i]);
        data = data[(words.Length * 8)..];
        if (data.Length > 0)
        {
            Span<byte> tail = stackalloc byte[8];
            tail.Clear();
            data.CopyTo(tail);
            sum = AddCarry(sum, MemoryMarshal.Read<ulong>(tail));
        }
        ushort folded = Fold(sum);
        return BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(folded) : folded;
    }

    /// <summary>Folds 32-bit or 64-bit sums of words to 16 bits, with end-around carry.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Fold(ulong sum)
    {
        // A half added to the other one, both ways at once: the carry out of the lower half is the end-around carry of the upper one.
        uint half = (uint)((sum + BitOperations.RotateRight(sum, 32)) >> 32);
        return (ushort)((half + BitOperations.RotateRight(half, 16)) >> 16);
    }

    /// <summary>Folds a sum of a few words (below 2^32) to 16 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Fold(uint sum) => (ushort)((sum + BitOperations.RotateRight(sum, 16)) >> 16);

    /// <summary>Joins two sums or deltas.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Add(ushort x, ushort y) => Fold((uint)x + y);

    /// <summary>The sum or delta of the same bytes one byte later: for words at odd offsets, and for data behind an odd number of bytes.</summary>
    public static ushort Swap(ushort sum) => BinaryPrimitives.ReverseEndianness(sum);

    /// <summary>Sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1); <paramref name="length"/> is that of transport header and payload in bytes.</summary>
    public static ushort PseudoHeaderSum(IpAddr source, IpAddr destination, byte protocol, int length)
    {
        // The mapped prefix of an IPv4 address is a word ffff, one's complement zero: one formula serves both families.
        ulong sum = (ulong)Fold(source.High) + Fold(source.Low) + Fold(destination.High) + Fold(destination.Low);
        return Fold(sum + protocol + (uint)length);
    }

    /// <summary>The checksum of a transport <paramref name="segment"/> whose checksum field is zero.</summary>
    public static ushort Transport(IpAddr source, IpAddr destination, byte protocol, ReadOnlySpan<byte> segment)
    {
        ushort pseudo = protocol == Packet.ProtocolIcmp ? (ushort)0 : PseudoHeaderSum(source, destination, protocol, segment.Length);
        ushort checksum = (ushort)~Add(pseudo, Sum(segment));
        // Zero means "none" in UDP (RFC 768).
        return checksum == 0 && protocol == Packet.ProtocolUdp ? (ushort)0xffff : checksum;
    }

    /// <summary>Delta of one 16-bit word.</summary>
    public static ushort Delta(ushort oldWord, ushort newWord) => Fold((uint)(ushort)~oldWord + newWord);

    /// <summary>Delta of a 32-bit field.</summary>
    public static ushort Delta32(uint oldValue, uint newValue) => Fold((ulong)~oldValue + newValue);

    /// <summary>Delta of a changed address, of either family.</summary>
    public static ushort DeltaOf(IpAddr oldAddress, IpAddr newAddress) =>
        Fold((ulong)Fold(~oldAddress.High) + Fold(~oldAddress.Low) + Fold(newAddress.High) + Fold(newAddress.Low));

    /// <summary>A complete checksum after the change that <paramref name="delta"/> stands for (RFC 1624 equation 3).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Update(ushort checksum, ushort delta) => (ushort)~Add((ushort)~checksum, delta);

    /// <summary>As <see cref="Update(ushort, ushort)"/>, with a delta that is not folded yet (below 2^63).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Update(ushort checksum, ulong delta) => (ushort)~Fold((ushort)~checksum + delta);

    /// <summary>As <see cref="Update(ushort, ushort)"/>, for UDP: zero (no checksum) stays, and a result of zero is written as ffff.</summary>
    public static ushort UpdateUdp(ushort checksum, ushort delta)
    {
        if (checksum == 0) return 0;
        ushort updated = Update(checksum, delta);
        return updated == 0 ? (ushort)0xffff : updated;
    }

    /// <summary>A partial checksum (pseudo-header sum) after a change of addresses, protocol or length.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort UpdatePartial(ushort partial, ushort delta) => Add(partial, delta);

    /// <summary>True if the IPv4 header checksum is right; <paramref name="header"/> holds the header with its options and nothing else.</summary>
    public static bool VerifyIpv4Header(ReadOnlySpan<byte> header) => Sum(header) == 0xffff;

    /// <summary>Applies <paramref name="delta"/> to the checksum of an IPv4 header.</summary>
    public static void UpdateIpv4Header(Span<byte> header, ushort delta)
    {
        Span<byte> field = header.Slice(10, 2);
        BinaryPrimitives.WriteUInt16BigEndian(field, Update(BinaryPrimitives.ReadUInt16BigEndian(field), delta));
    }

    /// <summary>Computes the checksum of an IPv4 header anew.</summary>
    public static void SetIpv4Header(Span<byte> header)
    {
        Span<byte> field = header.Slice(10, 2);
        field.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)~Sum(header));
    }

    /// <summary>
    /// True if the packet's complete TCP, UDP or ICMP checksum is right (UDP over IPv4 without one counts as right).
    /// False also for what cannot be verified: fragments and other protocols.
    /// </summary>
    public static bool VerifyTransport(in Packet packet)
    {
        if (!packet.Layout.HasTransport || packet.Layout.IsFragment) return false;
        ReadOnlySpan<byte> segment = packet.Transport;
        byte protocol = packet.Layout.Protocol;
        if (protocol == Packet.ProtocolUdp)
        {
            if (BinaryPrimitives.ReadUInt16BigEndian(segment[6..]) == 0) return !packet.IsV6;
            segment = segment[..BinaryPrimitives.ReadUInt16BigEndian(segment[4..])];
        }
        ushort sum = Sum(segment);
        if (protocol != Packet.ProtocolIcmp) sum = Add(sum, PseudoHeaderSum(packet.Source, packet.Destination, protocol, segment.Length));
        return sum == 0xffff;
    }

    /// <summary>Computes the packet's TCP, UDP or ICMP checksum anew, whatever stands there; false (untouched) for fragments and other protocols.</summary>
    public static bool SetTransport(in Packet packet)
    {
        if (!packet.Layout.HasTransport || packet.Layout.IsFragment) return false;
        Span<byte> segment = packet.Transport;
        byte protocol = packet.Layout.Protocol;
        if (protocol == Packet.ProtocolUdp) segment = segment[..BinaryPrimitives.ReadUInt16BigEndian(segment[4..])];
        Span<byte> field = segment.Slice(FieldOffset(protocol), 2);
        field.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(field, Transport(packet.Source, packet.Destination, protocol, segment));
        return true;
    }

    /// <summary>
    /// Turns a partial checksum into a complete one, as the kernel would on the way out, and clears
    /// the flag. Only for a frame that is one segment; a super-frame goes through <c>Segmenter</c>.
    /// False, with nothing changed, if the offsets point outside the frame or no checksum is partial.
    /// </summary>
    public static bool CompleteTransport(Span<byte> frame, ref VnetHeader vnet)
    {
        int start = vnet.ChecksumStart, at = start + vnet.ChecksumOffset;
        if (!vnet.NeedsChecksum || at + 2 > frame.Length) return false;
        // Ethernet padding is not part of the sum; it may be anything.
        int end = PacketParser.TryParse(frame, out PacketLayout layout, out _) && layout.End >= at + 2 ? layout.End : frame.Length;
        ushort checksum = (ushort)~Sum(frame[start..end]);
        if (checksum == 0 && vnet.ChecksumOffset == UdpField) checksum = 0xffff;
        BinaryPrimitives.WriteUInt16BigEndian(frame[at..], checksum);
        vnet.Flags &= unchecked((byte)~VnetHeader.FlagNeedsChecksum);
        return true;
    }

    private const int TcpField = 16, UdpField = 6, IcmpField = 2;

    /// <summary>Where the checksum stands in the header of TCP, UDP or ICMP.</summary>
    public static int FieldOffset(byte protocol) =>
        protocol == Packet.ProtocolTcp ? TcpField : protocol == Packet.ProtocolUdp ? UdpField : IcmpField;

    private static ulong AddCarry(ulong x, ulong y)
    {
        ulong sum = x + y;
        return sum < x ? sum + 1 : sum;
    }
}
