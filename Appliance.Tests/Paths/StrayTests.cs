using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>What belongs to no connection: strangers' ports, reals' own traffic, the box's own addresses.</summary>
public sealed class StrayTests(int workers, bool astray) : BoxTests(workers, astray)
{
    [Test]
    public void A_port_without_a_service_is_refused_with_a_reset([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        TcpSegmentSpec syn = client.Spec(0, TcpFlags.Syn);
        syn.DestinationPort = 81;
        Assert.That(client.Send(syn), Is.EqualTo(new[] { DropReason.NoSuchService }));
        Segment reset = box.ToClient.Dequeue();
        Assert.That((reset.Flags, reset.RawAck, reset.SourcePort), Is.EqualTo((TcpFlags.Rst | TcpFlags.Ack, client.Isn + 1, (ushort)81)));
    }

    [Test]
    public void Resets_for_strangers_are_rate_limited()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        for (int i = 0; i < 1000; i++)
        {
            TcpSegmentSpec syn = client.Spec(i, TcpFlags.Syn);
            syn.DestinationPort = 81;
            client.Send(syn);
        }
        Assert.That(box.ToClient.Count, Is.InRange(90, 110));
        box.ToClient.Clear();
        box.Advance(1000);
        TcpSegmentSpec later = client.Spec(0, TcpFlags.Syn);
        later.DestinationPort = 81;
        client.Send(later);
        Assert.That(box.ToClient.Count, Is.EqualTo(1));
    }

    [Test]
    public void A_reset_is_never_answered_with_a_reset()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Send(client.Spec(5, TcpFlags.Rst));
        client.Send(client.Spec(5, TcpFlags.Rst | TcpFlags.Ack, ack: 9));
        box.ExpectSilence();
    }

    [Test]
    public void Strays_right_after_a_membership_change_are_not_reset()
    {
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        ClientEnd client = box.Client();
        box.Advance(10_000);
        box.Post(usable: 1, live: 1);
        Assert.That(client.Send(500, "stray", ack: 900), Is.EqualTo(new[] { DropReason.NoRecord }));
        box.ExpectSilence();
        box.Advance(2_100);
        client.Send(500, "stray", ack: 900);
        client.ExpectReset();
    }

    [Test]
    public void What_reals_send_elsewhere_is_dropped_with_its_reason()
    {
        using BoxHarness box = new();
        ServerEnd server = box.Client().Splice();
        byte[] udp = server.Frame(server.Spec(1, TcpFlags.Ack), new byte[20]);
        udp[14 + 9] = Packet.ProtocolUdp;
        (udp[38], udp[39]) = (0, 60);
        InternetChecksum.SetIpv4Header(udp.AsSpan(14, 20));
        Assert.That(server.Inject(udp), Is.EqualTo(new[] { DropReason.RealUnexpected }).Or.EqualTo(new[] { DropReason.UdpHeaderMalformed }));
        TcpSegmentSpec elsewhere = server.Spec(1, TcpFlags.Ack);
        elsewhere.SourcePort = 9999;
        Assert.That(server.Send(elsewhere), Is.EqualTo(new[] { DropReason.RealUnexpected }));
        Assert.That(server.Send(server.Spec(0, TcpFlags.Syn)), Is.EqualTo(new[] { DropReason.SynOfRealRefused }).Or.EqualTo(new[] { DropReason.SegmentInvalid }));
        TcpSegmentSpec syn = server.Spec(0, TcpFlags.Syn);
        syn.DestinationPort = 5;
        Assert.That(server.Send(syn), Is.EqualTo(new[] { DropReason.SynOfRealRefused }));
        box.ExpectSilence();
    }

    [Test]
    public void A_reals_segment_of_no_connection_is_reset()
    {
        using BoxHarness box = new();
        ServerEnd server = box.Client().Splice();
        TcpSegmentSpec stray = server.Spec(1, TcpFlags.Ack);
        stray.DestinationPort = 5;
        Assert.That(server.Send(stray), Is.EqualTo(new[] { DropReason.NoRecord }));
        Segment reset = box.ToServer.Dequeue();
        Assert.That((reset.Flags, reset.RawSeq), Is.EqualTo((TcpFlags.Rst, stray.Ack.Value)));
    }

    [Test]
    public void The_client_of_a_response_that_nobody_knows_is_made_to_say_its_numbers_and_reset([Values] bool v6)
    {
        BoxOptions options = new() { V6 = v6 };
        ServerEnd server;
        ClientEnd client;
        using (BoxHarness gone = new(options))
        {
            client = gone.Client();
            server = client.Splice();
        }
        using BoxHarness box = new(options);
        server.Through(box).Send(1, "answer", ack: client.Next);
        Segment reset = box.ToServer.Dequeue(), question = box.ToClient.Dequeue();
        Assert.That((reset.Flags, reset.RawSeq), Is.EqualTo((TcpFlags.Rst, client.Isn + (uint)client.Next)));
        Assert.That((question.Flags, question.RawAck, question.Source, question.Destination), Is.EqualTo((TcpFlags.Ack, client.Isn + (uint)client.Next, box.Virtual, box.ClientAddress)));
        Assert.That((question.Payload.Length, question.Options.HasTimestamps, question.Options.TsEcr), Is.EqualTo((0, true, server.TsEcr)));
        TcpEnd waits = client.Through(box);
        waits.Send(client.Next, default(ReadOnlySpan<byte>), TcpFlags.Ack);
        Segment end = box.ToClient.Dequeue();
        Assert.That((end.Flags, end.RawSeq), Is.EqualTo((TcpFlags.Rst, client.PeerIsn + (uint)client.Received)));
        box.ExpectSilence();
    }

    [Test]
    public void Frames_for_other_MACs_and_groups_are_left_to_the_host()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        byte[] frame = client.Frame(client.Spec(0, TcpFlags.Syn));
        new MacAddress(0x0600_1111_1111).Write(frame);
        Assert.That(client.Inject(frame), Is.EqualTo(new[] { DropReason.NotForUs }));
        MacAddress.Broadcast.Write(frame);
        Assert.That(client.Inject(frame), Is.EqualTo(new[] { DropReason.NotForUs }));
        box.ExpectSilence();
    }

    [TestCase("203.0.113.10", true)]
    [TestCase("203.0.113.2", true)]
    [TestCase("203.0.113.3", false)]
    public void ARP_is_answered_for_own_addresses_only(string address, bool answered)
    {
        using BoxHarness box = new();
        byte[] ask = new byte[64];
        int length = NeighborWriter.WriteArpRequest(ask, BoxHarness.MacOf(BoxHarness.Ip("203.0.113.1")), BoxHarness.Ip("203.0.113.1"), BoxHarness.Ip(address));
        box.Inject(LinkRole.External, ask[..length]);
        // The harness swallows ARP replies: the counter tells.
        Assert.That(box.Count(Counter.ArpAnswered), Is.EqualTo(answered ? 1 : 0));
    }

    [Test]
    public void Invented_neighbours_do_not_keep_the_gateway_out()
    {
        const int capacity = 16384;
        using BoxHarness box = new(new BoxOptions { V6 = true, Workers = 1, Astray = false });
        ClientEnd client = box.Client();
        TcpSegmentSpec syn = client.Spec(0, TcpFlags.Syn);
        for (int i = 0; i < capacity + 500; i++)
        {
            syn.Source = new IpAddr(box.Virtual.High, 0x1_0000u + (ulong)i);
            box.Inject(LinkRole.External, client.Frame(syn));
        }
        Assert.That(box.ToClient, Has.Count.EqualTo(capacity + 500));
        Assert.That(box.Count(Counter.NeighborsEvicted), Is.GreaterThan(500));
        box.ToClient.Clear();
        client.Splice();
    }

    [Test]
    public void A_ping_of_the_service_is_answered()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        byte[] frame = client.Frame(client.Spec(0, TcpFlags.Ack), new byte[12]);
        Span<byte> icmp = frame.AsSpan(34);
        icmp.Clear();
        icmp[0] = IcmpView.V4Echo;
        frame[23] = Packet.ProtocolIcmp;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(icmp[2..], (ushort)~InternetChecksum.Sum(icmp));
        InternetChecksum.SetIpv4Header(frame.AsSpan(14, 20));
        client.Inject(frame);
        Segment reply = box.ToClient.Dequeue();
        Assert.That((reply.IsIcmp, reply.Source, reply.Transport[0]), Is.EqualTo((true, box.Virtual, IcmpView.V4EchoReply)));
    }

    [Test]
    public void A_box_that_is_no_proxy_and_has_no_proxy_says_so()
    {
        using BoxHarness box = new(new BoxOptions { Roles = Appliance.DataPath.Paths.BoxRoles.Sharer, Nodes = 2, Backend = null });
        box.Post(usable: 0, live: 1);
        Assert.That(box.Client().Syn(), Is.EqualTo(new[] { DropReason.NoUsableProxy }));
        box.ExpectSilence();
    }
}
