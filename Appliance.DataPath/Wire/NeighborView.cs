namespace Appliance.DataPath.Wire;

/// <summary>The neighbour discovery messages that are read.</summary>
public enum NeighborKind : byte
{
    RouterSolicitation = 133,
    RouterAdvertisement = 134,
    Solicitation = 135,
    Advertisement = 136,
}

/// <summary>
/// A neighbour discovery message (RFC 4861) that passed the checks of its sections 6.1 and 7.1,
/// the checksum among them, and is not fragmented (RFC 6980). Of options only link-layer addresses are read; redirects are refused.
/// A value: it holds nothing of the frame.
/// </summary>
public readonly struct NeighborView
{
    private const byte OptionSourceMac = 1, OptionTargetMac = 2;

    private NeighborView(NeighborKind kind, byte flags, IpAddr target, MacAddress mac)
    {
        Kind = kind;
        _flags = flags;
        Target = target;
        LinkAddress = mac;
    }

    private readonly byte _flags;

    /// <summary>Which message.</summary>
    public NeighborKind Kind { get; }

    /// <summary>The address asked for or advertised; none in router messages.</summary>
    public IpAddr Target { get; }

    /// <summary>The sender's MAC in solicitations and router messages, the target's in advertisements; zero if the option is absent.</summary>
    public MacAddress LinkAddress { get; }

    /// <summary>True if the message carries the MAC.</summary>
    public bool HasLinkAddress => !LinkAddress.IsZero;

    /// <summary>Advertisement: the sender is a router.</summary>
    public bool IsRouter => Kind == NeighborKind.Advertisement && (_flags & 0x80) != 0;

    /// <summary>Advertisement: an answer to a solicitation.</summary>
    public bool IsSolicited => Kind == NeighborKind.Advertisement && (_flags & 0x40) != 0;

    /// <summary>Advertisement: replaces a MAC already known.</summary>
    public bool IsOverride => Kind == NeighborKind.Advertisement && (_flags & 0x20) != 0;

    /// <summary>True if the packet is one of the messages that <see cref="TryParse"/> reads, well formed or not.</summary>
    public static bool IsNeighbor(in Packet packet) =>
        packet.IsIcmp && packet.IsV6 && packet.Icmp.Type is >= (byte)NeighborKind.RouterSolicitation and <= (byte)NeighborKind.Advertisement;

    /// <summary>
    /// Reads a message; fails with <see cref="DropReason.NeighborMalformed"/>. <paramref name="checksumPartial"/>: the
    /// frame never was on a wire (VnetHeader.NeedsChecksum), so there is no checksum to verify.
    /// </summary>
    public static bool TryParse(in Packet packet, bool checksumPartial, out NeighborView message, out DropReason reason)
    {
        message = default;
        reason = DropReason.NeighborMalformed;
        if (!IsNeighbor(packet) || packet.Icmp.Code != 0 || packet.Ipv6.HopLimit != 255) return false;
        if (packet.Ipv6.TryGetFragment(out _) || (!checksumPartial && !InternetChecksum.VerifyTransport(packet))) return false;

        ReadOnlySpan<byte> body = packet.Transport;
        var kind = (NeighborKind)body[0];
        int fixedLength = kind switch { NeighborKind.RouterSolicitation => 8, NeighborKind.RouterAdvertisement => 16, _ => 24 };
        if (body.Length < fixedLength || !TryReadOptions(body[fixedLength..], out MacAddress source, out MacAddress target)) return false;
        IpAddr about = fixedLength == 24 ? IpAddr.ReadV6(body[8..]) : default;
        if (!IsSound(kind, packet.Source, packet.Destination, about, hasSourceMac: !source.IsZero, solicited: (body[4] & 0x40) != 0)) return false;

        message = new NeighborView(kind, body[4], about, kind == NeighborKind.Advertisement ? target : source);
        reason = DropReason.None;
        return true;
    }

    /// <summary>The solicited-node multicast address of <paramref name="address"/> (RFC 4291 2.7.1).</summary>
    public static IpAddr SolicitedNode(IpAddr address) => new(0xff02_0000_0000_0000, 0x0000_0001_ff00_0000 | (address.Low & 0xff_ffff));

    /// <summary>The MAC of an IPv6 multicast address (RFC 2464 7).</summary>
    public static MacAddress MulticastMac(IpAddr multicast) => new(0x3333_0000_0000 | (multicast.Low & 0xffff_ffff));

    private static bool IsSound(NeighborKind kind, IpAddr source, IpAddr destination, IpAddr target, bool hasSourceMac, bool solicited) => kind switch
    {
        NeighborKind.RouterSolicitation => !source.IsNone || !hasSourceMac,
        NeighborKind.RouterAdvertisement => source.High >> 54 == 0x3fa,
        NeighborKind.Solicitation => !IsMulticast(target) && (!source.IsNone || (!hasSourceMac && IsSolicitedNode(destination))),
        _ => !IsMulticast(target) && !(solicited && IsMulticast(destination)),
    };

    private static bool IsMulticast(IpAddr address) => address.High >> 56 == 0xff;

    private static bool IsSolicitedNode(IpAddr address) => address == SolicitedNode(address);

    private static bool TryReadOptions(ReadOnlySpan<byte> options, out MacAddress source, out MacAddress target)
    {
        source = target = default;
        while (options.Length > 0)
        {
            int length = options.Length >= 2 ? options[1] * 8 : 0;
            if (length == 0 || length > options.Length) return false;
            if (options[0] == OptionSourceMac) source = MacAddress.Read(options[2..]);
            if (options[0] == OptionTargetMac) target = MacAddress.Read(options[2..]);
            options = options[length..];
        }
        return true;
    }
}
