using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>A UDP datagram (RFC 768), in place; made by <see cref="Packet.Udp"/>. Bytes of the IP packet behind the UDP length are not payload.</summary>
public readonly ref struct UdpView(Span<byte> datagram)
{
    private readonly Span<byte> _datagram = datagram;

    /// <summary>Source port.</summary>
    public ushort SourcePort { get => Read16(0); set => Write16(0, value); }

    /// <summary>Destination port.</summary>
    public ushort DestinationPort { get => Read16(2); set => Write16(2, value); }

    /// <summary>Header and payload in bytes, as the header says; in a first fragment more than is here.</summary>
    public ushort Length { get => Read16(4); set => Write16(4, value); }

    /// <summary>The checksum field; 0 means none (IPv4 only).</summary>
    public ushort Checksum { get => Read16(6); set => Write16(6, value); }

    /// <summary>The payload.</summary>
    public Span<byte> Payload => _datagram[8..Math.Min(Length, _datagram.Length)];

    private ushort Read16(int at) => BinaryPrimitives.ReadUInt16BigEndian(_datagram[at..]);

    private void Write16(int at, ushort value) => BinaryPrimitives.WriteUInt16BigEndian(_datagram[at..], value);
}
