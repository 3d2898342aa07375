using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>
/// The packet quoted inside an ICMP error, in place (RFC 792, 4443 2.4, 5927): its IP header and
/// at least eight bytes of transport; lengths inside it speak of the original packet and usually exceed the quote.
/// All offsets are bytes from the start of the quote. The quote of a later
/// fragment has no transport header, hence no ports. RFC 4884 extensions behind the quote are not read.
/// </summary>
public readonly ref struct IcmpQuote
{
    private const int TransportRequired = 8;

    private IcmpQuote(Span<byte> bytes, bool isV6, byte protocol, int transport, bool hasTransport)
    {
        Bytes = bytes;
        IsV6 = isV6;
        Protocol = protocol;
        TransportOffset = transport;
        HasTransport = hasTransport;
    }

    /// <summary>The whole quote.</summary>
    public Span<byte> Bytes { get; }

    /// <summary>True for IPv6.</summary>
    public bool IsV6 { get; }

    /// <summary>Protocol behind all extension headers.</summary>
    public byte Protocol { get; }

    /// <summary>Where the transport header starts.</summary>
    public int TransportOffset { get; }

    /// <summary>True if at least the first eight bytes of the transport header are here.</summary>
    public bool HasTransport { get; }

    /// <summary>True if the first eight bytes of a TCP or UDP header are here.</summary>
    public bool HasPorts => HasTransport && Protocol is Packet.ProtocolTcp or Packet.ProtocolUdp;

    /// <summary>True if it quotes TCP: <see cref="Seq"/> is readable.</summary>
    public bool IsTcp => HasTransport && Protocol == Packet.ProtocolTcp;

    /// <summary>True if the quoted TCP header reaches to its acknowledgment number.</summary>
    public bool HasAck => IsTcp && Bytes.Length >= TransportOffset + 12;

    /// <summary>True if the quoted TCP or UDP header reaches to its checksum.</summary>
    public bool HasChecksum => HasPorts && Bytes.Length >= ChecksumOffset + 2;

    /// <summary>Where the transport checksum stands if <see cref="HasChecksum"/>.</summary>
    public int ChecksumOffset => TransportOffset + InternetChecksum.FieldOffset(Protocol);

    /// <summary>The IP header in front of the transport, extension headers included.</summary>
    public Span<byte> Header => Bytes[..TransportOffset];

    /// <summary>Sender of the quoted packet.</summary>
    public IpAddr Source
    {
        get => IsV6 ? IpAddr.ReadV6(Bytes[8..]) : IpAddr.ReadV4(Bytes[12..]);
        set
        {
            if (IsV6) value.WriteV6(Bytes[8..]);
            else value.WriteV4(Bytes[12..]);
        }
    }

    /// <summary>Receiver of the quoted packet.</summary>
    public IpAddr Destination
    {
        get => IsV6 ? IpAddr.ReadV6(Bytes[24..]) : IpAddr.ReadV4(Bytes[16..]);
        set
        {
            if (IsV6) value.WriteV6(Bytes[24..]);
            else value.WriteV4(Bytes[16..]);
        }
    }

    /// <summary>Source port, 0 without <see cref="HasPorts"/>.</summary>
    public ushort SourcePort { get => HasPorts ? Read16(TransportOffset) : (ushort)0; set => Write16(TransportOffset, value); }

    /// <summary>Destination port, 0 without <see cref="HasPorts"/>.</summary>
    public ushort DestinationPort { get => HasPorts ? Read16(TransportOffset + 2) : (ushort)0; set => Write16(TransportOffset + 2, value); }

    /// <summary>Sequence number; only if <see cref="IsTcp"/>.</summary>
    public TcpSeq Seq { get => new(Read32(TransportOffset + 4)); set => Write32(TransportOffset + 4, value.Value); }

    /// <summary>Acknowledgment number; only if <see cref="HasAck"/>.</summary>
    public TcpSeq Ack { get => new(Read32(TransportOffset + 8)); set => Write32(TransportOffset + 8, value.Value); }

    /// <summary>The transport checksum; only if <see cref="HasChecksum"/>.</summary>
    public ushort Checksum { get => Read16(ChecksumOffset); set => Write16(ChecksumOffset, value); }

    /// <summary>Parses what stands behind the eight bytes of an ICMP error's header; fails with <see cref="DropReason.IcmpMalformed"/>.</summary>
    public static bool TryParse(Span<byte> bytes, bool isV6, out IcmpQuote quote, out DropReason reason)
    {
        quote = default;
        byte protocol;
        int transport;
        bool later;
        bool sound = isV6 ? FindV6(bytes, out protocol, out transport, out later) : FindV4(bytes, out protocol, out transport, out later);
        reason = sound && (later || transport + TransportRequired <= bytes.Length) ? DropReason.None : DropReason.IcmpMalformed;
        if (reason != DropReason.None) return false;
        quote = new IcmpQuote(bytes, isV6, protocol, transport, !later);
        return true;
    }

    private static bool FindV4(ReadOnlySpan<byte> bytes, out byte protocol, out int transport, out bool later)
    {
        protocol = 0;
        transport = 0;
        later = false;
        if (bytes.Length < 20 || bytes[0] >> 4 != 4) return false;
        transport = (bytes[0] & 15) * 4;
        protocol = bytes[9];
        later = (BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]) & 0x1fff) != 0;
        return transport >= 20 && transport <= bytes.Length;
    }

    private static bool FindV6(Span<byte> bytes, out byte protocol, out int transport, out bool later)
    {
        protocol = 0;
        transport = Ipv6View.HeaderLength;
        later = false;
        if (bytes.Length < Ipv6View.HeaderLength || bytes[0] >> 4 != 6) return false;
        protocol = bytes[6];
        foreach (Ipv6Extension extension in new Ipv6View(bytes).Extensions)
        {
            protocol = extension.Bytes[0];
            transport = extension.Offset + extension.Bytes.Length;
            later = extension.Kind == Ipv6View.Fragment && new Ipv6FragmentView(extension.Bytes).Offset != 0;
        }
        // The walk stops at a header that the quote does not hold whole.
        return later || !Ipv6Extensions.IsExtension(protocol);
    }

    private ushort Read16(int at) => BinaryPrimitives.ReadUInt16BigEndian(Bytes[at..]);

    private uint Read32(int at) => BinaryPrimitives.ReadUInt32BigEndian(Bytes[at..]);

    private void Write16(int at, ushort value) => BinaryPrimitives.WriteUInt16BigEndian(Bytes[at..], value);

    private void Write32(int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(Bytes[at..], value);
}
