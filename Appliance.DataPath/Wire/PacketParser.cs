using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Appliance.DataPath.Wire;

/// <summary>Finds the headers of a frame; see <see cref="Packet"/> for what is guaranteed afterwards.</summary>
public static class PacketParser
{
    /// <summary>Bytes of an Ethernet header without tags.</summary>
    public const int EthernetLength = 14;

    /// <summary>EtherTypes.</summary>
    public const ushort EtherIpv4 = 0x0800, EtherArp = 0x0806, EtherVlan = 0x8100, EtherQinQ = 0x88a8, EtherIpv6 = 0x86dd;

    private const int MaxExtensionHeaders = 8;

    /// <summary>Parses <paramref name="frame"/> up to its transport header.</summary>
    public static bool TryParse(ReadOnlySpan<byte> frame, out PacketLayout layout, out DropReason reason)
    {
        Unsafe.SkipInit(out layout);
        if (IsPlainTcp(frame, ref layout))
        {
            reason = DropReason.None;
            return true;
        }
        layout = default;
        layout.Vlan = -1;
        if (frame.Length < EthernetLength) return Fail(DropReason.FrameTooShort, out reason);
        int at = 12;
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(frame[at..]);
        at += 2;
        for (int tags = 0; type is EtherVlan or EtherQinQ; tags++)
        {
            if (tags == 2) return Fail(DropReason.VlanTooDeep, out reason);
            if (frame.Length < at + 4) return Fail(DropReason.FrameTooShort, out reason);
            if (tags == 0) layout.Vlan = BinaryPrimitives.ReadUInt16BigEndian(frame[at..]);
            type = BinaryPrimitives.ReadUInt16BigEndian(frame[(at + 2)..]);
            at += 4;
        }
        layout.EtherType = type;
        layout.Network = (ushort)at;
        reason = DropReason.None;
        switch (type)
        {
            case EtherIpv4: return Ipv4(frame, ref layout, out reason);
            case EtherIpv6: return Ipv6(frame, ref layout, out reason);
            case EtherArp: return Arp(frame, ref layout, out reason);
            default:
                layout.Transport = layout.Payload = at;
                layout.End = frame.Length;
                return true;
        }
    }

    // What nearly every frame is: no tag, IPv4 without options, whole, TCP. The same checks as below, in one step;
    // false means nothing, the layout is then untouched; true has set all of it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsPlainTcp(ReadOnlySpan<byte> frame, ref PacketLayout layout)
    {
        const int network = EthernetLength, transport = network + 20;
        if (frame.Length < transport + 20) return false;
        ReadOnlySpan<byte> head = frame[..(transport + 20)];
        if (BinaryPrimitives.ReadUInt16BigEndian(head[12..]) != EtherIpv4 || head[network] != 0x45 || head[network + 9] != Packet.ProtocolTcp) return false;
        if ((BinaryPrimitives.ReadUInt16BigEndian(head[(network + 6)..]) & 0x3fff) != 0) return false;
        int end = network + BinaryPrimitives.ReadUInt16BigEndian(head[(network + 2)..]);
        int payload = transport + (head[transport + 12] >> 4) * 4;
        if (payload < transport + 20 || payload > end || end > frame.Length) return false;
        layout.Kind = NetworkKind.Ipv4;
        layout.Protocol = Packet.ProtocolTcp;
        layout.IsFragment = false;
        layout.HasTransport = true;
        layout.Network = network;
        layout.Transport = transport;
        layout.Payload = payload;
        layout.End = end;
        layout.EtherType = EtherIpv4;
        layout.Vlan = -1;
        return true;
    }

    private static bool Fail(DropReason why, out DropReason reason)
    {
        reason = why;
        return false;
    }

    private static bool Arp(ReadOnlySpan<byte> frame, ref PacketLayout layout, out DropReason reason)
    {
        ReadOnlySpan<byte> body = frame[layout.Network..];
        // Hardware Ethernet, protocol IPv4, lengths 6 and 4 (RFC 826).
        if (body.Length < 28 || BinaryPrimitives.ReadUInt64BigEndian(body) >> 16 != 0x0001_0800_0604) return Fail(DropReason.ArpMalformed, out reason);
        layout.Kind = NetworkKind.Arp;
        layout.Transport = layout.Payload = layout.End = layout.Network + 28;
        reason = DropReason.None;
        return true;
    }

    private static bool Ipv4(ReadOnlySpan<byte> frame, ref PacketLayout layout, out DropReason reason)
    {
        ReadOnlySpan<byte> ip = frame[layout.Network..];
        if (ip.Length < 20) return Fail(DropReason.FrameTooShort, out reason);
        int headerLength = (ip[0] & 15) * 4;
        int total = BinaryPrimitives.ReadUInt16BigEndian(ip[2..]);
        // A super-frame beyond 64 KB would carry total length 0 (BIG TCP); the ports never ask for those.
        if (ip[0] >> 4 != 4 || headerLength < 20 || total < headerLength) return Fail(DropReason.Ipv4HeaderMalformed, out reason);
        if (total > ip.Length) return Fail(DropReason.IpLengthExceedsFrame, out reason);
        if (headerLength > 20 && !Ipv4View.AreOptionsValid(ip[20..headerLength])) return Fail(DropReason.Ipv4OptionsMalformed, out reason);
        ushort fragment = BinaryPrimitives.ReadUInt16BigEndian(ip[6..]);
        int offset = (fragment & 0x1fff) * 8;
        layout.Kind = NetworkKind.Ipv4;
        layout.IsFragment = (fragment & 0x3fff) != 0;
        layout.Protocol = ip[9];
        layout.Transport = layout.Network + headerLength;
        layout.End = layout.Network + total;
        if (offset + total - headerLength > 65535) return Fail(DropReason.FragmentMalformed, out reason);
        return Transport(frame, ref layout, offset, out reason);
    }

    private static bool Ipv6(ReadOnlySpan<byte> frame, ref PacketLayout layout, out DropReason reason)
    {
        ReadOnlySpan<byte> ip = frame[layout.Network..];
        if (ip.Length < 40) return Fail(DropReason.FrameTooShort, out reason);
        int total = 40 + BinaryPrimitives.ReadUInt16BigEndian(ip[4..]);
        if (ip[0] >> 4 != 6) return Fail(DropReason.Ipv6HeaderMalformed, out reason);
        if (total > ip.Length) return Fail(DropReason.IpLengthExceedsFrame, out reason);
        // On the wire a mapped address is an attack (RFC 4942 2.2): here it would pass for IPv4.
        if (IpAddr.ReadV6(ip[8..]).IsV4 || IpAddr.ReadV6(ip[24..]).IsV4) return Fail(DropReason.Ipv6HeaderMalformed, out reason);
        layout.Kind = NetworkKind.Ipv6;
        layout.End = layout.Network + total;
        byte next = ip[6];
        int at = Ipv6View.HeaderLength, offset = 0;
        for (int headers = 0; ; headers++)
        {
            if (!Ipv6Extensions.IsExtension(next)) break;
            if (headers == MaxExtensionHeaders || at + 8 > total) return Fail(DropReason.Ipv6ExtensionMalformed, out reason);
            int length = Ipv6Extensions.LengthOf(next, ip[at..]);
            if (at + length > total) return Fail(DropReason.Ipv6ExtensionMalformed, out reason);
            if (next == Ipv6View.Fragment)
            {
                ushort field = BinaryPrimitives.ReadUInt16BigEndian(ip[(at + 2)..]);
                offset = field & 0xfff8;
                // An "atomic fragment" (offset 0, no more) is a whole packet (RFC 6946).
                layout.IsFragment = offset != 0 || (field & 1) != 0;
            }
            next = ip[at];
            at += length;
            if (offset != 0) break;
        }
        layout.Protocol = next;
        layout.Transport = layout.Network + at;
        if (offset + total - at > 65535) return Fail(DropReason.FragmentMalformed, out reason);
        return Transport(frame, ref layout, offset, out reason);
    }

    private static bool Transport(ReadOnlySpan<byte> frame, ref PacketLayout layout, int fragmentOffset, out DropReason reason)
    {
        reason = DropReason.None;
        layout.Payload = layout.Transport;
        if (fragmentOffset != 0) return true;
        ReadOnlySpan<byte> l4 = frame[layout.Transport..layout.End];
        int header;
        switch (layout.Protocol)
        {
            case Packet.ProtocolTcp:
                if (l4.Length < 20) return Fail(DropReason.TcpHeaderMalformed, out reason);
                header = (l4[12] >> 4) * 4;
                if (header < 20 || header > l4.Length) return Fail(DropReason.TcpHeaderMalformed, out reason);
                break;
            case Packet.ProtocolUdp:
                if (l4.Length < 8) return Fail(DropReason.UdpHeaderMalformed, out reason);
                int length = BinaryPrimitives.ReadUInt16BigEndian(l4[4..]);
                if (length < 8 || (length > l4.Length && !layout.IsFragment)) return Fail(DropReason.UdpHeaderMalformed, out reason);
                header = 8;
                break;
            case Packet.ProtocolIcmp when layout.Kind == NetworkKind.Ipv4:
            case Packet.ProtocolIcmp6 when layout.Kind == NetworkKind.Ipv6:
                if (l4.Length < 8) return Fail(DropReason.IcmpMalformed, out reason);
                header = 8;
                break;
            default:
                return true;
        }
        layout.HasTransport = true;
        layout.Payload = layout.Transport + header;
        return true;
    }
}
