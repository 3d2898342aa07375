using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>Internet checksum of the judge's own making (RFC 1071), so that the product's cannot agree with itself.</summary>
internal static class SimChecksum
{
    /// <summary>Adds bytes, as big-endian 16-bit words, to a running sum.</summary>
    public static ulong Add(ulong sum, ReadOnlySpan<byte> bytes)
    {
        // The sum does not care for byte order as long as it is swapped at the end (RFC 1071 2B): eight bytes at a time.
        ulong native = 0;
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        for (int i = 0; i < words.Length; i++) native += (words[i] >> 32) + (uint)words[i];
        sum += BinaryPrimitives.ReverseEndianness(Fold(native));
        bytes = bytes[(words.Length * 8)..];
        while (bytes.Length >= 2)
        {
            sum += BinaryPrimitives.ReadUInt16BigEndian(bytes);
            bytes = bytes[2..];
        }
        return bytes.Length == 1 ? sum + ((ulong)bytes[0] << 8) : sum;
    }

    /// <summary>The 16-bit ones' complement sum, not complemented.</summary>
    public static ushort Fold(ulong sum)
    {
        sum = (sum >> 32) + (uint)sum;
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        return (ushort)((sum >> 16) + (sum & 0xffff));
    }

    /// <summary>Sum of the pseudo header of the IP packet at offset 14 of a frame, for a transport part of <paramref name="length"/> bytes.</summary>
    public static ulong Pseudo(ReadOnlySpan<byte> frame, int length, byte protocol) =>
        Add((ulong)length + protocol, IsV6(frame) ? frame.Slice(22, 32) : frame.Slice(26, 8));

    /// <summary>True if the frame carries IPv6.</summary>
    public static bool IsV6(ReadOnlySpan<byte> frame) => frame[12] == 0x86;

    /// <summary>Where the transport header starts in a frame without tags, options and extension headers.</summary>
    public static int TransportAt(ReadOnlySpan<byte> frame) => IsV6(frame) ? 54 : 34;
}

/// <summary>Edges of up to four SACK blocks, left and right in turn.</summary>
[InlineArray(8)]
internal struct SackEdges
{
    private uint _first;
}

/// <summary>A TCP segment taken apart, options included (RFC 9293, 7323, 2018); payload stays in the frame.</summary>
internal struct SimSegment
{
    public IpAddr Source, Destination;
    public ushort SourcePort, DestinationPort, Window;
    public TcpSeq Seq, Ack;
    public TcpFlags Flags;
    public int PayloadAt, PayloadLength;

    /// <summary>Payload of each wire segment, if it is a super-frame.</summary>
    public int WireLength;

    public bool IsBadChecksum, HasTimestamps, HasSackPermitted;
    public uint TsVal, TsEcr;

    /// <summary>-1: option absent.</summary>
    public int Mss, WindowScale;

    public int OptionLength, SackCount;
    public SackEdges Sack;

    public readonly bool Syn => (Flags & TcpFlags.Syn) != TcpFlags.None;

    public readonly bool Fin => (Flags & TcpFlags.Fin) != TcpFlags.None;

    public readonly bool Rst => (Flags & TcpFlags.Rst) != TcpFlags.None;

    public readonly bool IsAck => (Flags & TcpFlags.Ack) != TcpFlags.None;

    /// <summary>Reads a frame whose transport protocol is TCP; false if its lengths or its IP header checksum are wrong. The checksum of an own frame is not looked at.</summary>
    public static bool TryParse(ReadOnlySpan<byte> frame, in VnetHeader vnet, out SimSegment s, bool isOwn = false)
    {
        s = new SimSegment { Mss = -1, WindowScale = -1 };
        if (!SimIp.TryParse(frame, out int transport, out int end, out byte protocol) || protocol != Packet.ProtocolTcp) return false;
        ReadOnlySpan<byte> tcp = frame[transport..end];
        if (tcp.Length < 20) return false;
        int header = (tcp[12] >> 4) * 4;
        if (header < 20 || header > tcp.Length) return false;
        SimIp.Addresses(frame, out s.Source, out s.Destination);
        s.IsBadChecksum = !isOwn && !vnet.NeedsChecksum && SimChecksum.Fold(SimChecksum.Add(SimChecksum.Pseudo(frame, tcp.Length, Packet.ProtocolTcp), tcp)) != 0xffff;
        // A partial checksum holds the pseudo header's sum alone (linux/virtio_net.h).
        if (vnet.NeedsChecksum) s.IsBadChecksum = BinaryPrimitives.ReadUInt16BigEndian(tcp[16..]) != SimChecksum.Fold(SimChecksum.Pseudo(frame, tcp.Length, Packet.ProtocolTcp));
        s.SourcePort = BinaryPrimitives.ReadUInt16BigEndian(tcp);
        s.DestinationPort = BinaryPrimitives.ReadUInt16BigEndian(tcp[2..]);
        s.Seq = new TcpSeq(BinaryPrimitives.ReadUInt32BigEndian(tcp[4..]));
        s.Ack = new TcpSeq(BinaryPrimitives.ReadUInt32BigEndian(tcp[8..]));
        s.Flags = (TcpFlags)tcp[13];
        s.Window = BinaryPrimitives.ReadUInt16BigEndian(tcp[14..]);
        s.PayloadAt = transport + header;
        s.PayloadLength = tcp.Length - header;
        s.WireLength = vnet.IsSuperFrame ? vnet.GsoSize : s.PayloadLength;
        s.OptionLength = header - 20;
        s.ParseOptions(tcp[20..header]);
        return true;
    }

    private void ParseOptions(ReadOnlySpan<byte> o)
    {
        while (o.Length > 0 && o[0] != 0)
        {
            if (o[0] == 1)
            {
                o = o[1..];
                continue;
            }
            if (o.Length < 2 || o[1] < 2 || o[1] > o.Length) return;
            int length = o[1];
            switch (o[0], length)
            {
                case (2, 4):
                    Mss = BinaryPrimitives.ReadUInt16BigEndian(o[2..]);
                    break;
                case (3, 3):
                    WindowScale = Math.Min(o[2], (byte)14);
                    break;
                case (4, 2):
                    HasSackPermitted = true;
                    break;
                case (5, 10 or 18 or 26 or 34):
                    SackCount = (length - 2) / 8;
                    for (int i = 0; i < SackCount * 2; i++) Sack[i] = BinaryPrimitives.ReadUInt32BigEndian(o[(2 + (i * 4))..]);
                    break;
                case (8, 10):
                    HasTimestamps = true;
                    TsVal = BinaryPrimitives.ReadUInt32BigEndian(o[2..]);
                    TsEcr = BinaryPrimitives.ReadUInt32BigEndian(o[6..]);
                    break;
                default:
                    break;
            }
            o = o[length..];
        }
    }
}

/// <summary>IPv4 and IPv6 headers as the model hosts write and read them: no options, no extension headers, no fragments.</summary>
internal static class SimIp
{
    /// <summary>Checks lengths and the IPv4 header checksum of a frame.</summary>
    public static bool TryParse(ReadOnlySpan<byte> frame, out int transport, out int end, out byte protocol)
    {
        transport = end = protocol = 0;
        if (frame.Length < 34) return false;
        if (SimChecksum.IsV6(frame))
        {
            if (frame.Length < 54 || frame[14] >> 4 != 6) return false;
            protocol = frame[20];
            transport = 54;
            end = 54 + BinaryPrimitives.ReadUInt16BigEndian(frame[18..]);
            return end <= frame.Length;
        }
        if (frame[14] != 0x45 || (BinaryPrimitives.ReadUInt16BigEndian(frame[20..]) & 0x3fff) != 0) return false;
        if (SimChecksum.Fold(SimChecksum.Add(0, frame.Slice(14, 20))) != 0xffff) return false;
        protocol = frame[23];
        transport = 34;
        end = 14 + BinaryPrimitives.ReadUInt16BigEndian(frame[16..]);
        return end >= 34 && end <= frame.Length;
    }

    /// <summary>Addresses of a frame that was parsed.</summary>
    public static void Addresses(ReadOnlySpan<byte> frame, out IpAddr source, out IpAddr destination)
    {
        bool v6 = SimChecksum.IsV6(frame);
        source = v6 ? IpAddr.ReadV6(frame[22..]) : IpAddr.ReadV4(frame[26..]);
        destination = v6 ? IpAddr.ReadV6(frame[38..]) : IpAddr.ReadV4(frame[30..]);
    }

    /// <summary>Writes EtherType and IP header around a transport part that fills the frame; MACs are the sender's business.</summary>
    public static void WriteHeader(Span<byte> frame, IpAddr source, IpAddr destination, byte protocol, ushort id, byte ttl = 64)
    {
        if (!source.IsV4)
        {
            BinaryPrimitives.WriteUInt16BigEndian(frame[12..], 0x86dd);
            BinaryPrimitives.WriteUInt32BigEndian(frame[14..], 0x6000_0000);
            BinaryPrimitives.WriteUInt16BigEndian(frame[18..], (ushort)(frame.Length - 54));
            frame[20] = protocol;
            frame[21] = ttl;
            source.WriteV6(frame[22..]);
            destination.WriteV6(frame[38..]);
            return;
        }
        BinaryPrimitives.WriteUInt16BigEndian(frame[12..], 0x0800);
        BinaryPrimitives.WriteUInt16BigEndian(frame[14..], 0x4500);
        BinaryPrimitives.WriteUInt16BigEndian(frame[16..], (ushort)(frame.Length - 14));
        BinaryPrimitives.WriteUInt16BigEndian(frame[18..], id);
        BinaryPrimitives.WriteUInt16BigEndian(frame[20..], 0x4000);
        frame[22] = ttl;
        frame[23] = protocol;
        frame[24] = frame[25] = 0;
        source.WriteV4(frame[26..]);
        destination.WriteV4(frame[30..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[24..], (ushort)~SimChecksum.Fold(SimChecksum.Add(0, frame.Slice(14, 20))));
    }

    /// <summary>Fills in the checksum, at <paramref name="at"/> in the transport header, of a frame whose transport part reaches to its end.</summary>
    public static void WriteChecksum(Span<byte> frame, byte protocol, int at)
    {
        int transport = SimChecksum.TransportAt(frame);
        frame[transport + at] = frame[transport + at + 1] = 0;
        ulong sum = SimChecksum.Add(SimChecksum.Pseudo(frame, frame.Length - transport, protocol), frame[transport..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[(transport + at)..], (ushort)~SimChecksum.Fold(sum));
    }
}

/// <summary>Does what an interface without offloads does to a super-frame: segments it and completes checksums.</summary>
internal static class SimOffload
{
    /// <summary>Gives the wire frames of <paramref name="super"/> to <paramref name="sink"/> and the super-frame back to the pool.</summary>
    public static void Segment(SimFramePool pool, SimFrame super, Action<SimFrame> sink)
    {
        Span<byte> bytes = super.Span;
        int transport = SimChecksum.TransportAt(bytes);
        int header = transport + ((bytes[transport + 12] >> 4) * 4);
        int size = super.Vnet.IsSuperFrame ? super.Vnet.GsoSize : Math.Max(1, bytes.Length - header);
        var flags = (TcpFlags)bytes[transport + 13];
        uint seq = BinaryPrimitives.ReadUInt32BigEndian(bytes[(transport + 4)..]);
        SimIp.Addresses(bytes, out IpAddr source, out IpAddr destination);
        ushort id = BinaryPrimitives.ReadUInt16BigEndian(bytes[18..]);
        byte ttl = bytes[source.IsV4 ? 22 : 21];
        int at = header;
        do
        {
            int length = Math.Min(size, bytes.Length - at);
            bool last = at + length == bytes.Length;
            SimFrame wire = pool.Rent(header + length);
            bytes[..header].CopyTo(wire.Bytes);
            bytes.Slice(at, length).CopyTo(wire.Bytes.AsSpan(header));
            SimIp.WriteHeader(wire.Span, source, destination, Packet.ProtocolTcp, id++, ttl);
            BinaryPrimitives.WriteUInt32BigEndian(wire.Bytes.AsSpan(transport + 4), seq);
            TcpFlags now = last ? flags : flags & ~(TcpFlags.Fin | TcpFlags.Psh);
            wire.Bytes[transport + 13] = (byte)(at == header ? now : now & ~TcpFlags.Cwr);
            SimIp.WriteChecksum(wire.Span, Packet.ProtocolTcp, 16);
            seq += (uint)length;
            at += length;
            sink(wire);
        }
        while (at < bytes.Length);
        pool.Return(super);
    }
}
