using System.Buffers.Binary;
using System.Text;
using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 12, Data: the shapes in which segments come: super-frames, tags, padding, fragments, options, ICMP errors.</summary>
public sealed class FrameFormTests(int workers, bool astray) : BoxTests(workers, astray)
{
    [Test]
    public void Super_frames_and_partial_checksums_pass_whole([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] payload = [.. Enumerable.Range(0, 20_000).Select(i => (byte)i)];
        byte[] frame = new byte[20_200];
        server.Received = client.Next;
        int length = FrameWriter.WriteTcpPartial(frame, server.Spec(1, TcpFlags.Ack | TcpFlags.Psh), payload, 1400, out VnetHeader vnet);
        server.Inject(frame[..length], vnet);
        Segment whole = client.Expect();
        Assert.That((whole.Seq, whole.Vnet.GsoSize, whole.Vnet.GsoType, whole.Vnet.NeedsChecksum), Is.EqualTo((1, vnet.GsoSize, vnet.GsoType, true)));
        Assert.That(whole.Payload, Is.EqualTo(payload));
        server.Next = 20_001;
        server.Say("tail");
        client.Received = 20_001;
        client.Expect(20_001, "tail", client.Next);
    }

    [Test]
    public void A_request_in_a_super_frame_with_a_partial_checksum()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        string request = "GET / HTTP/1.1\r\nHost: a\r\nCookie: " + new string('x', 5000) + "\r\n\r\n";
        byte[] frame = new byte[6000];
        int length = FrameWriter.WriteTcpPartial(frame, client.Spec(1, TcpFlags.Ack | TcpFlags.Psh), TcpEnd.Bytes(request), 1448, out VnetHeader vnet);
        client.Inject(frame[..length], vnet);
        ServerEnd server = box.Accept();
        StringBuilder received = new();
        while (box.ToServer.Count > 0)
        {
            Segment segment = server.Expect();
            Assert.That(segment.Vnet.IsSuperFrame ? segment.Vnet.GsoSize : segment.Payload.Length, Is.LessThanOrEqualTo(1448));
            received.Append(Encoding.ASCII.GetString(segment.Payload));
        }
        Assert.That(received.ToString(), Is.EqualTo(request));
    }

    [Test]
    public void Ethernet_padding_is_no_payload()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client(offer: Offer.Plain);
        ServerEnd server = client.Splice();
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "x"u8);
        client.Inject([.. frame, .. Enumerable.Repeat((byte)0xee, 60 - frame.Length)]);
        server.Expect(server.Received, "x", 1);
    }

    [Test]
    public void Padding_in_the_handshake_is_no_request()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client(offer: Offer.Plain);
        client.Syn();
        client.ExpectSynAck();
        byte[] ack = client.Frame(client.Spec(1, TcpFlags.Ack));
        client.Inject([.. ack, 0, 0, 0, 0, 0, 0]);
        client.Say(ClientEnd.Request);
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void A_priority_tag_does_no_harm([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "tagged"u8);
        client.Inject([.. frame[..12], 0x81, 0x00, 0x60, 0x00, .. frame[12..]]);
        Segment seen = server.Expect(server.Received, "tagged", 1);
        Assert.That(seen.Frame, Has.Length.EqualTo(frame.Length), "it goes on without the tag");
    }

    [Test]
    public void Frames_of_another_VLAN_are_neither_answered_nor_passed_on([Values(0x0007, 0x6fff)] int control, [Values(0x8100, 0x88a8)] int type, [Values] bool behindPriority)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] Tagged(byte[] frame)
        {
            byte[] tag = [(byte)(type >> 8), (byte)type, (byte)(control >> 8), (byte)control];
            return behindPriority ? [.. frame[..12], 0x81, 0, 0x60, 0, .. tag, .. frame[12..]] : [.. frame[..12], .. tag, .. frame[12..]];
        }
        client.Inject(Tagged(client.Frame(client.Spec(client.Next, TcpFlags.Ack), "tagged"u8)));
        client.Inject(Tagged(client.Frame(client.Spec(0, TcpFlags.Syn), default)));
        byte[] ask = new byte[64];
        IpAddr gateway = BoxHarness.Ip("203.0.113.1");
        client.Inject(Tagged(ask[..NeighborWriter.WriteArpRequest(ask, BoxHarness.MacOf(gateway), gateway, box.Virtual)]));
        Assert.That((box.ToServer.Count, box.ToClient.Count, box.Count(Counter.ArpAnswered)), Is.EqualTo((0, 0, 0L)));
        Assert.That(box.Count(DropReason.VlanForeign), Is.EqualTo(3));
        Assert.That(server.Received, Is.Positive);
    }

    [Test]
    public void IPv4_options_pass()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "optional"u8);
        byte[] with = [.. frame[..34], 0x94, 4, 0, 0, .. frame[34..]];
        with[14] = 0x46;
        BinaryPrimitives.WriteUInt16BigEndian(with.AsSpan(16), (ushort)(with.Length - 14));
        InternetChecksum.SetIpv4Header(with.AsSpan(14, 24));
        client.Inject(with);
        Segment seen = server.Expect(server.Received, "optional", 1);
        Assert.That(seen.Frame[14], Is.EqualTo(0x46));
    }

    [Test]
    public void IPv6_extension_headers_pass()
    {
        using BoxHarness box = new(new BoxOptions { V6 = true });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "extended"u8);
        byte[] with = [.. frame[..54], 6, 0, 1, 4, 0, 0, 0, 0, .. frame[54..]];
        with[20] = 60;
        BinaryPrimitives.WriteUInt16BigEndian(with.AsSpan(18), (ushort)(with.Length - 54));
        client.Inject(with);
        server.Expect(server.Received, "extended", 1);
    }

    [Test]
    public void Fragments_are_put_together_and_leave_in_the_original_size([Values] bool v6, [Values] bool backwards)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] payload = [.. Enumerable.Range(0, 1300).Select(i => (byte)(i * 7))];
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack), payload);
        if (!v6) AllowFragments(frame);
        Packet packet = Parse(frame);
        Fragmenter fragmenter = new(packet, 600, 0x55);
        List<byte[]> pieces = [];
        byte[] piece = new byte[1600];
        while (fragmenter.TryNext(piece, out int length)) pieces.Add(piece[..length]);
        Assert.That(pieces, Has.Count.GreaterThan(2));
        if (backwards) pieces.Reverse();
        foreach (byte[] p in pieces) client.Inject(p);

        Reassembler together = new();
        byte[]? whole = null;
        while (box.ToServer.TryDequeue(out Segment? segment))
        {
            Assert.That(segment.IpLength, Is.LessThanOrEqualTo(600), "the path of the original size is known to carry it");
            Packet part = Parse(segment.Frame);
            if (together.Add(part, box.Now, out WholePacket done, out _) == FragmentVerdict.Whole) whole = done.Frame.Bytes.ToArray();
        }
        Assert.That(whole, Is.Not.Null);
        Segment result = new(whole!, default);
        Assert.That(result.ChecksumRight, Is.True);
        Assert.That(result.Payload, Is.EqualTo(payload));
        Assert.That(result.Destination, Is.EqualTo(server.Real));
    }

    [Test]
    public void A_missing_fragment_is_given_up_after_a_second()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Splice();
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack), new byte[1000]);
        AllowFragments(frame);
        Packet packet = Parse(frame);
        Fragmenter fragmenter = new(packet, 600, 1);
        byte[] piece = new byte[1600];
        fragmenter.TryNext(piece, out int length);
        client.Inject(piece[..length]);
        box.Advance(1_500);
        Assert.That(box.Count(DropReason.FragmentTimeout), Is.EqualTo(1));
        box.ExpectSilence();
    }

    [Test]
    public void A_request_in_fragments_starts_the_splice()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        string request = "GET / HTTP/1.1\r\nHost: a\r\nCookie: " + new string('x', 900) + "\r\n\r\n";
        byte[] frame = client.Frame(client.Spec(1, TcpFlags.Ack), TcpEnd.Bytes(request));
        AllowFragments(frame);
        Packet packet = Parse(frame);
        Fragmenter fragmenter = new(packet, 600, 9);
        byte[] piece = new byte[1600];
        while (fragmenter.TryNext(piece, out int length)) client.Inject(piece[..length]);
        box.Accept().Expect(1, request, 1);
    }

    [Test]
    public void Packet_too_big_from_the_client_side_reaches_the_server_in_its_own_numbers([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Say(new string('x', 1400));
        Segment big = client.Expect();
        byte[] error = Error(box, LinkRole.External, big, v6 ? "2001:db8:9::9" : "198.51.100.99", 1280);
        Assert.That(box.Inject(LinkRole.External, error), Is.Empty);
        Segment told = box.ToServer.Dequeue();
        Packet packet = Parse(told.Frame);
        Assert.That((told.Destination, packet.Icmp.IsPacketTooBig, packet.Icmp.Mtu), Is.EqualTo((server.Real, true, 1280u)));
        Assert.That(packet.Icmp.TryGetQuote(out IcmpQuote quote, out _), Is.True);
        Assert.That((quote.Source, quote.SourcePort, quote.Destination, quote.DestinationPort, quote.Seq.Value), Is.EqualTo((server.Real, BoxHarness.RealPort, box.ClientAddress, client.Port, server.Isn + 1)));
        Assert.That(box.Count(Counter.IcmpTranslated), Is.EqualTo(1));
    }

    [Test]
    public void Packet_too_big_from_the_server_side_reaches_the_client_and_hides_the_inside()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        client.Say(new string('x', 1400));
        Segment big = server.Expect();
        Assert.That(box.Inject(LinkRole.Internal, Error(box, LinkRole.Internal, big, "192.168.1.77", 1300)), Is.Empty);
        Segment told = box.ToClient.Dequeue();
        Packet packet = Parse(told.Frame);
        Assert.That(packet.Icmp.TryGetQuote(out IcmpQuote quote, out _), Is.True);
        Assert.That((told.Source, told.Destination, quote.Destination, quote.Seq.Value), Is.EqualTo((box.Virtual, box.ClientAddress, box.Virtual, client.Isn + (uint)ClientEnd.Request.Length + 1)));
    }

    [Test]
    public void Packet_too_big_with_a_bogus_sequence_is_dropped()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Say(new string('x', 1400));
        Segment big = client.Expect();
        BinaryPrimitives.WriteUInt32BigEndian(big.Frame.AsSpan(14 + 20 + 4), big.RawSeq + 10_000_000);
        Assert.That(box.Inject(LinkRole.External, Error(box, LinkRole.External, big, "198.51.100.99", 1280)), Is.EqualTo(new[] { DropReason.IcmpQuoteOutOfWindow }));
        box.ExpectSilence();
    }

    [Test]
    public void An_ICMP_error_about_nothing_of_ours_is_dropped()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Say("x");
        Segment seen = client.Expect();
        BinaryPrimitives.WriteUInt16BigEndian(seen.Frame.AsSpan(14 + 20 + 2), 4711);
        Assert.That(box.Inject(LinkRole.External, Error(box, LinkRole.External, seen, "198.51.100.99", 1280)), Is.EqualTo(new[] { DropReason.IcmpQuoteUnknown }));
        box.ExpectSilence();
    }

    [Test]
    public void What_is_too_long_for_the_way_out_is_answered_with_packet_too_big([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] frame = server.Frame(server.Spec(1, TcpFlags.Ack, ack: client.Next), new byte[1600]);
        Assert.That(server.Inject(frame), Is.EqualTo(new[] { DropReason.TooLongForEgress }));
        client.ExpectNothing();
        Segment told = box.ToServer.Dequeue();
        Packet packet = Parse(told.Frame);
        Assert.That((told.Destination, packet.Icmp.IsPacketTooBig, packet.Icmp.Mtu), Is.EqualTo((server.Real, true, 1500u)));
        Assert.That(packet.Icmp.TryGetQuote(out IcmpQuote quote, out _), Is.True);
        Assert.That((quote.Source, quote.Seq.Value), Is.EqualTo((server.Real, server.Isn + 1)), "in its own numbers");
    }

    [Test]
    public void A_super_frame_of_fitting_segments_is_not_too_long()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        foreach ((ushort size, bool fits) in new (ushort, bool)[] { (1448, true), (1449, false) })
        {
            byte[] frame = new byte[10_000];
            int length = FrameWriter.WriteTcpPartial(frame, server.Spec(1, TcpFlags.Ack, ack: client.Next), new byte[size * 4], size, out VnetHeader vnet);
            server.Inject(frame[..length], vnet);
            Assert.That(box.ToClient.Count, Is.EqualTo(fits ? 1 : 0));
            box.ToClient.Clear();
        }
    }

    [Test]
    public void Malformed_frames_are_dropped_by_name()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Splice();
        byte[] good = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "x"u8);
        byte[] shortTcp = [.. good];
        shortTcp[14 + 20 + 12] = 0x40;
        byte[] longIp = [.. good];
        longIp[17] = 0xff;
        byte[] alien = [.. good];
        (alien[12], alien[13]) = (0x88, 0xcc);
        Assert.That(client.Inject(good[..20]), Is.EqualTo(new[] { DropReason.FrameTooShort }).Or.EqualTo(new[] { DropReason.Ipv4HeaderMalformed }));
        Assert.That(client.Inject(shortTcp), Is.EqualTo(new[] { DropReason.TcpHeaderMalformed }));
        Assert.That(client.Inject(longIp), Is.EqualTo(new[] { DropReason.IpLengthExceedsFrame }).Or.EqualTo(new[] { DropReason.Ipv4ChecksumWrong }));
        Assert.That(client.Inject(alien), Is.EqualTo(new[] { DropReason.UnknownEtherType }));
        box.ExpectSilence();
    }

    private static Packet Parse(byte[] frame)
    {
        Assert.That(Packet.TryParse(frame, out Packet packet, out DropReason reason), Is.True, reason.ToString());
        return packet;
    }

    internal static void AllowFragments(byte[] frame)
    {
        frame[20] = 0;
        InternetChecksum.SetIpv4Header(frame.AsSpan(14, 20));
    }

    // A router on the way complains about a frame that the box had sent.
    internal static byte[] Error(BoxHarness box, LinkRole role, Segment about, string router, int mtu)
    {
        Packet packet = Parse(about.Frame);
        byte[] error = new byte[1600];
        int length = IcmpWriter.WriteError(error, packet, IcmpError.PacketTooBig, BoxHarness.Ip(router), new MacAddress(0x0600_0000_0099), box.Links[(int)role].OwnMac, mtu);
        Assert.That(length, Is.GreaterThan(0));
        return error[..length];
    }
}
