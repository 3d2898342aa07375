using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Fixed parts of the headers that the rewrite touches, laid over a checked span in one step
/// (one bounds check a header instead of one a field). Fields hold network byte order; Net converts both ways.
/// </summary>
internal static class HeaderWords
{
    /// <summary>Network to host order, or back.</summary>
    public static uint Net(uint value) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;

    /// <summary>Network to host order, or back.</summary>
    public static ushort Net(ushort value) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;

    /// <summary>Network to host order, or back.</summary>
    public static ulong Net(ulong value) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;
}

/// <summary>IPv4 header without options (RFC 791).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = 20)]
internal struct Ipv4Words
{
    public uint VersionToLength, IdToFragment;
    public byte Ttl, Protocol;
    public ushort Checksum;
    public uint Source, Destination;
}

/// <summary>IPv6 header (RFC 8200 3).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = 40)]
internal struct Ipv6Words
{
    public uint VersionToFlow;
    public ushort PayloadLength;
    public byte NextHeader, HopLimit;
    public ulong SourceHigh, SourceLow, DestinationHigh, DestinationLow;
}

/// <summary>TCP header without options (RFC 9293 3.1).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = 20)]
internal struct TcpWords
{
    public ushort SourcePort, DestinationPort;
    public uint Seq, Ack;
    public byte Offset, Flags;
    public ushort Window, Checksum, Urgent;
}

/// <summary>Value and echo of a timestamps option (RFC 7323 3.2).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = 8)]
internal struct TimestampWords
{
    public uint Value, Echo;
}

/// <summary>What nearly every data segment has for options: NOP NOP TIMESTAMPS 10 (RFC 7323 appendix A).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1, Size = 12)]
internal struct TimestampOption
{
    /// <summary>The first four bytes, in network order.</summary>
    public static uint Aligned => HeaderWords.Net(0x0101_080a);

    public uint Head;
    public TimestampWords Words;
}
