using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>TCP flags, low byte of the flags field (RFC 9293 3.1); AE is bit 8 of the wider field.</summary>
[Flags]
public enum TcpFlags : byte
{
    /// <summary>No flag.</summary>
    None = 0,
    Fin = 1,
    Syn = 2,
    Rst = 4,
    Psh = 8,
    Ack = 16,
    Urg = 32,
    Ece = 64,
    Cwr = 128,
}

/// <summary>
/// A TCP header with its payload (RFC 9293 3.1). Made by <see cref="Packet.Tcp"/> from a checked
/// header only; setters change the field and nothing else (checksums are the caller's).
/// </summary>
public readonly ref struct TcpView(Span<byte> segment)
{
    /// <summary>Header, options and payload.</summary>
    public Span<byte> Segment { get; } = segment;

    /// <summary>Source port.</summary>
    public ushort SourcePort { get => Read16(0); set => Write16(0, value); }

    /// <summary>Destination port.</summary>
    public ushort DestinationPort { get => Read16(2); set => Write16(2, value); }

    /// <summary>Sequence number of the first payload byte, or of the SYN.</summary>
    public TcpSeq Seq { get => new(Read32(4)); set => Write32(4, value.Value); }

    /// <summary>Acknowledgment number; meaningful with ACK.</summary>
    public TcpSeq Ack { get => new(Read32(8)); set => Write32(8, value.Value); }

    /// <summary>Header length in bytes, options included (20..60).</summary>
    public int HeaderLength => (Segment[12] >> 4) * 4;

    /// <summary>The low eight flags.</summary>
    public TcpFlags Flags { get => (TcpFlags)Segment[13]; set => Segment[13] = (byte)value; }

    /// <summary>The window as on the wire, not scaled.</summary>
    public ushort Window { get => Read16(14); set => Write16(14, value); }

    /// <summary>The checksum field.</summary>
    public ushort Checksum { get => Read16(16); set => Write16(16, value); }

    /// <summary>The urgent pointer.</summary>
    public ushort UrgentPointer => Read16(18);

    /// <summary>The option bytes (0..40).</summary>
    public Span<byte> Options => Segment[20..HeaderLength];

    /// <summary>The payload.</summary>
    public Span<byte> Payload => Segment[HeaderLength..];

    /// <summary>Sequence space that the segment takes: payload bytes, plus one for SYN and one for FIN.</summary>
    public uint SequenceLength => (uint)(Segment.Length - HeaderLength) + (((uint)Segment[13] >> 1) & 1) + ((uint)Segment[13] & 1);

    /// <summary>True if all of <paramref name="flags"/> are set.</summary>
    public bool Has(TcpFlags flags) => (Flags & flags) == flags;

    private ushort Read16(int at) => BinaryPrimitives.ReadUInt16BigEndian(Segment[at..]);

    private uint Read32(int at) => BinaryPrimitives.ReadUInt32BigEndian(Segment[at..]);

    private void Write16(int at, ushort value) => BinaryPrimitives.WriteUInt16BigEndian(Segment[at..], value);

    private void Write32(int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(Segment[at..], value);
}
