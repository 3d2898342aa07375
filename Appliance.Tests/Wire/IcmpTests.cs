using System.Buffers.Binary;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>ICMP errors, their quotes, echo replies.</summary>
public sealed class IcmpTests
{
    private static readonly IpAddr Gateway4 = FrameCorpus.Ip("203.0.113.254"), Gateway6 = FrameCorpus.Ip("2001:db8::1");

    [Test]
    public void Error_quotes_what_it_is_about([Values] bool v6, [Values] IcmpError error, [Values(0, 3000)] int payload)
    {
        TcpSegmentSpec spec = FrameCorpus.Spec(v6);
        byte[] frame = FrameCorpus.Error(FrameCorpus.Tcp(spec, payload), error, v6 ? Gateway6 : Gateway4, 1400);
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
        Assert.That(packet.Destination, Is.EqualTo(spec.Source));
        Assert.That(frame, Has.Length.LessThanOrEqualTo(14 + (v6 ? 1280 : 576)));
        Assert.That(packet.Icmp.IsError, Is.True);
        Assert.That(packet.Icmp.IsPacketTooBig, Is.EqualTo(error == IcmpError.PacketTooBig));
        Assert.That(packet.Icmp.Mtu, Is.EqualTo(error == IcmpError.PacketTooBig ? 1400 : 0));
        Assert.That(packet.Icmp.TryGetQuote(out IcmpQuote quote, out _), Is.True);
        Assert.That((quote.Source, quote.Destination), Is.EqualTo((spec.Source, spec.Destination)));
        Assert.That((quote.SourcePort, quote.DestinationPort), Is.EqualTo((spec.SourcePort, spec.DestinationPort)));
        Assert.That(quote.IsTcp && quote.HasAck && quote.HasChecksum, Is.True);
        Assert.That((quote.Seq, quote.Ack), Is.EqualTo((spec.Seq, spec.Ack)));
    }

    [TestCase(false, 8, true, false, false)]
    [TestCase(false, 12, true, true, false)]
    [TestCase(false, 18, true, true, true)]
    [TestCase(false, 7, false, false, false)]
    [TestCase(true, 8, true, false, false)]
    [TestCase(true, 7, false, false, false)]
    public void Short_quotes(bool v6, int transport, bool taken, bool hasAck, bool hasChecksum)
    {
        byte[] packet = FrameCorpus.Tcp(FrameCorpus.Spec(v6), 100)[14..];
        byte[] quoted = packet[..((v6 ? 40 : 20) + transport)];
        Assert.That(IcmpQuote.TryParse(quoted, v6, out IcmpQuote quote, out DropReason reason), Is.EqualTo(taken));
        Assert.That(reason, Is.EqualTo(taken ? DropReason.None : DropReason.IcmpMalformed));
        Assert.That((quote.HasAck, quote.HasChecksum), Is.EqualTo((hasAck, hasChecksum)));
    }

    [Test]
    public void Quote_with_options_and_extension_headers()
    {
        byte[] udp = FrameCorpus.Udp(true)[54..62];
        byte[] extended = FrameCorpus.Ip(true, 0, udp, [Packet.ProtocolUdp, 0, 1, 4, 0, 0, 0, 0], Ipv6View.HopByHop, checksum: false)[14..];
        Assert.That(IcmpQuote.TryParse(extended, true, out IcmpQuote quote, out _), Is.True);
        Assert.That((quote.TransportOffset, quote.SourcePort, quote.IsTcp), Is.EqualTo((48, (ushort)0x1388, false)));
        Assert.That(IcmpQuote.TryParse(extended.AsSpan(0, 46), true, out _, out _), Is.False, "ends inside an extension header");
        byte[] options = FrameCorpus.Ip(false, Packet.ProtocolUdp, udp, [1, 1, 1, 0], checksum: false)[14..];
        Assert.That(IcmpQuote.TryParse(options, false, out quote, out _), Is.True);
        Assert.That((quote.TransportOffset, quote.DestinationPort), Is.EqualTo((24, (ushort)53)));
    }

    [Test]
    public void Quote_of_a_later_fragment_has_no_ports()
    {
        byte[] packet = FrameCorpus.Udp(false)[14..];
        packet[7] = 1;
        Assert.That(IcmpQuote.TryParse(packet.AsSpan(0, 20), false, out IcmpQuote quote, out _), Is.True);
        Assert.That(quote.HasPorts || quote.HasTransport || quote.SourcePort != 0, Is.False);
    }

    [Test]
    public void Quote_can_be_rewritten_in_place([Values] bool v6)
    {
        byte[] frame = FrameCorpus.Error(FrameCorpus.Tcp(FrameCorpus.Spec(v6)), IcmpError.HostUnreachable, v6 ? Gateway6 : Gateway4);
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(packet.Icmp.TryGetQuote(out IcmpQuote quote, out _), Is.True);
        quote.Source = v6 ? Gateway6 : Gateway4;
        quote.DestinationPort = 8080;
        quote.Seq = new TcpSeq(5);
        Assert.That(packet.Icmp.TryGetQuote(out quote, out _), Is.True);
        Assert.That((quote.Source, quote.DestinationPort, quote.Seq.Value), Is.EqualTo((v6 ? Gateway6 : Gateway4, (ushort)8080, 5u)));
    }

    [Test]
    public void Errors_that_must_not_be_sent()
    {
        var frame = new byte[2000];
        byte[] error = FrameCorpus.Error(FrameCorpus.Udp(false), IcmpError.PortUnreachable, Gateway4);
        byte[] later = FrameCorpus.Udp(false), multicast = FrameCorpus.Udp(true), broadcast = FrameCorpus.Udp(false), nobody = FrameCorpus.Udp(true);
        BinaryPrimitives.WriteUInt16BigEndian(later.AsSpan(20), 10);
        multicast[14 + 24] = 0xff;
        broadcast.AsSpan(0, 6).Fill(0xff);
        nobody.AsSpan(14 + 8, 16).Clear();
        byte[] arp = frame[..NeighborWriter.WriteArpRequest(frame, FrameCorpus.MacA, FrameCorpus.A4, FrameCorpus.B4)];
        foreach (byte[] about in new[] { error, later, multicast, broadcast, nobody, arp })
        {
            Assert.That(IcmpWriter.WriteError(frame, FrameCorpus.Parse(about), IcmpError.TimeExceeded, Gateway4, FrameCorpus.MacB, FrameCorpus.MacA), Is.Zero);
        }
        Assert.That(IcmpWriter.MayReport(FrameCorpus.Parse(FrameCorpus.Echo(false))), Is.True);
    }

    [Test]
    public void Echo_reply([Values] bool v6, [Values] bool inPlace)
    {
        byte[] request = FrameCorpus.WithVlan(FrameCorpus.Echo(v6), 12);
        byte[] frame = inPlace ? request : new byte[request.Length];
        byte[] payload = FrameCorpus.Parse(request).Payload.ToArray();
        int length = IcmpWriter.WriteEchoReply(frame, FrameCorpus.Parse(request), FrameCorpus.MacB);
        Packet reply = FrameCorpus.Parse(frame.AsSpan(0, length));
        Assert.That(reply.Icmp.IsEchoReply && InternetChecksum.VerifyTransport(reply), Is.True);
        Assert.That((reply.Icmp.EchoIdentifier, reply.Icmp.EchoSequence, reply.Layout.Vlan), Is.EqualTo(((ushort)0x4242, (ushort)7, 12)));
        Assert.That((reply.Source, reply.Destination), Is.EqualTo(v6 ? (FrameCorpus.B6, FrameCorpus.A6) : (FrameCorpus.B4, FrameCorpus.A4)));
        Assert.That((reply.SourceMac, reply.DestinationMac), Is.EqualTo((FrameCorpus.MacB, FrameCorpus.MacA)));
        Assert.That(reply.Payload.ToArray(), Is.EqualTo(payload));
    }

    [Test]
    public void Corrupted_echo_is_not_answered()
    {
        byte[] request = FrameCorpus.Echo(false);
        request[^1] ^= 1;
        Assert.That(IcmpWriter.WriteEchoReply(new byte[200], FrameCorpus.Parse(request), FrameCorpus.MacB), Is.Zero);
    }
}
