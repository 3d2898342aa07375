using System.Text;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 12, Request: the no-ack rule, early acknowledgment, and the bytes that are ours to deliver.</summary>
public sealed class RequestTests(int workers, bool astray) : BoxTests(workers, astray)
{
    private static string Long(int bytes) => "GET / HTTP/1.1\r\nHost: a\r\nCookie: " + new string('x', bytes - 37) + "\r\n\r\n";

    /// <summary>The bytes of the stream, in order, from what arrived at the server; asserts that copies agree.</summary>
    private static string Collect(BoxHarness box, ServerEnd server, int from = 1)
    {
        SortedDictionary<int, byte> bytes = [];
        while (box.ToServer.Count > 0)
        {
            Segment segment = server.Expect();
            for (int i = 0; i < segment.Payload.Length; i++)
            {
                if (bytes.TryGetValue(segment.Seq + i, out byte old)) Assert.That(segment.Payload[i], Is.EqualTo(old), "a byte is sent with two values");
                bytes[segment.Seq + i] = segment.Payload[i];
            }
        }
        int next = from;
        foreach (int at in bytes.Keys) Assert.That(at, Is.EqualTo(next++), "a hole");
        return Encoding.Latin1.GetString([.. bytes.Values]);
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(5)]
    [TestCase(9)]
    public void A_head_in_several_segments_is_collected_without_an_ACK(int parts)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        string request = Long(2700);
        int size = (request.Length + parts - 1) / parts;
        for (int at = 0; at < request.Length; at += size)
        {
            box.ExpectSilence();
            client.Say(request[at..Math.Min(request.Length, at + size)]);
        }
        client.ExpectNothing();
        ServerEnd server = box.Accept();
        Assert.That(Collect(box, server), Is.EqualTo(request));
        Assert.That(box.Count(Counter.EarlyAcks), Is.Zero);
    }

    [Test]
    public void Thirty_full_segments_are_acknowledged_early_every_ten()
    {
        using BoxHarness box = new(new BoxOptions { Backend = new Offer { Window = 65000 } });
        ClientEnd client = box.Client();
        client.Connect();
        string request = Long(30 * 1460);
        int sent = 0, acked = 0;
        for (int i = 0; i < 30; i++, sent += 1460)
        {
            client.Send(1 + sent, request.Substring(sent, 1460));
            // A scaled window says edges in steps: where the edge must stand still a few bytes are left for later.
            if (i % 10 == 9 && i < 29) Assert.That(acked = client.Expect().Ack, Is.InRange(1 + sent + 1460 - 127, 1 + sent + 1460));
            else client.ExpectNothing();
        }
        ServerEnd server = box.Accept();
        Assert.That(Collect(box, server), Is.EqualTo(request));
        Assert.That(box.Count(Counter.EarlyAcks), Is.EqualTo(2));
        // The client was told so much: the server's first acknowledgments must not take it back.
        server.Ack(1461);
        client.ExpectAck(acked);
        server.Ack(1 + 25 * 1460);
        client.ExpectAck(1 + 25 * 1460);
    }

    [Test]
    public void One_byte_segments()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        foreach (char c in ClientEnd.Request) client.Say(c.ToString());
        Assert.That(Collect(box, box.Accept()), Is.EqualTo(ClientEnd.Request));
    }

    [Test]
    public void Out_of_order_and_twice()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        string request = Long(600);
        foreach (int at in new[] { 300, 100, 500, 400, 200, 0, 300, 100 })
        {
            if (box.ToServer.Count == 0) client.Send(1 + at, request.Substring(at, 100));
        }
        Assert.That(Collect(box, box.Accept()), Is.EqualTo(request));
    }

    [Test]
    public void More_holes_than_are_kept_cost_a_retransmission_and_nothing_else()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        string request = Long(1300);
        for (int at = 100; at < 1300; at += 200) client.Send(1 + at, request.Substring(at, 100));
        Assert.That(box.Count(DropReason.BytesOutOfOrder), Is.EqualTo(2));
        for (int at = 0; at < 1300; at += 100)
        {
            if (box.ToServer.Count == 0) client.Send(1 + at, request.Substring(at, 100));
        }
        Assert.That(Collect(box, box.Accept()), Is.EqualTo(request));
    }

    [Test]
    public void Overlap_with_another_segmentation()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Send(1, ClientEnd.Request[..10]);
        client.Send(6, ClientEnd.Request[5..20]);
        client.Send(1, ClientEnd.Request);
        Assert.That(Collect(box, box.Accept()), Is.EqualTo(ClientEnd.Request));
    }

    [Test]
    public void Of_overlapping_contents_the_first_wins()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Send(5, ClientEnd.Request[4..12]);
        client.Send(1, "PUT ########.1\r\nHost: b\r\n");
        client.Send(1, ClientEnd.Request);
        Assert.That(Collect(box, box.Accept()), Is.EqualTo("PUT / HTTP/1.1\r\nHost: b\r\n\r\n"));
    }

    [Test]
    public void An_early_ACK_comes_after_20_ms_without_progress([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        box.Advance(19);
        client.ExpectNothing();
        box.Advance(3);
        client.ExpectAck(client.Next);
        Assert.That((box.Count(Counter.EarlyAcks), box.Count(Counter.EarlyAcksWithoutPeer)), Is.EqualTo((1, 1)));
        client.Say("Host: a\r\n\r\n");
        ServerEnd server = box.Accept();
        Assert.That(Collect(box, server), Is.EqualTo(ClientEnd.Request));
        // Ours to deliver: again after 20 ms, until the server has it.
        box.Advance(25);
        server.Expect(1, "GET / HTTP/1.1\r\n", 1);
        server.Ack(17);
        client.ExpectAck(17);
        box.Advance(1_000);
        box.ExpectSilence();
        Assert.That(box.Box.Handshakes.Count, Is.Zero);
    }

    [Test]
    public void A_head_that_fills_the_first_window_of_the_pool_is_refused_at_once()
    {
        // More may not be promised than every backend will take: the right edge would shrink at the splice.
        using BoxHarness box = new(new BoxOptions { Backend = new Offer { Window = 4000 } });
        ClientEnd client = box.Client();
        int edge = client.Connect().Window;
        string request = Long(7000);
        int sent = 0;
        for (int round = 0; round < 100 && sent < 4000; round++)
        {
            while (sent < edge)
            {
                int take = Math.Min(1000, edge - sent);
                client.Send(1 + sent, request.Substring(sent, take));
                sent += take;
            }
            box.Advance(22);
            if (box.ToClient.Count == 0 || box.ToClient.Peek().Has(TcpFlags.Rst)) break;
            Segment ack = client.Expect();
            edge = ack.Ack - 1 + (ack.Window << client.PeerScale);
        }
        Assert.That(edge, Is.EqualTo(4000));
        Assert.That(client.ExpectReset().Seq, Is.EqualTo(1));
        Assert.That(box.Count(DropReason.HeadTooLong), Is.EqualTo(1));
        box.ExpectEmpty();
    }

    [Test]
    public void A_head_longer_than_what_the_SYN_ACK_promised_comes_through()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        int edge = client.Connect().Window, sent = 0;
        string request = Long(20_000);
        Assert.That(edge, Is.LessThan(20_000));
        for (int round = 0; round < 100 && box.ToServer.Count == 0; round++)
        {
            while (sent < edge && sent < request.Length)
            {
                int take = Math.Min(1448, Math.Min(edge, request.Length) - sent);
                client.Send(1 + sent, request.Substring(sent, take));
                sent += take;
            }
            if (box.ToServer.Count == 0) box.Advance(5);
            while (box.ToClient.Count > 0)
            {
                Segment ack = client.Expect();
                edge = ack.Ack - 1 + (ack.Window << client.PeerScale);
            }
        }
        Assert.That(Collect(box, box.Accept()), Is.EqualTo(request));
    }

    [Test]
    public void A_lost_early_ACK_is_said_again_when_the_client_repeats()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        box.Advance(22);
        client.ExpectAck(17);
        client.Send(1, "GET / HTTP/1.1\r\n");
        client.ExpectAck(17);
        client.Say("Host: a\r\n\r\n");
        ServerEnd server = box.TakeSyn();
        client.Send(1, "GET / HTTP/1.1\r\n");
        client.ExpectAck(17);
        server.SynAck();
        Assert.That(Collect(box, server), Is.EqualTo(ClientEnd.Request));
    }

    [Test]
    public void A_head_that_never_ends_is_refused()
    {
        using BoxHarness box = new(new BoxOptions { Backend = new Offer { Window = 65535 } });
        ClientEnd client = box.Client();
        client.Connect();
        string request = "GET / HTTP/1.1\r\nHost: a\r\n" + string.Concat(Enumerable.Range(0, 800).Select(i => $"X-{i:000}: {new string('y', 90)}\r\n"));
        int at = 0;
        while (at < request.Length && box.ToClient.All(s => !s.Has(TcpFlags.Rst)))
        {
            int take = Math.Min(1460, request.Length - at);
            client.Send(1 + at, request.Substring(at, take));
            at += take;
        }
        while (box.ToClient.Count > 1) client.Expect();
        client.ExpectReset();
        box.ExpectEmpty();
    }

    [Test]
    public void A_malformed_head_is_refused_with_an_exact_reset()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        Assert.That(client.Say("\x16\x03\x01 not http"), Does.Contain(DropReason.RequestMalformed));
        Segment reset = client.ExpectReset();
        Assert.That((reset.Seq, reset.Has(TcpFlags.Ack)), Is.EqualTo((1, true)));
        box.ExpectSilence();
        box.ExpectEmpty();
    }

    [Test]
    public void A_retransmission_while_the_backend_is_asked_is_not_sent_twice()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.TakeSyn();
        client.Send(1, ClientEnd.Request);
        client.Send(1, ClientEnd.Request);
        box.ExpectSilence();
        server.SynAck();
        server.Expect(1, ClientEnd.Request, 1);
        box.ExpectSilence();
        // And one after it goes through the splice.
        client.Send(1, ClientEnd.Request);
        server.Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void Bytes_behind_the_head_go_with_it_and_after_it()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.TakeSyn();
        client.Say("GET /second");
        server.SynAck();
        Assert.That(Collect(box, server), Is.EqualTo(ClientEnd.Request + "GET /second"));
        client.Say(" HTTP/1.1\r\n");
        Assert.That(server.Expect().Seq, Is.EqualTo(1 + ClientEnd.Request.Length + 11));
    }

    [TestCase(false, 28)]
    [TestCase(true, 52)]
    public void A_PROXY_header_stands_in_front_until_it_is_acknowledged(bool v6, int prefix)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6, SendsProxyHeader = true });
        ClientEnd client = box.Client();
        client.Connect();
        int full = v6 ? 1440 - 12 : 1460 - 12;
        string request = Long(full);
        client.Say(request);
        ServerEnd server = box.Accept();
        Assert.That(server.FirstSyn.RawSeq, Is.EqualTo(unchecked(client.Isn - (uint)prefix)), "c = a - P");
        byte[] header = new byte[prefix];
        FlowKey key = new(box.ClientAddress, box.Virtual, client.Port, BoxHarness.ServicePort, Packet.ProtocolTcp);
        ProxyV2.Write(header, key, default);
        string whole = Encoding.Latin1.GetString(header) + request;
        Assert.That(Collect(box, server), Is.EqualTo(whole));

        // Lost: what is ours comes again after 20 and 40 ms, the request is the client's to repeat.
        box.Advance(22);
        Assert.That(Collect(box, server), Is.EqualTo(whole[..prefix]));
        client.Send(1, request);
        Assert.That(server.Expect().Seq, Is.EqualTo(1 + prefix));
        box.Advance(41);
        Assert.That(Collect(box, server), Is.EqualTo(whole[..prefix]));

        // The floor: the client has never sent the prefix and must not see an ACK below its a + 1.
        server.Ack(1);
        client.ExpectAck(1);
        server.Ack(10);
        client.ExpectAck(1);
        server.Ack(1 + prefix);
        client.ExpectAck(1);
        server.Ack(1 + whole.Length);
        client.ExpectAck(1 + request.Length);
        box.Advance(5_000);
        box.ExpectSilence();
        Assert.That(box.Box.Handshakes.Count, Is.Zero);
        server.Received = 1 + whole.Length;
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
        client.Say("more");
        server.Expect(1 + whole.Length, "more", 7);
    }

    [Test]
    public void A_SACK_of_bytes_that_are_ours_does_not_reach_the_client()
    {
        using BoxHarness box = new(new BoxOptions { SendsProxyHeader = true });
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        Collect(box, server);
        uint c = server.PeerIsn;
        server.Send(1, default, TcpFlags.Ack, ack: 1, extraOptions: SackOption(c, (11, 41)));
        Segment ack = client.ExpectAck(1);
        Assert.That(ack.Sack(client.Isn), Is.EqualTo(new[] { (1, 13) }));
    }

    // Y = b - d: 0 and 2^31 by choice of d; a at the wrap.
    [TestCase(uint.MaxValue, 9000u)]
    [TestCase(uint.MaxValue - 5, 0u)]
    [TestCase(0u, uint.MaxValue)]
    [TestCase(0x7fff_fff0u, 0x8000_0000u)]
    [TestCase(1000u, null)]
    public void Sequence_numbers_wrap(uint a, uint? fixedD)
    {
        foreach (uint y in new uint[] { 0, 0x8000_0000, 1 })
        {
            using BoxHarness box = new();
            ClientEnd client = box.Client(a: a);
            client.Connect();
            uint d = fixedD ?? unchecked(client.PeerIsn - y);
            client.Say(ClientEnd.Request);
            ServerEnd server = box.Accept(d);
            server.Expect(1, ClientEnd.Request, 1);
            for (int i = 0; i < 4; i++)
            {
                server.Say("0123456789");
                client.Expect(1 + 10 * i, "0123456789", client.Next);
                client.Say("abcdefghij");
                server.Expect(1 + ClientEnd.Request.Length + 10 * i, "abcdefghij", server.Next);
            }
            if (fixedD is not null) break;
        }
    }

    [Test]
    public void A_request_that_is_collected_over_a_pause_of_the_client_keeps_its_window()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        for (int at = 0; at < ClientEnd.Request.Length; at += 7)
        {
            client.Send(1 + at, ClientEnd.Request[at..Math.Min(ClientEnd.Request.Length, at + 7)]);
            box.Advance(25);
            while (box.ToClient.Count > 0) client.Expect();
        }
        Assert.That(Collect(box, box.Accept()), Does.StartWith(ClientEnd.Request[..7]));
    }

    internal static byte[] SackOption(uint isn, params (int Left, int Right)[] blocks)
    {
        byte[] option = new byte[2 + 8 * blocks.Length];
        (option[0], option[1]) = (TcpOptions.KindSack, (byte)option.Length);
        for (int i = 0; i < blocks.Length; i++)
        {
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(option.AsSpan(2 + i * 8), isn + (uint)blocks[i].Left);
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(option.AsSpan(6 + i * 8), isn + (uint)blocks[i].Right);
        }
        return option;
    }
}
