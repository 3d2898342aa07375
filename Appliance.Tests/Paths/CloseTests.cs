using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 12, Close: every way in which a connection ends, until the tables are empty again.</summary>
public sealed class CloseTests(int workers, bool astray) : BoxTests(workers, astray)
{
    private static SpliceState StateOf(BoxHarness box)
    {
        int cursor = 0;
        int[] found = new int[8];
        int count = box.Box.Splices.Walk(ref cursor, found, 1 << 20);
        return count == 0 ? SpliceState.Free : box.Box.Splices.Record(found[0]).State;
    }

    private static void CloseBoth(BoxHarness box, ClientEnd client, ServerEnd server)
    {
        server.Received = client.Next;
        server.Say("bye", TcpFlags.Fin);
        client.Expect(1, "bye", client.Next, TcpFlags.Ack | TcpFlags.Fin);
        client.Fin();
        server.Expect(server.Received, "", server.Next, TcpFlags.Ack | TcpFlags.Fin);
        server.Ack();
        client.ExpectAck(client.Next);
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.TimeWait));
    }

    [Test]
    public void After_both_FINs_the_record_stays_60_seconds([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        CloseBoth(box, client, server);
        box.Advance(59_000);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
        box.Advance(1_100);
        box.ExpectSilence();
        box.ExpectEmpty();
        Assert.That(box.Count(Counter.SplicesClosed), Is.EqualTo(1));
    }

    [Test]
    public void The_server_goes_on_after_the_clients_FIN()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        client.Fin();
        server.Expect(server.Received, "", 1, TcpFlags.Ack | TcpFlags.Fin);
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.HalfClosed));
        server.Ack();
        client.ExpectAck(client.Next);
        for (int i = 0; i < 50; i++)
        {
            box.Advance(10_000);
            server.Say("0123456789");
            client.Expect(1 + 10 * i, "0123456789", client.Next);
            client.Ack();
            server.Expect();
        }
        server.Fin();
        client.Expect(client.Received, "", client.Next, TcpFlags.Ack | TcpFlags.Fin);
        client.Ack();
        server.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.TimeWait));
    }

    [Test]
    public void The_client_goes_on_after_the_servers_FIN()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Received = client.Next;
        server.Fin();
        client.Expect(1, "", client.Next, TcpFlags.Ack | TcpFlags.Fin);
        client.Ack();
        server.Expect();
        for (int i = 0; i < 20; i++)
        {
            client.Say("0123456789");
            server.Expect(server.Received, "0123456789", 2);
            server.Ack();
            client.Expect();
        }
        client.Fin();
        server.Expect(server.Received, "", 2, TcpFlags.Ack | TcpFlags.Fin);
        server.Ack();
        client.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.TimeWait));
    }

    [Test]
    public void A_half_closed_connection_that_falls_silent_ends_after_four_minutes()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        client.Fin();
        server.Expect();
        box.Advance(239_000);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
        box.Advance(6_000);
        box.ExpectEmpty();
    }

    [Test]
    public void Simultaneous_FINs()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        client.Fin();
        server.Fin();
        server.Expect(server.Received, "", 1, TcpFlags.Ack | TcpFlags.Fin);
        client.Expect();
        server.Send(2, default(ReadOnlySpan<byte>), TcpFlags.Ack, ack: client.Next);
        client.Send(client.Next, default(ReadOnlySpan<byte>), TcpFlags.Ack, ack: 2);
        client.Expect();
        server.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.TimeWait));
    }

    [Test]
    public void Repeated_FINs_pass_in_every_state()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        for (int i = 0; i < 3; i++)
        {
            client.Send(client.Next, default(ReadOnlySpan<byte>), TcpFlags.Ack | TcpFlags.Fin);
            Assert.That(server.Expect().Has(TcpFlags.Fin), Is.True);
        }
        client.Next++;
        server.Received = client.Next;
        for (int i = 0; i < 3; i++)
        {
            server.Send(1, default(ReadOnlySpan<byte>), TcpFlags.Ack | TcpFlags.Fin);
            Assert.That(client.Expect().Has(TcpFlags.Fin), Is.True);
        }
        client.Received = 2;
        client.Ack();
        server.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.TimeWait));
        // The last ACK was lost.
        box.Advance(200);
        server.Send(1, default(ReadOnlySpan<byte>), TcpFlags.Ack | TcpFlags.Fin);
        Assert.That(client.Expect().Has(TcpFlags.Fin), Is.True);
        client.Ack();
        server.Expect();
        box.ExpectSilence();
    }

    [Test]
    public void What_the_end_of_a_connection_overtook_is_not_passed_on()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        CloseBoth(box, client, server);
        Assert.That(client.Send(1, default(ReadOnlySpan<byte>), TcpFlags.Ack, ack: 1), Is.EqualTo(new[] { DropReason.OvertakenByClose }), "an old acknowledgment");
        Assert.That(server.Send(1, "bye"), Is.EqualTo(new[] { DropReason.OvertakenByClose }), "data sent twice");
        Assert.That(server.Send(5, default(ReadOnlySpan<byte>), TcpFlags.Ack), Is.EqualTo(new[] { DropReason.OvertakenByClose }), "the last acknowledgment twice");
        box.ExpectSilence();
        box.Advance(200);
        server.Send(5, default(ReadOnlySpan<byte>), TcpFlags.Ack);
        client.Expect();
        server.Send(5, default(ReadOnlySpan<byte>), TcpFlags.Rst);
        client.ExpectReset();
    }

    [Test]
    public void A_FIN_that_overtakes_its_data()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Received = client.Next;
        server.Send(11, "klm", TcpFlags.Ack | TcpFlags.Fin);
        client.Expect();
        server.Send(1, "0123456789");
        client.Expect();
        client.Received = 15;
        client.Fin();
        server.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.HalfClosed));
        server.Next = 15;
        server.Received = client.Next;
        server.Ack();
        client.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.TimeWait));
    }

    [Test]
    public void A_last_ACK_lost_after_the_record_is_gone_is_answered_with_a_reset()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        CloseBoth(box, client, server);
        box.Advance(62_000);
        server.Send(1, "bye", TcpFlags.Ack | TcpFlags.Fin);
        Assert.That(server.ExpectReset().Seq, Is.EqualTo(server.Received));
        Assert.That(box.ToClient.Dequeue().Flags, Is.EqualTo(TcpFlags.Ack), "it is asked for its numbers");
        client.Send(client.Next - 1, default(ReadOnlySpan<byte>), TcpFlags.Ack | TcpFlags.Fin);
        client.ExpectReset();
        box.ExpectSilence();
    }

    [Test]
    public void An_exact_reset_passes_and_the_record_stays_ten_seconds([Values] bool fromClient, [Values] bool withData)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Received = client.Next;
        server.Ack();
        client.Expect();
        TcpEnd from = fromClient ? client : server, to = fromClient ? server : client;
        from.Send(from.Next, withData ? "why" : "", TcpFlags.Rst | TcpFlags.Ack);
        Segment reset = to.ExpectReset();
        Assert.That((reset.Seq, reset.Payload.Length), Is.EqualTo((to.Received, withData ? 3 : 0)));
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Reset));
        box.Advance(9_000);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
        box.Advance(1_200);
        box.ExpectEmpty();
    }

    [Test]
    public void Forged_bytes_and_a_reset_behind_them_end_nothing([Values(100_000, int.MaxValue, -5000)] int off)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Ack(client.Next);
        client.Expect();
        client.MayShrink = true;
        client.Send(client.Next + off, "x");
        client.Send(client.Next + off + 1, "", TcpFlags.Rst);
        box.ToServer.Clear();
        box.Advance(15_000);
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Established));
    }

    [Test]
    public void An_inexact_reset_passes_and_ends_nothing([Values(-50, 50, 5_000_000)] int off)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        client.Send(client.Next + off, "", TcpFlags.Rst);
        Assert.That(server.ExpectReset().Seq, Is.EqualTo(server.Received + off));
        if (off == 50) server.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Established));
        // The true end's challenge ACK finds its way.
        server.Ack();
        client.Expect();
        client.Say("alive");
        server.Expect(server.Received, "alive", 1);
    }

    [Test]
    public void A_SYN_in_established_passes_translated_so_that_the_server_challenges_it()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        client.Send(client.Spec(700, TcpFlags.Syn));
        Segment syn = server.Expect();
        Assert.That((syn.Flags, syn.Seq), Is.EqualTo((TcpFlags.Syn, 700)));
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Established));
        server.Ack(client.Next);
        client.Expect();
        client.Say("alive");
        server.Expect(server.Received, "alive", 1);
    }

    [Test]
    public void A_crashed_client_comes_back_on_the_same_tuple_by_the_servers_challenge()
    {
        using BoxHarness box = new();
        ClientEnd old = box.Client();
        ServerEnd server = old.Splice();
        ClientEnd client = box.Client(a: 77_000_000);
        client.Syn();
        server.Expect();
        server.Ack(old.Next);
        Segment challenge = box.ToClient.Dequeue();
        // The new client answers the challenge as RFC 9293 asks.
        TcpSegmentSpec reset = client.Spec(0, TcpFlags.Rst);
        (reset.Seq, reset.HasTimestamps) = (new TcpSeq(challenge.RawAck), false);
        client.Send(reset);
        Assert.That(server.ExpectReset().Seq, Is.EqualTo(server.Received));
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Reset));
        ServerEnd again = client.Splice(d: 5);
        again.Say("answer");
        client.Expect(1, "answer", client.Next);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
    }

    [TestCase(5_000_000u)]
    [TestCase(10u)]
    public void A_tuple_in_time_wait_is_used_again_with_a_higher_or_lower_ISN(uint a)
    {
        using BoxHarness box = new();
        ClientEnd old = box.Client(a: 1_000_000);
        CloseBoth(box, old, old.Splice());
        box.Advance(2_000);
        ClientEnd client = box.Client(a: a);
        ServerEnd server = client.Splice(d: 123);
        server.Received = client.Next;
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
        client.Ack();
        server.Expect();
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Established));
        box.Advance(61_000);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1), "the old record's time must not end the new one");
    }

    [Test]
    public void A_tuple_is_used_again_after_a_reset([Values(500_000_000u, 10u)] uint a, [Values] bool isKnown)
    {
        using BoxHarness box = new();
        ClientEnd old = box.Client(a: 1_000_000);
        ServerEnd gone = old.Splice();
        if (isKnown)
        {
            gone.Ack(old.Next);
            old.Expect();
        }
        old.Send(old.Next, "", TcpFlags.Rst);
        gone.ExpectReset();
        // In doubt, the server is asked.
        if (!isKnown) gone.Expect();
        ClientEnd client = box.Client(a: a);
        ServerEnd server = client.Splice(d: 123);
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
        box.Advance(20_000);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
    }

    [Test]
    public void Strays_of_the_old_connection_do_not_disturb_the_new_one()
    {
        using BoxHarness box = new();
        ClientEnd old = box.Client(a: 1_000_000);
        ServerEnd before = old.Splice();
        CloseBoth(box, old, before);
        ClientEnd client = box.Client(a: 9_000_000);
        client.Connect();
        old.Send(old.Next - 1, default(ReadOnlySpan<byte>), TcpFlags.Ack | TcpFlags.Fin);
        while (box.ToServer.Count > 0) box.ToServer.Dequeue();
        while (box.ToClient.Count > 0) box.ToClient.Dequeue();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept(d: 5);
        server.Expect(1, ClientEnd.Request, 1);
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
    }

    [Test]
    public void A_linger_0_abort_in_the_middle_of_the_answer()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Received = client.Next;
        for (int i = 0; i < 5; i++)
        {
            server.Say(new string('x', 1000));
            client.Expect();
        }
        client.Received = 2001;
        client.Send(client.Next, "", TcpFlags.Rst | TcpFlags.Ack);
        server.ExpectReset();
        // What is still under way is answered by the client's own stack.
        server.Say("late");
        Segment late = client.Expect();
        client.Send(client.Spec(late.Ack, TcpFlags.Rst));
        server.ExpectReset();
        box.Advance(11_000);
        box.ExpectEmpty();
    }

    [Test]
    public void An_idle_connection_ends_after_two_hours_and_four_minutes_in_silence()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Splice();
        box.Advance(7_439_000);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
        box.Advance(7_000);
        box.ExpectSilence();
        box.ExpectEmpty();
        Assert.That(box.Count(Counter.SplicesExpired), Is.EqualTo(1));
    }

    [Test]
    public void A_reset_before_the_splice_from_the_client_leaves_no_trace()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Connect();
        client.Send(1, "", TcpFlags.Rst | TcpFlags.Ack);
        box.ExpectSilence();
        box.ExpectEmpty();
    }

    [Test]
    public void When_the_table_runs_short_time_wait_ends_early()
    {
        using BoxHarness box = new(new BoxOptions { Splices = 64 });
        for (int i = 0; i < 200; i++)
        {
            ClientEnd client = box.Client((ushort)(20000 + i));
            ServerEnd server = client.Splice();
            server.Received = client.Next;
            client.Fin();
            server.Expect();
            server.Received = client.Next;
            server.Fin();
            client.Expect();
            client.Received = 2;
            client.Ack();
            server.Expect();
            box.Advance(100);
        }
        Assert.That(box.Count(DropReason.TableFull), Is.Zero);
    }
}
