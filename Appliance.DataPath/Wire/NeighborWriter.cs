using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>
/// Writes ARP (RFC 826, 5227) and neighbour discovery (RFC 4861) frames; like all writers it returns
/// the frame's length, or 0 if the span is too short.
/// </summary>
public static class NeighborWriter
{
    private const int NeighborBody = 24, LinkOption = 8;
    private const byte OptionSourceMac = 1, OptionTargetMac = 2;

    private static readonly IpAddr AllNodes = new(0xff02_0000_0000_0000, 1);

    /// <summary>Asks all for <paramref name="target"/>, or one neighbour if <paramref name="to"/> is given (to see whether it is still there).</summary>
    public static int WriteArpRequest(Span<byte> frame, MacAddress senderMac, IpAddr sender, IpAddr target, MacAddress to = default) =>
        WriteArp(frame, to.IsZero ? MacAddress.Broadcast : to, ArpView.Request, senderMac, sender, default, target);

    /// <summary>Answers: <paramref name="sender"/> is at <paramref name="senderMac"/>.</summary>
    public static int WriteArpReply(Span<byte> frame, MacAddress senderMac, IpAddr sender, MacAddress targetMac, IpAddr target) =>
        WriteArp(frame, targetMac, ArpView.Reply, senderMac, sender, targetMac, target);

    /// <summary>Announces an address to all (RFC 5227 2.3), as a request, or as a reply for neighbours that listen to those only.</summary>
    public static int WriteGratuitousArp(Span<byte> frame, MacAddress mac, IpAddr address, bool asReply = false) =>
        WriteArp(frame, MacAddress.Broadcast, asReply ? ArpView.Reply : ArpView.Request, mac, address, asReply ? MacAddress.Broadcast : default, address);

    /// <summary>
    /// Asks for <paramref name="target"/> by its solicited-node group, or one neighbour if <paramref name="to"/> is given. A source of
    /// "none" probes for a duplicate address and carries no MAC.
    /// </summary>
    public static int WriteSolicitation(Span<byte> frame, MacAddress sourceMac, IpAddr source, IpAddr target, MacAddress to = default)
    {
        IpAddr destination = to.IsZero ? NeighborView.SolicitedNode(target) : target;
        MacAddress destinationMac = to.IsZero ? NeighborView.MulticastMac(destination) : to;
        return WriteNeighbor(frame, destinationMac, sourceMac, source, destination, NeighborKind.Solicitation, 0, target, OptionSourceMac, withMac: !source.IsNone);
    }

    /// <summary>
    /// Answers a solicitation that came from <paramref name="destination"/>; one that came from "none" (a duplicate address probe) is answered to all nodes,
    /// unsolicited (RFC 4861 7.2.4).
    /// </summary>
    public static int WriteAdvertisement(
        Span<byte> frame, MacAddress mac, IpAddr target, MacAddress destinationMac, IpAddr destination, bool isRouter, bool isOverride = true)
    {
        if (destination.IsNone) return WriteUnsolicitedAdvertisement(frame, mac, target, isRouter);
        byte flags = (byte)((isRouter ? 0x80 : 0) | 0x40 | (isOverride ? 0x20 : 0));
        return WriteNeighbor(frame, destinationMac, mac, target, destination, NeighborKind.Advertisement, flags, target, OptionTargetMac, withMac: true);
    }

    /// <summary>Announces an address to all nodes, replacing what they know (RFC 4861 7.2.6).</summary>
    public static int WriteUnsolicitedAdvertisement(Span<byte> frame, MacAddress mac, IpAddr address, bool isRouter)
    {
        byte flags = (byte)((isRouter ? 0x80 : 0) | 0x20);
        return WriteNeighbor(
            frame, NeighborView.MulticastMac(AllNodes), mac, address, AllNodes, NeighborKind.Advertisement, flags, address, OptionTargetMac, withMac: true);
    }

    private static int WriteArp(Span<byte> frame, MacAddress to, ushort operation, MacAddress senderMac, IpAddr sender, MacAddress targetMac, IpAddr target)
    {
        if (frame.Length < PacketParser.EthernetLength + ArpView.Length || !target.IsV4 || !(sender.IsV4 || sender.IsNone)) return 0;
        int at = FrameWriter.WriteEthernet(frame, to, senderMac, PacketParser.EtherArp);
        Span<byte> body = frame[at..];
        BinaryPrimitives.WriteUInt64BigEndian(body, 0x0001_0800_0604_0000u | operation);
        senderMac.Write(body[8..]);
        sender.WriteV4(body[14..]);
        targetMac.Write(body[18..]);
        target.WriteV4(body[24..]);
        return at + ArpView.Length;
    }

    private static int WriteNeighbor(
        Span<byte> frame, MacAddress destinationMac, MacAddress sourceMac, IpAddr source, IpAddr destination,
        NeighborKind kind, byte flags, IpAddr target, byte option, bool withMac)
    {
        int length = NeighborBody + (withMac ? LinkOption : 0);
        if (target.IsV4 || !FrameWriter.Fits(frame, source, destination, length)) return 0;
        int at = FrameWriter.WriteEthernet(frame, destinationMac, sourceMac, PacketParser.EtherIpv6);
        at += FrameWriter.WriteIp(frame[at..], source, destination, Packet.ProtocolIcmp6, length, hopLimit: 255, trafficClass: 0, identification: 0);
        Span<byte> message = frame.Slice(at, length);
        message.Clear();
        message[0] = (byte)kind;
        message[4] = flags;
        target.WriteV6(message[8..]);
        if (withMac)
        {
            message[NeighborBody] = option;
            message[NeighborBody + 1] = 1;
            sourceMac.Write(message[(NeighborBody + 2)..]);
        }
        BinaryPrimitives.WriteUInt16BigEndian(message[2..], InternetChecksum.Transport(source, destination, Packet.ProtocolIcmp6, message));
        return at + length;
    }
}
