using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>An Ethernet header (RFC 894), in place; made by <see cref="Packet.Ethernet"/>.</summary>
public readonly ref struct EthernetView(Span<byte> frame)
{
    private readonly Span<byte> _frame = frame;

    /// <summary>Receiver.</summary>
    public MacAddress Destination { get => MacAddress.Read(_frame); set => value.Write(_frame); }

    /// <summary>Sender.</summary>
    public MacAddress Source { get => MacAddress.Read(_frame[6..]); set => value.Write(_frame[6..]); }

    /// <summary>EtherType, or the identifier of the outer VLAN tag.</summary>
    public ushort EtherType => BinaryPrimitives.ReadUInt16BigEndian(_frame[12..]);
}

/// <summary>The outer 802.1Q tag of a frame, in place; made by <see cref="Packet.Vlan"/> if the layout has one.</summary>
public readonly ref struct VlanView(Span<byte> tag)
{
    private readonly Span<byte> _tag = tag;

    /// <summary>8100 (802.1Q) or 88a8 (802.1ad).</summary>
    public ushort TagProtocol => BinaryPrimitives.ReadUInt16BigEndian(_tag);

    /// <summary>Priority, 0..7.</summary>
    public int Priority => _tag[2] >> 5;

    /// <summary>Drop eligible indicator.</summary>
    public bool DropEligible => (_tag[2] & 0x10) != 0;

    /// <summary>VLAN identifier, 0..4095.</summary>
    public int Identifier
    {
        get => Control & 0x0fff;
        set => BinaryPrimitives.WriteUInt16BigEndian(_tag[2..], (ushort)((Control & 0xf000) | (value & 0x0fff)));
    }

    /// <summary>EtherType behind this tag.</summary>
    public ushort EtherType => BinaryPrimitives.ReadUInt16BigEndian(_tag[4..]);

    private ushort Control => BinaryPrimitives.ReadUInt16BigEndian(_tag[2..]);
}

/// <summary>ARP for IPv4 over Ethernet (RFC 826), 28 bytes in place; made by <see cref="Packet.Arp"/>.</summary>
public readonly ref struct ArpView(Span<byte> body)
{
    /// <summary>Operations.</summary>
    public const ushort Request = 1, Reply = 2;

    /// <summary>Bytes of an ARP body.</summary>
    public const int Length = 28;

    private readonly Span<byte> _body = body;

    /// <summary>What is asked or said.</summary>
    public ushort Operation => BinaryPrimitives.ReadUInt16BigEndian(_body[6..]);

    /// <summary>The sender's MAC.</summary>
    public MacAddress SenderMac => MacAddress.Read(_body[8..]);

    /// <summary>The sender's address; all zero in a probe (RFC 5227).</summary>
    public IpAddr Sender => IpAddr.ReadV4(_body[14..]);

    /// <summary>The target's MAC; anything in a request.</summary>
    public MacAddress TargetMac => MacAddress.Read(_body[18..]);

    /// <summary>The target's address.</summary>
    public IpAddr Target => IpAddr.ReadV4(_body[24..]);

    /// <summary>True if it announces the sender's own address.</summary>
    public bool IsGratuitous => Sender == Target;
}
