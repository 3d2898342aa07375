using System.Buffers.Binary;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>What the parser takes, what it refuses and why, and what the views say.</summary>
public sealed class PacketTests
{
    [Test]
    public void Every_good_frame_is_taken_and_every_cut_of_it_is_judged()
    {
        foreach (byte[] frame in FrameCorpus.All())
        {
            Packet whole = FrameCorpus.Parse(frame);
            int end = whole.Layout.End;
            for (int length = 0; length < Math.Min(frame.Length, 200); length++)
            {
                bool taken = Packet.TryParse(frame.AsSpan(0, length), out _, out DropReason reason);
                Assert.That(taken, Is.EqualTo(length >= end), $"{Convert.ToHexString(frame, 0, Math.Min(60, frame.Length))} cut to {length}");
                Assert.That(reason == DropReason.None, Is.EqualTo(taken));
            }
        }
    }

    [Test]
    public void Padding_is_not_payload([Values] bool v6)
    {
        byte[] frame = [.. FrameCorpus.Tcp(FrameCorpus.Spec(v6)), 1, 2, 3, 4];
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(packet.Payload.Length, Is.Zero);
        Assert.That(packet.Layout.End, Is.EqualTo(frame.Length - 4));
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
    }

    [Test]
    public void Tcp_fields([Values] bool v6)
    {
        TcpSegmentSpec spec = FrameCorpus.Spec(v6);
        byte[] frame = FrameCorpus.Tcp(spec, 11);
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(packet.IsTcp && !packet.IsUdp && !packet.IsIcmp && !packet.HasVlan && packet.IsV6 == v6 && packet.IsV4 == !v6, Is.True);
        Assert.That((packet.SourceMac, packet.DestinationMac), Is.EqualTo((spec.SourceMac, spec.DestinationMac)));
        Assert.That((packet.Source, packet.Destination), Is.EqualTo((spec.Source, spec.Destination)));
        Assert.That((packet.SourcePort, packet.DestinationPort), Is.EqualTo((spec.SourcePort, spec.DestinationPort)));
        Assert.That(packet.HopLimit, Is.EqualTo(spec.HopLimit));
        Assert.That(v6 ? packet.Ipv6.TrafficClass : packet.Ipv4.TrafficClass, Is.EqualTo(spec.TrafficClass));
        Assert.That(packet.Tcp.SequenceLength, Is.EqualTo(11));
        Assert.That(packet.Payload.ToArray(), Is.EqualTo(FrameCorpus.Payload(11)));
    }

    [Test]
    public void Vlan_tags()
    {
        byte[] frame = FrameCorpus.WithVlan(FrameCorpus.Udp(true), 0x6064, 200);
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(packet.HasVlan && packet.IsUdp, Is.True);
        VlanView tag = packet.Vlan;
        Assert.That((tag.TagProtocol, tag.Priority, tag.DropEligible, tag.Identifier), Is.EqualTo((PacketParser.EtherQinQ, 3, false, 100)));
        Assert.That(tag.EtherType, Is.EqualTo(PacketParser.EtherVlan));
        tag.Identifier = 4095;
        Assert.That((tag.Priority, tag.Identifier), Is.EqualTo((3, 4095)));
        Assert.That(Packet.TryParse(FrameCorpus.WithVlan(frame, 5), out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.VlanTooDeep));
    }

    [Test]
    public void Arp_fields()
    {
        var frame = new byte[64];
        int length = NeighborWriter.WriteArpReply(frame, FrameCorpus.MacA, FrameCorpus.A4, FrameCorpus.MacB, FrameCorpus.B4);
        ArpView arp = FrameCorpus.Parse(frame.AsSpan(0, length)).Arp;
        Assert.That((arp.Operation, arp.SenderMac, arp.Sender), Is.EqualTo((ArpView.Reply, FrameCorpus.MacA, FrameCorpus.A4)));
        Assert.That((arp.TargetMac, arp.Target, arp.IsGratuitous), Is.EqualTo((FrameCorpus.MacB, FrameCorpus.B4, false)));
        length = NeighborWriter.WriteGratuitousArp(frame, FrameCorpus.MacA, FrameCorpus.A4);
        Assert.That(FrameCorpus.Parse(frame.AsSpan(0, length)).Arp.IsGratuitous, Is.True);
        frame[17] = 0xdd;
        Assert.That(Packet.TryParse(frame, out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.ArpMalformed));
    }

    [Test]
    public void Ipv4_options_and_fragments()
    {
        byte[] options = [1, 131, 7, 4, 10, 0, 0, 1, 0, 0, 0, 0];
        byte[] frame = FrameCorpus.Ip(false, Packet.ProtocolUdp, FrameCorpus.Udp(false)[34..], options);
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(packet.Ipv4.HeaderLength, Is.EqualTo(32));
        Assert.That(packet.Ipv4.TryFindOption(Ipv4View.LooseSourceRoute, out ReadOnlySpan<byte> route), Is.True);
        Assert.That(route.ToArray(), Is.EqualTo(options[1..8]));
        Assert.That(packet.Ipv4.TryFindOption(Ipv4View.StrictSourceRoute, out _), Is.False);
        Assert.That(packet.IsUdp && InternetChecksum.VerifyTransport(packet), Is.True);

        frame[14 + 22] = 40;
        Assert.That(Packet.TryParse(frame, out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.Ipv4OptionsMalformed));

        frame = FrameCorpus.Udp(false);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(20), 0x2000 | 185);
        packet = FrameCorpus.Parse(frame);
        Assert.That((packet.Ipv4.MoreFragments, packet.Ipv4.DontFragment, packet.Ipv4.FragmentOffset), Is.EqualTo((true, false, 1480)));
        Assert.That(packet.Layout.IsFragment && !packet.Layout.HasTransport && packet.SourcePort == 0, Is.True);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(20), 0x1fff);
        Assert.That(Packet.TryParse(frame, out _, out reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.FragmentMalformed));
    }

    [Test]
    public void Ipv6_extension_headers_and_fragments()
    {
        byte[] hopByHop = [Ipv6View.Fragment, 0, 1, 4, 0, 0, 0, 0], first = [Packet.ProtocolUdp, 0, 0, 1, 1, 2, 3, 4];
        byte[] udp = FrameCorpus.Udp(true)[54..];
        Packet packet = FrameCorpus.Parse(FrameCorpus.Ip(true, 0, udp, [.. hopByHop, .. first], Ipv6View.HopByHop));
        var kinds = new List<(byte, int)>();
        foreach (Ipv6Extension extension in packet.Ipv6.Extensions) kinds.Add((extension.Kind, extension.Offset));
        Assert.That(kinds, Is.EqualTo(new[] { (Ipv6View.HopByHop, 40), (Ipv6View.Fragment, 48) }));
        Assert.That(packet.Ipv6.TryGetFragment(out Ipv6FragmentView fragment), Is.True);
        Assert.That((fragment.NextHeader, fragment.Offset, fragment.MoreFragments, fragment.Identification), Is.EqualTo((Packet.ProtocolUdp, 0, true, 0x01020304u)));
        Assert.That(packet.Layout.IsFragment && packet.IsUdp, Is.True, "a first fragment has its ports");
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.False, "but no checksum that could be verified");

        first[3] = 0;
        packet = FrameCorpus.Parse(FrameCorpus.Ip(true, 0, udp, first, Ipv6View.Fragment));
        Assert.That(packet.Layout.IsFragment, Is.False, "atomic");
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
        first[2] = 1;
        packet = FrameCorpus.Parse(FrameCorpus.Ip(true, 0, udp, first, Ipv6View.Fragment));
        Assert.That(packet.Layout.IsFragment && !packet.Layout.HasTransport, Is.True, "later");
    }

    [TestCase(8, true)]
    [TestCase(9, false)]
    public void Number_of_extension_headers_is_bounded(int headers, bool taken)
    {
        var chain = new byte[headers * 8];
        for (int i = 0; i < headers; i++) chain[i * 8] = i == headers - 1 ? Packet.ProtocolUdp : Ipv6View.DestinationOptions;
        byte[] frame = FrameCorpus.Ip(true, 0, FrameCorpus.Udp(true)[54..], chain, Ipv6View.DestinationOptions);
        Assert.That(Packet.TryParse(frame, out _, out DropReason reason), Is.EqualTo(taken));
        Assert.That(reason, Is.EqualTo(taken ? DropReason.None : DropReason.Ipv6ExtensionMalformed));
    }

    // {family, offset from the network header, byte, reason}
    [TestCase(false, 0, 0x55, DropReason.Ipv4HeaderMalformed)]
    [TestCase(false, 0, 0x44, DropReason.Ipv4HeaderMalformed)]
    [TestCase(false, 2, 0xff, DropReason.IpLengthExceedsFrame)]
    [TestCase(false, 3, 0x10, DropReason.Ipv4HeaderMalformed)]
    [TestCase(false, 32, 0x40, DropReason.TcpHeaderMalformed)]
    [TestCase(false, 32, 0xf0, DropReason.TcpHeaderMalformed)]
    [TestCase(true, 0, 0x40, DropReason.Ipv6HeaderMalformed)]
    [TestCase(true, 4, 0x10, DropReason.IpLengthExceedsFrame)]
    [TestCase(true, 5, 0x08, DropReason.TcpHeaderMalformed)]
    [TestCase(true, 6, Ipv6View.Routing, DropReason.Ipv6ExtensionMalformed)]
    public void One_wrong_byte(bool v6, int at, byte value, DropReason expected)
    {
        byte[] frame = FrameCorpus.Tcp(FrameCorpus.Spec(v6));
        frame[14 + at] = value;
        Assert.That(Packet.TryParse(frame, out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(expected));
    }

    [Test]
    public void Mapped_addresses_on_the_wire_are_refused([Values(8, 24)] int at)
    {
        byte[] frame = FrameCorpus.Udp(true);
        FrameCorpus.A4.WriteV6(frame.AsSpan(14 + at));
        Assert.That(Packet.TryParse(frame, out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.Ipv6HeaderMalformed));
    }

    [Test]
    public void Udp_length_bounds_the_payload()
    {
        byte[] frame = FrameCorpus.Udp(false, 20);
        Packet packet = FrameCorpus.Parse(frame);
        UdpView udp = packet.Udp;
        udp.Length = 18;
        InternetChecksum.SetTransport(packet);
        Assert.That(packet.Udp.Payload.Length, Is.EqualTo(10));
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
        udp.Length = 29;
        Assert.That(Packet.TryParse(frame, out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.UdpHeaderMalformed));
    }

    [Test]
    public void Accessors_of_frames_without_ip_say_none()
    {
        var frame = new byte[14];
        frame[12] = 0x88;
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(packet.Source.IsNone && packet.Destination.IsNone && packet.SourcePort == 0 && packet.HopLimit == 0, Is.True);
        Assert.That(packet.Payload.Length, Is.Zero);
    }
}
