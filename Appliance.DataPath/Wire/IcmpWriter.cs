using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>The ICMP errors that a box sends; each stands for its type and code in either version.</summary>
public enum IcmpError
{
    /// <summary>TTL or hop limit used up in transit.</summary>
    TimeExceeded,

    /// <summary>No such host, or no answer to ARP or neighbour discovery.</summary>
    HostUnreachable,

    /// <summary>Nobody listens.</summary>
    PortUnreachable,

    /// <summary>Forbidden by policy.</summary>
    Prohibited,

    /// <summary>Fragmentation needed, or packet too big; goes with an MTU.</summary>
    PacketTooBig,
}

/// <summary>
/// Writes echo replies and ICMP errors (RFC 792, 1812 4.3, 4443). When an error must not be sent
/// (about an ICMP error, a later fragment, a group address or no sender; RFC 1122 3.2.2, RFC 4443 2.4e) nothing is
/// written. Rate limits are the caller's.
/// </summary>
public static class IcmpWriter
{
    // An error is at most 576 bytes of IPv4 (RFC 1812 4.3.2.3), 1280 of IPv6 (RFC 4443 2.4c).
    private const int MaxV4 = 576, MaxV6 = 1280, IcmpHeader = 8;

    // Internetwork control (RFC 1812 4.3.2.5).
    private const byte ErrorPrecedence = 0xc0;

    /// <summary>
    /// Writes the answer to an echo request, VLAN tags and payload as they came, from the address that was asked. Returns the length, or 0 if it
    /// is no whole, correct echo request to one address, or does not fit. <paramref name="frame"/> may be the request's own memory.
    /// </summary>
    public static int WriteEchoReply(Span<byte> frame, in Packet request, MacAddress sourceMac, byte hopLimit = 64)
    {
        if (!request.IsIcmp || !request.Icmp.IsEcho || request.Layout.IsFragment || frame.Length < request.Layout.End) return 0;
        if (!IsUnicast(request.Source) || !IsUnicast(request.Destination) || !InternetChecksum.VerifyTransport(request)) return 0;
        // Options and extension headers are not echoed: the reply's IP header is a plain one.
        int link = request.Layout.Network;
        IpAddr source = request.Destination, destination = request.Source;
        MacAddress destinationMac = request.SourceMac;
        byte trafficClass = request.IsV6 ? request.Ipv6.TrafficClass : request.Ipv4.TrafficClass, protocol = request.Layout.Protocol;
        Span<byte> message = request.Transport;
        request.Frame[..link].CopyTo(frame);
        destinationMac.Write(frame);
        sourceMac.Write(frame[6..]);
        int at = link + FrameWriter.WriteIp(frame[link..], source, destination, protocol, message.Length, hopLimit, trafficClass, identification: 0);
        message.CopyTo(frame[at..]);
        frame[at] = request.IsV6 ? IcmpView.V6EchoReply : IcmpView.V4EchoReply;
        SetChecksum(frame.Slice(at, message.Length), source, destination, protocol);
        return at + message.Length;
    }

    /// <summary>
    /// Writes an error about a packet, to its sender, quoting as much as may be quoted. Returns the length,
    /// or 0 if it does not fit or must not be sent. <paramref name="mtu"/> is in bytes of IP.
    /// </summary>
    public static int WriteError(
        Span<byte> frame, in Packet about, IcmpError error, IpAddr source, MacAddress sourceMac, MacAddress destinationMac, int mtu = 0)
    {
        if (!MayReport(about)) return 0;
        bool v6 = about.IsV6;
        ReadOnlySpan<byte> quote = about.Network;
        int room = v6 ? MaxV6 - Ipv6View.HeaderLength - IcmpHeader : MaxV4 - 20 - IcmpHeader;
        if (quote.Length > room) quote = quote[..room];
        int length = IcmpHeader + quote.Length;
        IpAddr destination = about.Source;
        if (!FrameWriter.Fits(frame, source, destination, length)) return 0;

        byte protocol = v6 ? Packet.ProtocolIcmp6 : Packet.ProtocolIcmp;
        int at = FrameWriter.WriteEthernet(frame, destinationMac, sourceMac, v6 ? PacketParser.EtherIpv6 : PacketParser.EtherIpv4);
        at += FrameWriter.WriteIp(frame[at..], source, destination, protocol, length, hopLimit: 64, v6 ? (byte)0 : ErrorPrecedence, identification: 0);
        Span<byte> message = frame.Slice(at, length);
        (message[0], message[1]) = v6 ? TypeOfV6(error) : TypeOfV4(error);
        BinaryPrimitives.WriteUInt32BigEndian(message[4..], error == IcmpError.PacketTooBig ? (uint)mtu : 0);
        quote.CopyTo(message[IcmpHeader..]);
        SetChecksum(message, source, destination, protocol);
        return at + length;
    }

    /// <summary>True if an error about this packet may be sent.</summary>
    public static bool MayReport(in Packet packet)
    {
        if (!packet.IsV4 && !packet.IsV6) return false;
        bool laterFragment = packet.Layout.IsFragment && !packet.Layout.HasTransport;
        bool aboutError = packet.IsIcmp && packet.Icmp.IsError;
        // IPv6 allows packet-too-big for multicast; nothing here forwards multicast.
        return !laterFragment && !aboutError && !packet.DestinationMac.IsGroup && IsUnicast(packet.Source) && IsUnicast(packet.Destination);
    }

    private static bool IsUnicast(IpAddr address) =>
        address.IsV4 ? (address.V4 >> 24) is > 0 and < 224 : !address.IsNone && address.High >> 56 != 0xff;

    private static (byte Type, byte Code) TypeOfV4(IcmpError error) => error switch
    {
        IcmpError.TimeExceeded => (IcmpView.V4TimeExceeded, 0),
        IcmpError.HostUnreachable => (IcmpView.V4Unreachable, 1),
        IcmpError.PortUnreachable => (IcmpView.V4Unreachable, 3),
        IcmpError.Prohibited => (IcmpView.V4Unreachable, 13),
        _ => (IcmpView.V4Unreachable, IcmpView.V4FragmentationNeeded),
    };

    private static (byte Type, byte Code) TypeOfV6(IcmpError error) => error switch
    {
        IcmpError.TimeExceeded => (IcmpView.V6TimeExceeded, 0),
        IcmpError.HostUnreachable => (IcmpView.V6Unreachable, 3),
        IcmpError.PortUnreachable => (IcmpView.V6Unreachable, 4),
        IcmpError.Prohibited => (IcmpView.V6Unreachable, 1),
        _ => (IcmpView.V6PacketTooBig, 0),
    };

    private static void SetChecksum(Span<byte> message, IpAddr source, IpAddr destination, byte protocol)
    {
        message.Slice(2, 2).Clear();
        BinaryPrimitives.WriteUInt16BigEndian(message[2..], InternetChecksum.Transport(source, destination, protocol, message));
    }
}
