using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Appliance.DataPath.Wire;

/// <summary>What stands above Ethernet.</summary>
public enum NetworkKind : byte
{
    /// <summary>Neither ARP nor IP.</summary>
    Other,

    /// <summary>ARP for IPv4 over Ethernet, complete.</summary>
    Arp,

    /// <summary>IPv4.</summary>
    Ipv4,

    /// <summary>IPv6.</summary>
    Ipv6,
}

/// <summary>Where the headers of a frame start; all offsets in bytes from the start of the frame.</summary>
public struct PacketLayout
{
    /// <summary>Network layer.</summary>
    public NetworkKind Kind;

    /// <summary>IP protocol number after all extension headers; 0 for non-IP.</summary>
    public byte Protocol;

    /// <summary>True for any fragment (first ones too); ports are readable only if <see cref="HasTransport"/>.</summary>
    public bool IsFragment;

    /// <summary>True if a whole TCP, UDP or ICMP header is present and was checked.</summary>
    public bool HasTransport;

    /// <summary>Start of the network header.</summary>
    public ushort Network;

    /// <summary>Start of the transport header (of the data of a later fragment).</summary>
    public int Transport;

    /// <summary>Start of the transport payload; equals <see cref="End"/> if there is none.</summary>
    public int Payload;

    /// <summary>One past the last byte of the IP packet: Ethernet padding is behind it.</summary>
    public int End;

    /// <summary>EtherType after VLAN tags.</summary>
    public ushort EtherType;

    /// <summary>VLAN tag control of the outer tag, or -1.</summary>
    public int Vlan;
}

/// <summary>
/// A frame that was parsed once and is well formed as far as its transport header
/// (RFC 894, 802.1Q, RFC 826, 791, 8200, 9293, 768, 792, 4443). After a successful
/// <see cref="TryParse"/> no accessor can throw or read outside the frame. Checksums are not
/// verified here: a splice passes a corrupted segment on corrupted. TCP options are checked by
/// <c>TcpOptions.TryParse</c>, not here.
/// </summary>
public readonly ref struct Packet
{
    /// <summary>IP protocol numbers.</summary>
    public const byte ProtocolIcmp = 1, ProtocolTcp = 6, ProtocolUdp = 17, ProtocolIcmp6 = 58;

    private readonly Span<byte> _frame;

    private Packet(Span<byte> frame) => _frame = frame;

    /// <summary>The whole frame, from the destination MAC to the padding.</summary>
    public Span<byte> Frame => _frame;

    /// <summary>Where everything stands; a field, so that reading one offset copies no more than that.</summary>
    public readonly PacketLayout Layout;

    /// <summary>Destination MAC.</summary>
    public MacAddress DestinationMac => MacAddress.Read(Frame);

    /// <summary>Source MAC.</summary>
    public MacAddress SourceMac => MacAddress.Read(Frame[6..]);

    /// <summary>True if it carries a checked TCP header.</summary>
    public bool IsTcp => Layout.HasTransport && Layout.Protocol == ProtocolTcp;

    /// <summary>True if it carries a checked UDP header.</summary>
    public bool IsUdp => Layout.HasTransport && Layout.Protocol == ProtocolUdp;

    /// <summary>True if it carries a checked ICMP header of its own IP version.</summary>
    public bool IsIcmp => Layout.HasTransport && Layout.Protocol is ProtocolIcmp or ProtocolIcmp6;

    /// <summary>True if it has a VLAN tag.</summary>
    public bool HasVlan => Layout.Vlan >= 0;

    /// <summary>True for IPv4.</summary>
    public bool IsV4 => Layout.Kind == NetworkKind.Ipv4;

    /// <summary>True for IPv6.</summary>
    public bool IsV6 => Layout.Kind == NetworkKind.Ipv6;

    /// <summary>The network header and all behind it, without padding.</summary>
    public Span<byte> Network => Frame[Layout.Network..Layout.End];

    /// <summary>The transport header and all behind it, without padding.</summary>
    public Span<byte> Transport => Frame[Layout.Transport..Layout.End];

    /// <summary>The transport payload.</summary>
    public Span<byte> Payload => Frame[Layout.Payload..Layout.End];

    /// <summary>Source address; none if not IP.</summary>
    public IpAddr Source => IsV6 ? IpAddr.ReadV6(Frame[(Layout.Network + 8)..]) : IsV4 ? IpAddr.ReadV4(Frame[(Layout.Network + 12)..]) : default;

    /// <summary>Destination address; none if not IP.</summary>
    public IpAddr Destination => IsV6 ? IpAddr.ReadV6(Frame[(Layout.Network + 24)..]) : IsV4 ? IpAddr.ReadV4(Frame[(Layout.Network + 16)..]) : default;

    /// <summary>Source port; meaningful for TCP and UDP, 0 without a transport header.</summary>
    public ushort SourcePort => Layout.HasTransport ? BinaryPrimitives.ReadUInt16BigEndian(Frame[Layout.Transport..]) : (ushort)0;

    /// <summary>Destination port; meaningful for TCP and UDP, 0 without a transport header.</summary>
    public ushort DestinationPort => Layout.HasTransport ? BinaryPrimitives.ReadUInt16BigEndian(Frame[(Layout.Transport + 2)..]) : (ushort)0;

    /// <summary>TTL or hop limit; 0 if not IP.</summary>
    public byte HopLimit => IsV6 ? Frame[Layout.Network + 7] : IsV4 ? Frame[Layout.Network + 8] : (byte)0;

    /// <summary>The Ethernet header.</summary>
    public EthernetView Ethernet => new(Frame);

    /// <summary>The outer VLAN tag; only if <see cref="HasVlan"/>.</summary>
    public VlanView Vlan => new(Frame[12..]);

    /// <summary>ARP; only if the layout's kind is <see cref="NetworkKind.Arp"/>.</summary>
    public ArpView Arp => new(Network);

    /// <summary>The IPv4 packet; only if <see cref="IsV4"/>.</summary>
    public Ipv4View Ipv4 => new(Network);

    /// <summary>The IPv6 packet; only if <see cref="IsV6"/>.</summary>
    public Ipv6View Ipv6 => new(Network);

    /// <summary>The TCP header; only if <see cref="IsTcp"/>.</summary>
    public TcpView Tcp => new(Transport);

    /// <summary>The UDP datagram; only if <see cref="IsUdp"/>.</summary>
    public UdpView Udp => new(Transport);

    /// <summary>The ICMP message; only if <see cref="IsIcmp"/>.</summary>
    public IcmpView Icmp => new(Transport, IsV6);

    /// <summary>Parses a frame. On failure <paramref name="reason"/> says why and <paramref name="packet"/> is empty.</summary>
    public static bool TryParse(Span<byte> frame, out Packet packet, out DropReason reason)
    {
        // Written where it stays, and once: a wide copy of what narrow stores have just written waits until they have left the store buffer.
        Unsafe.SkipInit(out packet);
        Unsafe.AsRef(in packet._frame) = frame;
        if (PacketParser.TryParse(frame, out Unsafe.AsRef(in packet.Layout), out reason)) return true;
        packet = new Packet([]);
        return false;
    }
}
