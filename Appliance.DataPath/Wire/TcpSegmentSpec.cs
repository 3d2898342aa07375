namespace Appliance.DataPath.Wire;

/// <summary>
/// What <see cref="FrameWriter.WriteTcp"/> puts into a segment beside its payload. The address
/// family follows from the addresses, which must be of one family. Options are written in the order
/// MSS, SACK permitted, timestamps, window scale, and padded with NOPs to whole words.
/// </summary>
public struct TcpSegmentSpec
{
    /// <summary>Ethernet addresses.</summary>
    public MacAddress SourceMac, DestinationMac;

    /// <summary>IP addresses.</summary>
    public IpAddr Source, Destination;

    /// <summary>Ports.</summary>
    public ushort SourcePort, DestinationPort;

    /// <summary>Sequence and acknowledgment numbers.</summary>
    public TcpSeq Seq, Ack;

    /// <summary>Flags.</summary>
    public TcpFlags Flags;

    /// <summary>Window as on the wire.</summary>
    public ushort Window;

    /// <summary>Urgent pointer; goes with URG.</summary>
    public ushort UrgentPointer;

    /// <summary>MSS option in bytes, if any.</summary>
    public ushort? Mss;

    /// <summary>Window scale option, if any.</summary>
    public byte? WindowScale;

    /// <summary>Adds the SACK permitted option.</summary>
    public bool SackPermitted;

    /// <summary>Adds the timestamps option with <see cref="TsVal"/> and <see cref="TsEcr"/>.</summary>
    public bool HasTimestamps;

    /// <summary>Timestamp value and echo.</summary>
    public uint TsVal, TsEcr;

    /// <summary>TTL or hop limit; 0 stands for 64.</summary>
    public byte HopLimit;

    /// <summary>DSCP and ECN, the whole byte.</summary>
    public byte TrafficClass;

    /// <summary>IPv4 identification; don't-fragment is always set.</summary>
    public ushort Identification;
}
