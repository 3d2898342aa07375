using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>What a RST does whose number is not what its receiver acknowledged last (RFC 5961 3.2): only the receiver can tell.</summary>
public sealed class ResetTests(int workers, bool astray) : BoxTests(workers, astray)
{
    [Test]
    public void A_reset_behind_bytes_in_flight_ends_the_splice_once_its_receiver_is_gone([Values] bool fromClient)
    {
        using BoxHarness box = new();
        (TcpEnd from, TcpEnd to) = Reset(box, fromClient);
        Segment question = to.Expect();
        Assert.That((question.Flags, question.Seq, question.Ack), Is.EqualTo((TcpFlags.Ack, to.Received - 4, from.Received)), "below what it acknowledged");
        to.Send(question.Ack, "", TcpFlags.Rst);
        from.ExpectReset();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Reset));
        box.Advance(11_000);
        box.ExpectEmpty();
    }

    [Test]
    public void If_its_receiver_missed_it_the_sender_says_it_again([Values] bool fromClient)
    {
        using BoxHarness box = new();
        (TcpEnd from, TcpEnd to) = Reset(box, fromClient);
        to.Expect();
        to.Ack();
        Segment answer = from.Expect();
        from.Send(answer.Ack, "", TcpFlags.Rst);
        Assert.That(to.ExpectReset().Seq, Is.EqualTo(to.Received));
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Reset));
    }

    [Test]
    public void A_question_that_is_lost_comes_again_and_its_answer_counts()
    {
        using BoxHarness box = new();
        (TcpEnd from, TcpEnd to) = Reset(box, fromClient: true);
        to.Expect();
        box.Advance(3_100);
        Segment last = to.Expect();
        for (int i = 1; i < 3; i++) last = to.Expect();
        to.Send(last.Ack, "", TcpFlags.Rst);
        from.ExpectReset();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Reset));
        box.Advance(5_000);
        box.ExpectSilence();
    }

    [Test]
    public void A_forged_one_costs_ten_questions_and_nothing_else([Values] bool withData)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Ack(client.Next);
        client.Expect();
        if (withData) client.Send(client.Next, "x");
        client.Send(client.Next + 1, "", TcpFlags.Rst);
        client.Send(client.Next + 2, "", TcpFlags.Rst);
        box.ToServer.Clear();
        box.Advance(30_000);
        Assert.That(box.ToServer, Has.Count.EqualTo(9), "the tenth was the first");
        Assert.That(box.Count(Counter.ResetsDoubted), Is.EqualTo(1));
        box.ToServer.Clear();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Established));
        client.Say(withData ? "x and more" : "more");
        server.Received = client.Next;
        Assert.That(box.ToServer.Dequeue().Payload.Length, Is.GreaterThanOrEqualTo(4));
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
    }

    [Test]
    public void While_in_doubt_the_connection_goes_on_if_it_lives()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Ack(client.Next);
        client.Expect();
        client.Send(client.Next + 1, "", TcpFlags.Rst);
        server.ExpectReset();
        server.Expect();
        for (int i = 0; i < 20; i++)
        {
            int at = server.Received;
            client.Say("ask");
            server.Expect(at, "ask", server.Next);
            at = client.Received;
            server.Say("tell");
            client.Expect(at, "tell", client.Next);
        }
        box.ExpectSilence();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Established));
    }

    [Test]
    public void A_forged_FIN_is_forgotten_when_more_is_acknowledged([Values(-20, 0, 4)] int off)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Ack(client.Next);
        client.Expect();
        client.Send(client.Next + off, "", TcpFlags.Ack | TcpFlags.Fin);
        box.ToServer.Clear();
        client.Say("and ten more bytes");
        server.Received = client.Next;
        box.ToServer.Clear();
        server.Ack();
        client.Expect();
        server.Fin();
        client.Received++;
        client.Expect();
        client.Ack();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.HalfClosed), "the client has not finished");
        client.Fin();
        box.ToServer.Clear();
        server.Received++;
        server.Ack();
        client.Expect();
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.TimeWait));
    }

    // Three bytes that their receiver has not acknowledged yet, and a RST right behind them, as an end sends it that closes with unread bytes.
    private static (TcpEnd From, TcpEnd To) Reset(BoxHarness box, bool fromClient)
    {
        ClientEnd client = box.Client();
        ServerEnd server = client.Splice();
        server.Ack(client.Next);
        client.Expect();
        server.Received = client.Next;
        (TcpEnd from, TcpEnd to) = fromClient ? (client, server) : ((TcpEnd)server, (TcpEnd)client);
        from.Say("bye");
        to.Expect();
        to.Received += 3;
        from.Send(from.Next, "", TcpFlags.Rst | TcpFlags.Ack);
        Assert.That(to.ExpectReset().Seq, Is.EqualTo(to.Received));
        Assert.That(StateOf(box), Is.EqualTo(SpliceState.Established));
        return (from, to);
    }

    private static SpliceState StateOf(BoxHarness box)
    {
        int cursor = 0;
        int[] found = new int[1];
        Assert.That(box.Box.Splices.Walk(ref cursor, found, box.Box.Splices.Capacity), Is.EqualTo(1));
        return box.Box.Splices.Record(found[0]).State;
    }
}
