using System.Text;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Paths.RequestTests;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 12, Data: what passes a splice, field by field. The ends judge TSval, TSecr and right edge of every segment.</summary>
public sealed class DataTests(int workers, bool astray) : BoxTests(workers, astray)
{
    [Test]
    public void SACK_blocks_are_translated_both_ways([Values(1, 2, 3)] int count, [Values] bool odd)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        (int, int)[] blocks = [.. Enumerable.Range(0, count).Select(i => (100 + 40 * i, 120 + 40 * i))];
        byte[] pad = odd ? [1] : [];
        client.Send(client.Next, default, TcpFlags.Ack, extraOptions: [.. pad, .. SackOption(client.PeerIsn, blocks)]);
        Assert.That(server.ExpectAck(1).Sack(server.Isn), Is.EqualTo(blocks));
        server.Send(server.Next, default, TcpFlags.Ack, ack: client.Next, extraOptions: [.. pad, .. SackOption(server.PeerIsn, blocks)]);
        Assert.That(client.ExpectAck(client.Next).Sack(client.Isn), Is.EqualTo(blocks));
    }

    [Test]
    public void Four_SACK_blocks_without_timestamps()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client(offer: new Offer { Timestamps = false });
        ServerEnd server = client.Splice();
        (int, int)[] blocks = [(9, 10), (100, 200), (300, 400), (500, 600)];
        client.Send(client.Next, default, TcpFlags.Ack, extraOptions: SackOption(client.PeerIsn, blocks));
        Assert.That(server.ExpectAck(1).Sack(server.Isn), Is.EqualTo(blocks));
    }

    [Test]
    public void A_duplicate_SACK_below_the_acknowledgment_is_translated_too()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Say(new string('x', 1000));
        client.Expect();
        client.Received = 1001;
        client.Send(client.Next, default, TcpFlags.Ack, extraOptions: SackOption(client.PeerIsn, (1, 501)));
        Assert.That(server.ExpectAck(1001).Sack(server.Isn), Is.EqualTo(new[] { (1, 501) }));
    }

    [Test]
    public void The_first_answer_may_echo_our_SYN_ACK()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        server.Expect(1, ClientEnd.Request, 1);
        box.Advance(500);
        // The client has heard nothing since the SYN-ACK: what it echoes is ours, the server never sent it. Its judge sees that it gets its own.
        client.Say("more");
        Segment more = server.Expect(server.Received, "more", 1);
        Assert.That(more.Options.TsEcr, Is.EqualTo(server.TsVal - 500));
    }

    [Test]
    public void Timestamps_go_on_from_what_the_client_saw()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        uint shown = client.Connect().Options.TsVal;
        box.Advance(300);
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        server.Expect(1, ClientEnd.Request, 1);
        server.Say("a");
        Segment first = client.Expect(1, "a", client.Next);
        Assert.That(first.Options.TsVal - shown, Is.InRange(0u, 400u));
        box.Advance(1000);
        server.Say("b");
        Assert.That(client.Expect(2, "b", client.Next).Options.TsVal - first.Options.TsVal, Is.EqualTo(1000), "the server's clock runs on");
    }

    [Test]
    public void The_servers_clock_may_be_a_microsecond_clock_and_wrap()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.TakeSyn();
        TcpSegmentSpec synAck = server.Spec(0, TcpFlags.Syn | TcpFlags.Ack, ack: 1, window: 29200);
        (synAck.Mss, synAck.WindowScale, synAck.SackPermitted, synAck.TsVal, synAck.TsEcr) = (1460, 7, true, 0xffff_fff0, server.FirstSyn.Options.TsVal);
        server.Send(synAck);
        server.Expect(1, ClientEnd.Request, 1);
        uint last = 0;
        for (uint i = 0; i < 5; i++)
        {
            TcpSegmentSpec spec = server.Spec(1 + (int)i, TcpFlags.Ack);
            spec.TsVal = unchecked(0xffff_fff0 + 1000 * i);
            spec.TsEcr = client.TsVal;
            server.Send(spec, "x"u8);
            uint seen = client.Expect(1 + (int)i, "x", client.Next).Options.TsVal;
            if (i > 0) Assert.That(unchecked(seen - last), Is.EqualTo(1000));
            last = seen;
            client.Ack();
            Assert.That(server.ExpectAck(2 + (int)i).Options.TsEcr, Is.EqualTo(spec.TsVal));
        }
    }

    // Client's scale, the pool's at probing, this server's now: promised windows are those of the pool, the server's own shift differs.
    [TestCase(0, 7, 7)]
    [TestCase(14, 0, 0)]
    [TestCase(7, 7, 14)]
    [TestCase(7, 0, 14)]
    [TestCase(14, 14, 14)]
    public void Windows_are_translated_between_scales_and_saturate(int clientScale, int poolScale, int serverScale)
    {
        using BoxHarness box = new(new BoxOptions { Backend = new Offer { Scale = (byte)poolScale } });
        ClientEnd client = box.Client(offer: new Offer { Scale = (byte)clientScale });
        ServerEnd server = client.Splice(server: new Offer { Scale = (byte)serverScale });
        client.MayShrink = server.MayShrink = true;
        foreach (ushort window in new ushort[] { 0, 1, 300, 65535 })
        {
            client.Ack(window: window);
            Assert.That((long)server.ExpectAck(1).Window << server.PeerScale, Is.EqualTo((long)window << clientScale), "the client's window is exact");
            server.Ack(client.Next, window);
            long bytes = (long)window << serverScale, most = (long)ushort.MaxValue << poolScale;
            Assert.That((long)client.ExpectAck(client.Next).Window << client.PeerScale, Is.EqualTo(Math.Min(bytes, most)));
        }
    }

    [Test]
    public void A_server_that_scales_less_than_the_pool_still_reads_right()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice(server: new Offer { Scale = null, Window = 29200 });
        server.MayShrink = true;
        Assert.That(server.PeerScale, Is.Zero);
        client.Ack(window: 60);
        Assert.That(server.ExpectAck(1).Window, Is.EqualTo(60 << 7), "unscaled bytes");
        server.Ack(client.Next, 29200);
        Assert.That(client.ExpectAck(client.Next).Window << client.PeerScale, Is.InRange(29200 - 127, 29200));
    }

    [Test]
    public void The_right_edge_that_was_promised_does_not_shrink()
    {
        // The judge of every end holds this all the time; here with the handshake's own segments and an early ACK.
        using BoxHarness box = new(new BoxOptions { Backend = new Offer { Window = 5001 } });
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        box.Advance(25);
        client.ExpectAck(17);
        client.Say("Host: a\r\n\r\n");
        ServerEnd server = box.Accept(offer: new Offer { Window = 5001 });
        server.Expect(1, ClientEnd.Request, 1);
        server.Ack(client.Next);
        client.ExpectAck(client.Next);
    }

    [Test]
    public void Zero_window_probes_and_keepalives_pass()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.MayShrink = true;
        server.Say("0123456789");
        client.Expect(1, "0123456789", client.Next);
        client.Ack(window: 0);
        Assert.That(server.ExpectAck(11).Window, Is.Zero);
        server.Send(10, default(ReadOnlySpan<byte>), TcpFlags.Ack);
        Assert.That(client.Expect().Seq, Is.EqualTo(10), "keepalive: one below");
        client.Ack(window: 0);
        server.Expect();
        server.Send(11, "x", TcpFlags.Ack);
        Assert.That(client.Expect().Payload, Is.EqualTo("x"u8.ToArray()), "window probe with a byte");
    }

    [Test]
    public void Number_of_duplicate_ACKs_is_preserved()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        for (int i = 0; i < 200; i++)
        {
            client.Ack();
            server.ExpectAck(1);
        }
        box.ExpectSilence();
    }

    [Test]
    public void An_ACK_storm_is_broken_off_and_data_still_passes()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        int passed = 0;
        for (int i = 0; i < 200; i++)
        {
            client.Ack();
            server.Ack(client.Next);
            passed += box.ToServer.Count;
            while (box.ToServer.Count > 0) server.Expect();
            while (box.ToClient.Count > 0) client.Expect();
        }
        Assert.That(passed, Is.InRange(60, 80));
        Assert.That(box.Count(DropReason.AckStorm), Is.GreaterThan(100));
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
        client.Ack();
        server.ExpectAck(7);
    }

    [Test]
    public void Urgent_data_and_its_pointer_pass()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        TcpSegmentSpec spec = client.Spec(client.Next, TcpFlags.Ack | TcpFlags.Urg);
        spec.UrgentPointer = 3;
        client.Send(spec, "abc"u8);
        Segment urgent = server.Expect(server.Received, "abc", 1, TcpFlags.Ack | TcpFlags.Urg);
        Assert.That(urgent.Urgent, Is.EqualTo(3));
    }

    [Test]
    public void ECN_bits_and_DSCP_pass_and_the_TTL_falls()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        TcpSegmentSpec spec = client.Spec(client.Next, TcpFlags.Ack | TcpFlags.Ece | TcpFlags.Cwr);
        (spec.TrafficClass, spec.HopLimit, spec.Identification) = (0xbb, 9, 0x1234);
        client.Send(spec, "abc"u8);
        Segment seen = server.Expect(server.Received, "abc", 1, TcpFlags.Ack | TcpFlags.Ece | TcpFlags.Cwr);
        Assert.That((seen.Frame[15], seen.Ttl, seen.Frame[18], seen.Frame[19]), Is.EqualTo(((byte)0xbb, (byte)8, (byte)0x12, (byte)0x34)));
    }

    [Test]
    public void A_used_up_TTL_is_dropped()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Splice();
        TcpSegmentSpec spec = client.Spec(client.Next, TcpFlags.Ack);
        spec.HopLimit = 1;
        Assert.That(client.Send(spec), Is.EqualTo(new[] { DropReason.TtlExpired }));
        box.ExpectSilence();
    }

    [Test]
    public void What_comes_in_corrupted_leaves_corrupted([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        box.JudgeChecksums = false;
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack | TcpFlags.Psh), "abcdef"u8);
        frame[^2] ^= 0x40;
        client.Inject(frame);
        Assert.That(server.Expect().ChecksumRight, Is.False);
    }

    [Test]
    public void Reordered_and_repeated_segments_pass_one_by_one()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Send(6, "fghij", ack: client.Next);
        server.Send(1, "abcde", ack: client.Next);
        server.Send(1, "abcde", ack: client.Next);
        Assert.That(new[] { client.Expect().Seq, client.Expect().Seq, client.Expect().Seq }, Is.EqualTo(new[] { 6, 1, 1 }));
    }

    [TestCase(new byte[] { 8, 0, 1, 1 })]
    [TestCase(new byte[] { 1, 1, 5, 1 })]
    public void Malformed_options_on_a_splice_are_dropped_and_the_connection_lives(byte[] options)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client(offer: Offer.Plain);
        ServerEnd server = client.Splice();
        Assert.That(client.Send(client.Next, default, TcpFlags.Ack, extraOptions: options), Is.EqualTo(new[] { DropReason.TcpOptionsMalformed }));
        client.Say("more");
        server.Expect(server.Received, "more", 1);
    }

    [Test]
    public void The_wrong_side_cannot_use_a_connections_tuple()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        byte[] frame = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "spoof"u8);
        box.Links[1].OwnMac.Write(frame);
        Assert.That(box.Inject(LinkRole.Internal, frame), Is.EqualTo(new[] { DropReason.RealUnexpected }).Or.EqualTo(new[] { DropReason.SpoofedSource }));
        box.ExpectSilence();
        Assert.That(server.Real, Is.Not.EqualTo(box.ClientAddress));
    }

    [Test]
    public void Many_megabytes_pass_the_floor_and_the_sign_bit()
    {
        // The floors must be gone long before 2^31 bytes: jump there in steps below it.
        using BoxHarness box = new(new BoxOptions { SendsProxyHeader = true });
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        Segment request = server.Expect();
        int p = request.Payload.Length - ClientEnd.Request.Length;
        server.Received = request.Payload.Length + 1;
        server.Say("a");
        client.Expect(1, "a", client.Next);
        client.Ack();
        server.Expect();
        box.Advance(1000);
        long sent = client.Next;
        for (int i = 0; i < 12; i++)
        {
            sent += 0x3000_0000;
            client.Send(unchecked((int)(uint)(sent - 1)), "z", TcpFlags.Ack);
            Assert.That(unchecked((uint)server.Expect().Seq), Is.EqualTo(unchecked((uint)(sent - 1 + p))));
            server.Send(server.Next, default(ReadOnlySpan<byte>), TcpFlags.Ack, ack: unchecked((int)(uint)(sent + p)));
            client.MayShrink = true;
            Assert.That(unchecked((uint)client.Expect().Ack), Is.EqualTo(unchecked((uint)sent)), $"step {i}");
        }
    }

    [Test]
    public void Bulk_both_ways_keeps_every_byte()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        StringBuilder down = new(), up = new();
        for (int i = 0; i < 300; i++)
        {
            string chunk = string.Concat(Enumerable.Repeat($"{i:0000}", 300));
            server.Received = client.Next;
            server.Say(chunk);
            down.Append(Encoding.ASCII.GetString(client.Expect(1 + 1200 * i, chunk, client.Next).Payload));
            client.Say(chunk);
            up.Append(Encoding.ASCII.GetString(server.Expect().Payload));
        }
        Assert.That(down.ToString(), Is.EqualTo(up.ToString()));
        Assert.That(box.Count(Counter.Rewritten), Is.EqualTo(600));
    }
}
