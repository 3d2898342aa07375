using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>
/// Writes whole frames into memory of the caller: Ethernet and IP headers for all writers of
/// this folder, and TCP segments. Every writer returns the length of the frame, or 0 if the span is
/// too short or the addresses are of two families; it writes no padding to the Ethernet minimum
/// (drivers do), no VLAN tag and no extension header.
/// </summary>
public static class FrameWriter
{
    /// <summary>Room for any frame without payload that a writer here makes (Ethernet 14, IPv6 40, TCP 60).</summary>
    public const int MaxHeaders = 114;

    private const int TcpHeader = 20, MaxTcpOptions = 40;

    /// <summary>Writes one TCP segment with a complete checksum. <paramref name="extraOptions"/> (SACK blocks, tests) stand behind the options of the spec.</summary>
    public static int WriteTcp(Span<byte> frame, in TcpSegmentSpec spec, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> extraOptions = default)
    {
        int length = WriteTcpHeaders(frame, spec, payload, extraOptions, out int transport);
        if (length == 0) return 0;
        Span<byte> segment = frame[transport..length];
        BinaryPrimitives.WriteUInt16BigEndian(segment[16..], InternetChecksum.Transport(spec.Source, spec.Destination, Packet.ProtocolTcp, segment));
        return length;
    }

    /// <summary>
    /// Writes a segment, or a super-frame if the payload is longer than <paramref name="segmentSize"/>, whose
    /// checksum is left partial as <paramref name="vnet"/> says; for ports that take offloads.
    /// </summary>
    public static int WriteTcpPartial(Span<byte> frame, in TcpSegmentSpec spec, ReadOnlySpan<byte> payload, ushort segmentSize, out VnetHeader vnet)
    {
        vnet = default;
        int length = WriteTcpHeaders(frame, spec, payload, default, out int transport);
        if (length == 0) return 0;
        BinaryPrimitives.WriteUInt16BigEndian(
            frame[(transport + 16)..],
            InternetChecksum.PseudoHeaderSum(spec.Source, spec.Destination, Packet.ProtocolTcp, length - transport));
        vnet.Flags = VnetHeader.FlagNeedsChecksum;
        vnet.ChecksumStart = (ushort)transport;
        vnet.ChecksumOffset = 16;
        if (payload.Length > segmentSize)
        {
            vnet.GsoType = spec.Destination.IsV4 ? VnetHeader.GsoTcp4 : VnetHeader.GsoTcp6;
            if ((spec.Flags & TcpFlags.Cwr) != TcpFlags.None) vnet.GsoType |= VnetHeader.GsoEcn;
            vnet.GsoSize = segmentSize;
            vnet.HeaderLength = (ushort)(length - payload.Length);
        }
        return length;
    }

    /// <summary>Writes an Ethernet header; returns its length.</summary>
    internal static int WriteEthernet(Span<byte> frame, MacAddress destination, MacAddress source, ushort etherType)
    {
        destination.Write(frame);
        source.Write(frame[6..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[12..], etherType);
        return PacketParser.EthernetLength;
    }

    /// <summary>Writes an IP header without options for <paramref name="transportLength"/> bytes behind it; returns its length.</summary>
    internal static int WriteIp(Span<byte> ip, IpAddr source, IpAddr destination, byte protocol, int transportLength, byte hopLimit, byte trafficClass, ushort identification)
    {
        if (!destination.IsV4)
        {
            BinaryPrimitives.WriteUInt32BigEndian(ip, 0x6000_0000u | ((uint)trafficClass << 20));
            BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)transportLength);
            ip[6] = protocol;
            ip[7] = hopLimit;
            source.WriteV6(ip[8..]);
            destination.WriteV6(ip[24..]);
            return 40;
        }
        ip[0] = 0x45;
        ip[1] = trafficClass;
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(20 + transportLength));
        BinaryPrimitives.WriteUInt16BigEndian(ip[4..], identification);
        BinaryPrimitives.WriteUInt16BigEndian(ip[6..], 0x4000);
        ip[8] = hopLimit;
        ip[9] = protocol;
        source.WriteV4(ip[12..]);
        destination.WriteV4(ip[16..]);
        InternetChecksum.SetIpv4Header(ip[..20]);
        return 20;
    }

    /// <summary>True if a frame of this transport length can be written: one family, room, and a length that an IP header can say.</summary>
    internal static bool Fits(ReadOnlySpan<byte> frame, IpAddr source, IpAddr destination, int transportLength)
    {
        int ip = destination.IsV4 ? 20 : 40;
        int limit = destination.IsV4 ? 65535 - 20 : 65535;
        return source.IsV4 == destination.IsV4 && transportLength <= limit && PacketParser.EthernetLength + ip + transportLength <= frame.Length;
    }

    // Everything but the checksum, whose field is left zero.
    private static int WriteTcpHeaders(Span<byte> frame, in TcpSegmentSpec spec, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> extraOptions, out int transport)
    {
        transport = 0;
        Span<byte> options = stackalloc byte[MaxTcpOptions + 4];
        int optionLength = WriteOptions(options, spec);
        if (optionLength + extraOptions.Length > MaxTcpOptions) return 0;
        extraOptions.CopyTo(options[optionLength..]);
        optionLength += extraOptions.Length;
        while (optionLength % 4 != 0) options[optionLength++] = TcpOptions.KindNop;

        int header = TcpHeader + optionLength;
        if (!Fits(frame, spec.Source, spec.Destination, header + payload.Length)) return 0;
        bool v4 = spec.Destination.IsV4;
        int at = WriteEthernet(frame, spec.DestinationMac, spec.SourceMac, v4 ? PacketParser.EtherIpv4 : PacketParser.EtherIpv6);
        byte hopLimit = spec.HopLimit == 0 ? (byte)64 : spec.HopLimit;
        at += WriteIp(frame[at..], spec.Source, spec.Destination, Packet.ProtocolTcp, header + payload.Length, hopLimit, spec.TrafficClass, spec.Identification);
        transport = at;
        Span<byte> tcp = frame[at..];
        BinaryPrimitives.WriteUInt16BigEndian(tcp, spec.SourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[2..], spec.DestinationPort);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], spec.Seq.Value);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[8..], spec.Ack.Value);
        tcp[12] = (byte)(header / 4 << 4);
        tcp[13] = (byte)spec.Flags;
        BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], spec.Window);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], 0);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[18..], spec.UrgentPointer);
        options[..optionLength].CopyTo(tcp[TcpHeader..]);
        payload.CopyTo(tcp[header..]);
        return at + header + payload.Length;
    }

    private static int WriteOptions(Span<byte> options, in TcpSegmentSpec spec)
    {
        int at = 0;
        if (spec.Mss is ushort mss)
        {
            options[at] = TcpOptions.KindMss;
            options[at + 1] = 4;
            BinaryPrimitives.WriteUInt16BigEndian(options[(at + 2)..], mss);
            at += 4;
        }
        // Where timestamps follow, SACK permitted fills their two bytes of padding.
        if (spec.SackPermitted)
        {
            options[at++] = TcpOptions.KindSackPermitted;
            options[at++] = 2;
        }
        else if (spec.HasTimestamps)
        {
            options[at++] = TcpOptions.KindNop;
            options[at++] = TcpOptions.KindNop;
        }
        if (spec.HasTimestamps)
        {
            options[at] = TcpOptions.KindTimestamps;
            options[at + 1] = 10;
            BinaryPrimitives.WriteUInt32BigEndian(options[(at + 2)..], spec.TsVal);
            BinaryPrimitives.WriteUInt32BigEndian(options[(at + 6)..], spec.TsEcr);
            at += 10;
        }
        if (spec.WindowScale is byte scale)
        {
            options[at++] = TcpOptions.KindNop;
            options[at++] = TcpOptions.KindWindowScale;
            options[at++] = 3;
            options[at++] = scale;
        }
        return at;
    }
}
