using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>
/// An ICMP message of either version (RFC 792, 4443), in place; made by <see cref="Packet.Icmp"/>.
/// Its checksum is not judged (see <see cref="InternetChecksum.VerifyTransport"/>).
/// </summary>
public readonly ref struct IcmpView(Span<byte> message, bool isV6)
{
    /// <summary>Types of ICMP for IPv4.</summary>
    public const byte V4EchoReply = 0, V4Unreachable = 3, V4SourceQuench = 4, V4Redirect = 5, V4Echo = 8, V4TimeExceeded = 11, V4ParameterProblem = 12;

    /// <summary>Types of ICMP for IPv6; errors are those below 128.</summary>
    public const byte V6Unreachable = 1, V6PacketTooBig = 2, V6TimeExceeded = 3, V6ParameterProblem = 4, V6Echo = 128, V6EchoReply = 129;

    /// <summary>Code of "fragmentation needed" among the IPv4 unreachables (RFC 1191).</summary>
    public const byte V4FragmentationNeeded = 4;

    private readonly Span<byte> _message = message;

    /// <summary>True for ICMPv6.</summary>
    public bool IsV6 { get; } = isV6;

    /// <summary>Message type.</summary>
    public byte Type => _message[0];

    /// <summary>Code within the type.</summary>
    public byte Code => _message[1];

    /// <summary>The checksum field.</summary>
    public ushort Checksum
    {
        get => BinaryPrimitives.ReadUInt16BigEndian(_message[2..]);
        set => BinaryPrimitives.WriteUInt16BigEndian(_message[2..], value);
    }

    /// <summary>Rest of header: meaning depends on type and code.</summary>
    public uint Rest => BinaryPrimitives.ReadUInt32BigEndian(_message[4..]);

    /// <summary>All behind the eight bytes of header.</summary>
    public Span<byte> Body => _message[8..];

    /// <summary>True for an echo request.</summary>
    public bool IsEcho => Type == (IsV6 ? V6Echo : V4Echo);

    /// <summary>True for an echo reply.</summary>
    public bool IsEchoReply => Type == (IsV6 ? V6EchoReply : V4EchoReply);

    /// <summary>True for messages that quote a packet (redirects of IPv4 among them).</summary>
    public bool IsError => IsV6
        ? Type < 128
        : Type is V4Unreachable or V4SourceQuench or V4Redirect or V4TimeExceeded or V4ParameterProblem;

    /// <summary>True for "packet too big" and "fragmentation needed"; the size is <see cref="Mtu"/>.</summary>
    public bool IsPacketTooBig => IsV6 ? Type == V6PacketTooBig : Type == V4Unreachable && Code == V4FragmentationNeeded;

    /// <summary>MTU of the next hop in bytes, as a packet-too-big says (0 from routers before RFC 1191).</summary>
    public uint Mtu => IsV6 ? Rest : Rest & 0xffff;

    /// <summary>Identifier of an echo.</summary>
    public ushort EchoIdentifier => (ushort)(Rest >> 16);

    /// <summary>Sequence number of an echo.</summary>
    public ushort EchoSequence => (ushort)Rest;

    /// <summary>Parses the quoted packet of an error.</summary>
    public bool TryGetQuote(out IcmpQuote quote, out DropReason reason)
    {
        quote = default;
        reason = DropReason.IcmpMalformed;
        return IsError && IcmpQuote.TryParse(Body, IsV6, out quote, out reason);
    }
}
