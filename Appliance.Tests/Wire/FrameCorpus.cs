using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Wire;

/// <summary>
/// Good frames of every kind, from the writers and by hand. They serve as tables for the parser, as
/// input of the dissectors that judge us, and as the fuzzers' corpus.
/// </summary>
public static class FrameCorpus
{
    public static readonly MacAddress MacA = new(0x02_00_00_00_00_0a), MacB = new(0x02_00_00_00_00_0b);
    public static readonly IpAddr A4 = Ip("203.0.113.1"), B4 = Ip("198.51.100.77"), A6 = Ip("2001:db8::a"), B6 = Ip("2001:db8:1::77");

    public static IpAddr Ip(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text);

    public static Packet Parse(Span<byte> frame) =>
        Packet.TryParse(frame, out Packet packet, out DropReason reason) ? packet : throw new ArgumentException(DropReasons.Sentence(reason));

    public static TcpSegmentSpec Spec(bool v6) => new()
    {
        SourceMac = MacA,
        DestinationMac = MacB,
        Source = v6 ? A6 : A4,
        Destination = v6 ? B6 : B4,
        SourcePort = 40_000,
        DestinationPort = 80,
        Seq = new TcpSeq(0x1234_5678),
        Ack = new TcpSeq(0x9abc_def0),
        Flags = TcpFlags.Ack | TcpFlags.Psh,
        Window = 501,
        HasTimestamps = true,
        TsVal = 0x0102_0304,
        TsEcr = 0xfffe_fdfc,
        HopLimit = 63,
        TrafficClass = 0x2a,
        Identification = 0xfffe,
    };

    public static byte[] Payload(int length)
    {
        var bytes = new byte[length];
        for (int i = 0; i < length; i++) bytes[i] = (byte)(i * 7 + i / 251);
        return bytes;
    }

    public static byte[] Tcp(TcpSegmentSpec spec, int payload = 0, byte[]? options = null)
    {
        var frame = new byte[FrameWriter.MaxHeaders + payload];
        return frame[..FrameWriter.WriteTcp(frame, spec, Payload(payload), options)];
    }

    /// <summary>A super-frame of 7 full and one short segment, with CWR, PSH and FIN.</summary>
    public static byte[] SuperFrame(bool v6, out VnetHeader vnet, int payload = 7 * 1448 + 100, ushort size = 1448)
    {
        TcpSegmentSpec spec = Spec(v6);
        spec.Flags |= TcpFlags.Cwr | TcpFlags.Fin;
        var frame = new byte[FrameWriter.MaxHeaders + payload];
        return frame[..FrameWriter.WriteTcpPartial(frame, spec, Payload(payload), size, out vnet)];
    }

    public static byte[] Echo(bool v6, int payload = 56)
    {
        var message = new byte[8 + payload];
        message[0] = v6 ? IcmpView.V6Echo : IcmpView.V4Echo;
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(4), 0x4242_0007);
        Payload(payload).CopyTo(message, 8);
        return Ip(v6, v6 ? Packet.ProtocolIcmp6 : Packet.ProtocolIcmp, message);
    }

    public static byte[] Udp(bool v6, int payload = 33)
    {
        var datagram = new byte[8 + payload];
        BinaryPrimitives.WriteUInt64BigEndian(datagram, 0x1388_0035_0000_0000 | ((ulong)datagram.Length << 16));
        Payload(payload).CopyTo(datagram, 8);
        return Ip(v6, Packet.ProtocolUdp, datagram);
    }

    /// <summary>An IP packet with any transport, whose checksum is set; <paramref name="headers"/> are IPv4 options or IPv6 extension headers.</summary>
    public static byte[] Ip(bool v6, byte protocol, byte[] transport, byte[]? headers = null, byte firstHeader = 0, bool checksum = true)
    {
        headers ??= [];
        int ip = v6 ? 40 : 20;
        var frame = new byte[14 + ip + headers.Length + transport.Length];
        MacB.Write(frame);
        MacA.Write(frame.AsSpan(6));
        Span<byte> header = frame.AsSpan(14);
        headers.CopyTo(header[ip..]);
        transport.CopyTo(header[(ip + headers.Length)..]);
        if (v6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), PacketParser.EtherIpv6);
            BinaryPrimitives.WriteUInt64BigEndian(header, 0x6000_0000_0000_0040 | ((ulong)(headers.Length + transport.Length) << 16));
            header[6] = headers.Length > 0 ? firstHeader : protocol;
            A6.WriteV6(header[8..]);
            B6.WriteV6(header[24..]);
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), PacketParser.EtherIpv4);
            header[0] = (byte)(0x40 | ((20 + headers.Length) / 4));
            BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)header.Length);
            header[8] = 64;
            header[9] = protocol;
            A4.WriteV4(header[12..]);
            B4.WriteV4(header[16..]);
            InternetChecksum.SetIpv4Header(header[..(20 + headers.Length)]);
        }
        if (checksum && Packet.TryParse(frame, out Packet packet, out _)) InternetChecksum.SetTransport(packet);
        return frame;
    }

    public static byte[] WithVlan(byte[] frame, params ushort[] tags)
    {
        var tagged = new List<byte>(frame[..12]);
        for (int i = 0; i < tags.Length; i++)
        {
            ushort protocol = i + 1 < tags.Length ? PacketParser.EtherQinQ : PacketParser.EtherVlan;
            tagged.AddRange([(byte)(protocol >> 8), (byte)protocol, (byte)(tags[i] >> 8), (byte)tags[i]]);
        }
        tagged.AddRange(frame[12..]);
        return [.. tagged];
    }

    public static byte[] Error(byte[] about, IcmpError error, IpAddr from, int mtu = 0)
    {
        var frame = new byte[2048];
        Packet packet = Parse(about);
        return frame[..IcmpWriter.WriteError(frame, packet, error, from, MacB, MacA, mtu)];
    }

    /// <summary>Frames of the writers alone, by name: these the dissectors judge byte for byte.</summary>
    public static IEnumerable<(string Name, byte[] Frame)> Written()
    {
        foreach (bool v6 in new[] { false, true })
        {
            string family = v6 ? " v6" : " v4";
            foreach ((string name, byte[] frame) in WrittenTcp(v6)) yield return (name + family, frame);
            foreach ((string name, byte[] frame) in WrittenIcmp(v6)) yield return (name + family, frame);
        }
        foreach ((string name, byte[] frame) in WrittenNeighbor()) yield return (name, frame);
    }

    /// <summary>All frames.</summary>
    public static IReadOnlyList<byte[]> All()
    {
        var frames = Written().Select(f => f.Frame).ToList();
        foreach (bool v6 in new[] { false, true })
        {
            frames.Add(Echo(v6));
            frames.Add(Udp(v6));
            frames.Add(SuperFrame(v6, out _));
            frames.Add(WithVlan(Tcp(Spec(v6), 10), 100));
            frames.Add(WithVlan(Udp(v6), 100, 200));
        }
        frames.Add(Ip(false, Packet.ProtocolUdp, Udp(false)[34..], [7, 7, 4, 0, 0, 0, 0, 1]));
        byte[] hopByHop = [Ipv6View.DestinationOptions, 0, 1, 4, 0, 0, 0, 0], destination = [Packet.ProtocolUdp, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        frames.Add(Ip(true, Packet.ProtocolUdp, Udp(true)[54..], [.. hopByHop, .. destination], Ipv6View.HopByHop));
        frames.Add(Ip(true, Packet.ProtocolUdp, Udp(true)[54..], [Packet.ProtocolUdp, 0, 0, 1, 1, 2, 3, 4], Ipv6View.Fragment));
        frames.Add(Ip(true, Packet.ProtocolUdp, Udp(true)[54..], [Packet.ProtocolUdp, 0, 1, 0, 1, 2, 3, 4], Ipv6View.Fragment));
        return frames;
    }

    private static IEnumerable<(string Name, byte[] Frame)> WrittenTcp(bool v6)
    {
        TcpSegmentSpec syn = Spec(v6);
        syn.Flags = TcpFlags.Syn | TcpFlags.Ece | TcpFlags.Cwr;
        syn.Ack = default;
        syn.Mss = 1460;
        syn.WindowScale = 7;
        syn.SackPermitted = true;
        TcpSegmentSpec bare = Spec(v6);
        bare.HasTimestamps = false;
        TcpSegmentSpec mss = bare;
        mss.Mss = 536;
        TcpSegmentSpec urgent = Spec(v6);
        urgent.Flags |= TcpFlags.Urg;
        urgent.UrgentPointer = 3;
        TcpSegmentSpec reset = bare;
        reset.Flags = TcpFlags.Rst;
        yield return ("syn", Tcp(syn));
        yield return ("bare", Tcp(bare));
        yield return ("mss only", Tcp(mss));
        yield return ("urgent", Tcp(urgent, 9));
        yield return ("reset", Tcp(reset));
        foreach (int length in new[] { 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 1448, 8948 }) yield return ("data " + length, Tcp(Spec(v6), length));
        byte[] sack = [1, 1, 5, 18, .. Payload(16)];
        yield return ("sack", Tcp(Spec(v6), 0, sack));
    }

    private static IEnumerable<(string Name, byte[] Frame)> WrittenIcmp(bool v6)
    {
        IpAddr gateway = v6 ? Ip("2001:db8::1") : Ip("203.0.113.254");
        foreach (IcmpError error in Enum.GetValues<IcmpError>())
        {
            yield return (error + " short", Error(Tcp(Spec(v6), 5), error, gateway, 1400));
            yield return (error + " long", Error(Tcp(Spec(v6), 3000), error, gateway, 1400));
        }
        var frame = new byte[2048];
        foreach (int length in new[] { 0, 1, 56, 1000 })
        {
            Packet request = Parse(Echo(v6, length));
            yield return ("echo reply " + length, frame[..IcmpWriter.WriteEchoReply(frame, request, MacB)]);
        }
    }

    private static IEnumerable<(string Name, byte[] Frame)> WrittenNeighbor()
    {
        var f = new byte[256];
        yield return ("arp request", f[..NeighborWriter.WriteArpRequest(f, MacA, A4, B4)]);
        yield return ("arp unicast request", f[..NeighborWriter.WriteArpRequest(f, MacA, A4, B4, MacB)]);
        yield return ("arp probe", f[..NeighborWriter.WriteArpRequest(f, MacA, default, B4)]);
        yield return ("arp reply", f[..NeighborWriter.WriteArpReply(f, MacA, A4, MacB, B4)]);
        yield return ("gratuitous arp", f[..NeighborWriter.WriteGratuitousArp(f, MacA, A4)]);
        yield return ("gratuitous arp reply", f[..NeighborWriter.WriteGratuitousArp(f, MacA, A4, asReply: true)]);
        yield return ("solicitation", f[..NeighborWriter.WriteSolicitation(f, MacA, A6, B6)]);
        yield return ("unicast solicitation", f[..NeighborWriter.WriteSolicitation(f, MacA, A6, B6, MacB)]);
        yield return ("duplicate address probe", f[..NeighborWriter.WriteSolicitation(f, MacA, default, B6)]);
        yield return ("advertisement", f[..NeighborWriter.WriteAdvertisement(f, MacA, A6, MacB, B6, isRouter: true)]);
        yield return ("advertisement to probe", f[..NeighborWriter.WriteAdvertisement(f, MacA, A6, MacB, default, isRouter: false)]);
        yield return ("unsolicited advertisement", f[..NeighborWriter.WriteUnsolicitedAdvertisement(f, MacA, A6, isRouter: true)]);
    }
}
