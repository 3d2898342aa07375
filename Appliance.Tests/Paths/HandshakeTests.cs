using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 12, Handshake: the client's side, from its SYN to the splice.</summary>
public sealed class HandshakeTests(int workers, bool astray) : BoxTests(workers, astray)
{
    [TestCase(false)]
    [TestCase(true)]
    public void A_request_and_its_answer_pass(bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        Segment synAck = client.Connect();
        Assert.That((synAck.Options.WindowScale, synAck.Options.SackPermitted, synAck.Options.HasTimestamps), Is.EqualTo(((byte)7, true, true)));
        box.ExpectSilence();
        Assert.That(client.Say(ClientEnd.Request), Does.Contain(DropReason.BytesHeldUnacknowledged));
        client.ExpectNothing();
        ServerEnd server = box.Accept();
        server.Expect(1, ClientEnd.Request, 1);
        server.Say("HTTP/1.1 200 OK\r\n\r\n");
        client.Expect(1, "HTTP/1.1 200 OK\r\n\r\n", client.Next);
        client.Ack();
        server.ExpectAck(server.Next);
        box.ExpectSilence();
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
        Assert.That(box.Box.Handshakes.Count, Is.Zero);
        Assert.That(box.Count(Counter.SplicesCreated), Is.EqualTo(1));
    }

    [Test]
    public void A_repeated_SYN_is_answered_with_the_same_cookie()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Syn();
        uint first = client.ExpectSynAck().RawSeq;
        box.Advance(1000);
        client.Syn();
        Assert.That(client.ExpectSynAck().RawSeq, Is.EqualTo(first));
        Assert.That(box.Box.Handshakes.Count, Is.Zero, "no state for a SYN");
    }

    [Test]
    public void A_repeated_SYN_that_is_late_changes_nothing()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET / HT");
        Assert.That(client.Syn(), Is.EqualTo(new[] { DropReason.SegmentInvalid }));
        client.Say("TP/1.1\r\nHost: a\r\n\r\n");
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void Data_stands_in_for_a_lost_last_ACK()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Syn();
        client.ExpectSynAck();
        client.Say(ClientEnd.Request);
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void Data_in_a_SYN_is_not_acknowledged_and_not_kept()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Syn("GET /wrong");
        Assert.That(client.ExpectSynAck().Ack, Is.EqualTo(1));
        client.Ack();
        client.Say(ClientEnd.Request);
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void A_fast_open_option_is_ignored()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Syn("GET /", [TcpOptions.KindFastOpen, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        Segment synAck = client.ExpectSynAck();
        Assert.That((synAck.Ack, synAck.Options.HasFastOpen), Is.EqualTo((1, false)));
    }

    [Test]
    public void A_cookie_is_good_for_two_windows_then_answered_with_a_reset()
    {
        using BoxHarness box = new();
        ClientEnd early = box.Client(40001), late = box.Client(40002);
        early.Syn();
        early.ExpectSynAck();
        late.Syn();
        late.ExpectSynAck();
        box.Advance(64_000);
        early.Say(ClientEnd.Request);
        box.Accept().Expect(1, ClientEnd.Request, 1);
        box.Advance(64_000);
        Assert.That(late.Say(ClientEnd.Request), Is.EqualTo(new[] { DropReason.NoRecord }));
        Segment reset = late.ExpectReset();
        Assert.That(reset.Seq, Is.EqualTo(1));
        box.ExpectSilence();
    }

    [Test]
    public void A_forged_cookie_is_answered_with_a_reset_and_keeps_no_state([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client(), lately = box.Client(40002);
        Assert.That(client.Send(1, ClientEnd.Request, ack: 2), Is.EqualTo(new[] { DropReason.NoRecord }));
        Assert.That(client.ExpectReset().Seq, Is.EqualTo(2), "sequence as it acknowledged");
        // A tuple whose SYN was answered lately: it may be early, and is dropped in silence.
        lately.Syn();
        lately.ExpectSynAck();
        Assert.That(lately.Send(2, ClientEnd.Request), Is.EqualTo(new[] { DropReason.NoRecord }));
        box.ExpectSilence();
        box.ExpectEmpty();
    }

    [Test]
    public void Later_data_waits_for_the_segment_that_starts_the_request()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Send(9, ClientEnd.Request[8..]);
        box.ExpectSilence();
        client.Send(1, ClientEnd.Request[..8]);
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    [TestCase(TcpFlags.Syn | TcpFlags.Fin)]
    [TestCase(TcpFlags.Syn | TcpFlags.Rst)]
    public void Impossible_flags_are_dropped(TcpFlags flags)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        Assert.That(client.Send(client.Spec(0, flags)), Is.EqualTo(new[] { DropReason.SynFlagsInvalid }));
        box.ExpectSilence();
    }

    [Test]
    public void A_SYN_ACK_from_a_client_is_refused()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        Assert.That(client.Send(client.Spec(0, TcpFlags.Syn | TcpFlags.Ack)), Does.Contain(DropReason.NoRecord));
        Assert.That(client.ExpectReset().Has(TcpFlags.Ack), Is.False);
        box.ExpectEmpty();
    }

    [Test]
    public void A_client_that_gives_up_before_the_splice_is_forgotten()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET / HT");
        Assert.That(box.Box.Handshakes.Count, Is.EqualTo(1));
        client.Send(client.Next, default(ReadOnlySpan<byte>), TcpFlags.Rst);
        box.ExpectSilence();
        box.ExpectEmpty();
    }

    [TestCase(-1, false)]
    [TestCase(1, true)]
    [TestCase(3, true)]
    [TestCase(5000, true)]
    [TestCase(200_000, false)]
    public void A_reset_with_a_wrong_sequence_ends_no_handshake(int seq, bool asks)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET");
        box.Advance(25);
        client.ExpectAck(4);
        client.Say(" / HT");
        Assert.That(client.Send(seq, default(ReadOnlySpan<byte>), TcpFlags.Rst), Is.EqualTo(new[] { DropReason.RstOutOfWindow }));
        if (asks) client.ExpectAck(4);
        box.ExpectSilence();
        client.Say("TP/1.1\r\nHost: a\r\n\r\n");
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void Who_is_gone_answers_the_doubt_about_its_reset_exactly()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET / HT");
        // Bytes before it were lost.
        client.Send(client.Next + 100, default(ReadOnlySpan<byte>), TcpFlags.Rst);
        Segment doubt = client.ExpectAck(1);
        client.Send(doubt.Ack, default(ReadOnlySpan<byte>), TcpFlags.Rst);
        box.ExpectSilence();
        box.ExpectEmpty();
    }

    [Test]
    public void A_client_that_gives_up_while_the_backend_is_asked_resets_it()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.TakeSyn();
        client.Send(client.Next, default(ReadOnlySpan<byte>), TcpFlags.Rst);
        Assert.That(server.ExpectReset().Seq, Is.EqualTo(1));
        box.ExpectEmpty();
    }

    [Test]
    public void A_FIN_before_any_byte_is_closed_without_a_backend()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Fin();
        client.Expect(1, "", 2, TcpFlags.Fin | TcpFlags.Ack);
        client.Ack();
        box.ExpectSilence();
        box.ExpectEmpty();
    }

    [Test]
    public void A_FIN_before_any_byte_is_answered_again_when_it_is_repeated()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Fin();
        client.Expect();
        client.Send(1, default(ReadOnlySpan<byte>), TcpFlags.Ack | TcpFlags.Fin, ack: 1);
        client.Expect(1, "", 2, TcpFlags.Fin | TcpFlags.Ack);
        client.Ack();
        box.ExpectEmpty();
    }

    [Test]
    public void A_FIN_in_the_middle_of_the_head_is_refused_at_once()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET / HT", TcpFlags.Fin);
        Assert.That(client.ExpectReset().Seq, Is.EqualTo(1));
        box.ExpectEmpty();
    }

    [Test]
    public void A_FIN_with_the_request_goes_with_it()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request, TcpFlags.Fin);
        ServerEnd server = box.Accept();
        server.Expect(1, ClientEnd.Request, 1, TcpFlags.Ack | TcpFlags.Fin);
        server.Say("answer", TcpFlags.Fin);
        client.Expect(1, "answer", client.Next, TcpFlags.Ack | TcpFlags.Fin);
        client.Ack();
        server.ExpectAck(server.Next);
        box.Advance(61_000);
        box.ExpectEmpty();
    }

    [Test]
    public void A_silent_client_is_refused_after_30_seconds()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say("GET ");
        box.Advance(29_000);
        client.ExpectAck(5);
        box.ExpectSilence();
        box.Advance(2_000);
        Assert.That(client.ExpectReset().Seq, Is.EqualTo(1));
        Assert.That(box.Count(DropReason.HeadTimeout), Is.EqualTo(1));
        box.ExpectEmpty();
    }

    [Test]
    public void A_full_pool_of_head_buffers_refuses_SYNs_and_leaves_others_alone()
    {
        using BoxHarness box = new(new BoxOptions { Workers = 1, Handshakes = 2 });
        for (ushort port = 1; port <= 2; port++) box.Client(port).Connect();
        Assert.That(box.Client(3).Syn(), Is.EqualTo(new[] { DropReason.HeadBuffersExhausted }));
        box.ExpectSilence();
    }

    [Test]
    public void One_source_gets_its_share_of_head_buffers()
    {
        using BoxHarness box = new(new BoxOptions { Workers = 1, HandshakesPerSource = 1 });
        box.Client(1).Connect();
        Assert.That(box.Client(2).Syn(), Is.EqualTo(new[] { DropReason.SourceShareExceeded }));
        box.ExpectSilence();
    }

    [Test]
    public void A_flood_of_SYNs_keeps_no_state()
    {
        using BoxHarness box = new();
        for (ushort port = 1; port <= 500; port++)
        {
            ClientEnd client = box.Client(port);
            client.Syn();
            client.ExpectSynAck();
        }
        box.ExpectEmpty();
    }

    [Test]
    public void A_draining_box_takes_no_new_connections()
    {
        using BoxHarness box = new();
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.Drain });
        Assert.That(box.Client().Syn(), Is.EqualTo(new[] { DropReason.Draining }));
    }

    [Test]
    public void A_simultaneous_SYN_of_a_real_is_refused()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.TakeSyn();
        Assert.That(server.Send(server.Spec(0, TcpFlags.Syn)), Is.EqualTo(new[] { DropReason.SynOfRealRefused }));
        server.SynAck();
        server.Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void A_zero_window_at_splice_time_is_passed_to_the_server()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Syn();
        client.ExpectSynAck();
        client.MayShrink = true;
        client.Window = 0;
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        Assert.That(server.Expect(1, ClientEnd.Request, 1).Window, Is.Zero);
        client.Ack(window: 500);
        Assert.That(server.ExpectAck(1).Window, Is.EqualTo(500));
    }
}
