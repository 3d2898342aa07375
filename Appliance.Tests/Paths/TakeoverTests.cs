using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Paths.ScriptedPeer;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 5 and 11 from one box's view: flows that are another's, were another's, or whose owner died.</summary>
public sealed class TakeoverTests(int workers, bool astray) : BoxTests(workers, astray)
{
    private const ulong Both = 3;

    [Test]
    public void A_flow_of_another_owner_is_handed_to_it_and_what_lands_here_is_relayed_once()
    {
        using BoxHarness box = new(new BoxOptions { Nodes = 3 });
        ClientEnd client = box.Client(box.PortOwnedBy(1));
        client.Syn();
        Segment handed = box.ToClient.Dequeue();
        Assert.That(handed.DestinationMac, Is.EqualTo(BoxHarness.MacOfNode(1, LinkRole.External)));
        // As proxy: from another sharer, without a record.
        byte[] frame = client.Frame(client.Spec(1, TcpFlags.Ack), "data"u8);
        BoxHarness.MacOfNode(2, LinkRole.External).Write(frame.AsSpan(6));
        box.Inject(LinkRole.External, frame);
        Segment relayed = box.ToClient.Dequeue();
        Assert.That((relayed.DestinationMac, relayed.Payload), Is.EqualTo((BoxHarness.MacOfNode(1, LinkRole.External, FrameMark.Relayed), "data"u8.ToArray())));
        Assert.That(box.Count(Counter.Relayed), Is.EqualTo(1));
    }

    [Test]
    public void The_new_owner_relays_on_to_the_previous_one_and_never_twice()
    {
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        ushort port = box.PortOwnedBy(1);
        box.Advance(10_000);
        box.Post(usable: 1, live: Both);
        ClientEnd client = box.Client(port);
        client.Send(77, "data", ack: 5);
        Segment on = box.ToClient.Dequeue();
        Assert.That(on.DestinationMac, Is.EqualTo(BoxHarness.MacOfNode(1, LinkRole.External, FrameMark.RelayedOn)));
        byte[] frame = client.Frame(client.Spec(77, TcpFlags.Ack, ack: 5), "data"u8);
        box.Links[0].Macs[(int)FrameMark.RelayedOn].Write(frame);
        BoxHarness.MacOfNode(1, LinkRole.External).Write(frame.AsSpan(6));
        Assert.That(box.Inject(LinkRole.External, frame), Is.EqualTo(new[] { DropReason.NoRecord }));
        box.ExpectSilence();
    }

    [Test]
    public void A_choice_that_a_peer_announced_is_kept()
    {
        BoxOptions options = new() { Nodes = 2, Reals = 4 };
        (SpliceEvent query, BoxHarness box) = AskedAfterDeath(options);
        using (box)
        {
            IpAddr first = FirstChoice(options, query);
            SpliceCommand choice = new() { Kind = SpliceCommandKind.Choice, Attempt = 2, Record = query.Record };
            box.Tell(choice);
            box.Tell(new SpliceCommand { Kind = SpliceCommandKind.QueryDone, Ticket = query.Ticket });
            Assert.That(box.TakeSyn().Real, Is.Not.EqualTo(first));
        }
    }

    [Test]
    public void A_question_that_no_living_peer_answers_is_over_after_a_second()
    {
        (_, BoxHarness box) = AskedAfterDeath(new BoxOptions { Nodes = 2 });
        using (box)
        {
            box.Advance(500);
            box.ExpectSilence();
            box.Advance(540);
            box.Accept().Expect(1, ClientEnd.Request, 1);
        }
    }

    [Test]
    public void A_record_that_comes_with_the_answer_takes_the_request()
    {
        (SpliceEvent query, BoxHarness box) = AskedAfterDeath(new BoxOptions { Nodes = 2 });
        using (box)
        {
            SpliceRecord record = query.Record;
            (SpliceEvent model, _, _) = Elsewhere(new BoxOptions());
            SpliceCommand import = Import(model);
            (import.Record.Id, import.Record.ClientPort, import.Record.SourcePort) = (record.Id, record.ClientPort, record.ClientPort);
            (import.Record.A, import.Record.B, import.Record.C) = (record.A, record.B, record.A);
            import.Record.Y = unchecked(record.B - import.Record.D);
            import.Record.AckFloor = record.A + 1;
            import.Progress = default;
            box.Tell(import);
            box.Tell(new SpliceCommand { Kind = SpliceCommandKind.QueryDone, Ticket = query.Ticket });
            Assert.That(Text(box), Is.EqualTo(ClientEnd.Request));
            Assert.That(box.Box.Handshakes.Count, Is.Zero);
        }
    }

    [Test]
    public void An_earlier_connection_of_the_same_ports_is_no_answer([Values(SpliceState.TimeWait, SpliceState.Reset)] SpliceState left)
    {
        (SpliceEvent query, BoxHarness box) = AskedAfterDeath(new BoxOptions { Nodes = 2, Reals = 2 }, left);
        using (box)
        {
            box.Tell(new SpliceCommand { Kind = SpliceCommandKind.QueryDone, Ticket = query.Ticket });
            ServerEnd server = box.Accept();
            server.Expect(1, ClientEnd.Request, 1);
            Assert.That(box.Box.Splices.FindRecord(query.Record.Id), Is.Not.Negative);
        }
    }

    [Test]
    public void The_answer_that_this_one_has_ended_ends_the_handshake_also_where_its_record_finds_no_place()
    {
        (SpliceEvent query, BoxHarness box) = AskedAfterDeath(new BoxOptions { Nodes = 2, Reals = 2 }, SpliceState.TimeWait);
        using (box)
        {
            (SpliceEvent model, _, _) = Elsewhere(new BoxOptions());
            SpliceCommand import = Import(model);
            (import.Record.Id, import.Record.ClientPort, import.Record.SourcePort) = (query.Record.Id, query.Record.ClientPort, query.Record.ClientPort);
            (import.Record.A, import.Record.B, import.Record.State) = (query.Record.A, query.Record.B, SpliceState.Reset);
            box.Tell(import);
            box.Tell(new SpliceCommand { Kind = SpliceCommandKind.QueryDone, Ticket = query.Ticket });
            box.ExpectSilence();
            Assert.That(box.Box.Handshakes.Count, Is.Zero);
        }
    }

    [TestCase(-50, true)]
    [TestCase(1, true)]
    [TestCase(150, true)]
    [TestCase(400, false)]
    public void What_a_dead_box_said_is_passed_on_also_if_its_death_overtook_it(int comesAfterMs, bool passedOn)
    {
        (SpliceEvent record, _, _) = Elsewhere(new BoxOptions());
        using BoxHarness box = new(new BoxOptions { Nodes = 3 });
        box.Advance(25);
        if (comesAfterMs < 0) box.Tell(Import(record) with { Node = 1 });
        box.Post(usable: 5, live: 5);
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.NodeDied, Node = 1 });
        box.Advance(Math.Max(1, comesAfterMs));
        if (comesAfterMs > 0) box.Tell(Import(record) with { Node = 1 });
        box.Advance(5);
        SpliceEvent[] told = [.. box.Events().Where(e => e.Kind == SpliceEventKind.Changed && e.Record.Id == record.Record.Id)];
        Assert.That(told, Has.Length.EqualTo(passedOn ? 1 : 0));
    }

    [Test]
    public void What_a_dead_box_said_often_is_passed_on_once_and_again_when_it_said_more()
    {
        (SpliceEvent record, _, _) = Elsewhere(new BoxOptions());
        using BoxHarness box = new(new BoxOptions { Nodes = 3 });
        box.Tell(Import(record) with { Node = 1 });
        for (int i = 0; i < 50; i++)
        {
            box.Tell(Import(record) with { Kind = SpliceCommandKind.Progress, Node = 1 });
            box.Advance(10);
        }
        box.Post(usable: 5, live: 5);
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.NodeDied, Node = 1 });
        box.Advance(5);
        Assert.That(box.Count(Counter.NewsRepeated), Is.EqualTo(1));
        box.Tell(Import(record) with { Kind = SpliceCommandKind.Progress, Node = 1 });
        box.Advance(5);
        Assert.That(box.Count(Counter.NewsRepeated), Is.EqualTo(2));
    }

    [Test]
    public void Owned_bytes_of_a_dead_owner_are_delivered_by_the_next()
    {
        using BoxHarness owner = new(new BoxOptions { Nodes = 2 });
        ClientEnd client = OwnClient(owner);
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        owner.Advance(25);
        SpliceEvent owned = Single(owner, SpliceEventKind.OwnedBytes);
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        box.Advance(25);
        box.Tell(Owned(owned));
        Confirm(owner, owned);
        client.ExpectAck(17);
        box.Post(usable: 1, live: 1);
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.NodeDied, Node = 1 });
        // The client goes on behind what it was told.
        client.Through(box).Send(17, "Host: a\r\n\r\n");
        ServerEnd server = box.Accept();
        Assert.That(Text(box), Is.EqualTo(ClientEnd.Request));
        box.Advance(25);
        server.Expect(1, "GET / HTTP/1.1\r\n", 1);
        server.Ack(17);
        Assert.That(box.ToClient.Dequeue().RawAck, Is.EqualTo(client.Isn + 17), "never below what the dead owner acknowledged");
    }

    [Test]
    public void A_PROXY_header_that_a_dead_owner_had_to_deliver_is_delivered([Values] bool v6)
    {
        (SpliceEvent record, _, ServerEnd server) = Elsewhere(new BoxOptions { V6 = v6 }, prefix: 28);
        using BoxHarness box = new(new BoxOptions { V6 = v6, Nodes = 2, SendsProxyHeader = true });
        box.Tell(Import(record));
        box.Post(usable: 1, live: 1);
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.NodeDied, Node = 1 });
        box.Advance(30);
        Segment again = box.ToServer.Dequeue();
        Assert.That((again.RawSeq, again.Payload.Length), Is.EqualTo((server.PeerIsn + 1, v6 ? 52 : 28)));
        Assert.That(again.Payload[..4], Is.EqualTo("\r\n\r\n"u8.ToArray()));
        server.Through(box).Send(1, "", TcpFlags.Ack, ack: 1 + again.Payload.Length);
        box.ToServer.Clear();
        box.Advance(2_000);
        Assert.That(box.ToServer, Is.Empty);
        Assert.That(box.Box.Handshakes.Count, Is.Zero);
    }

    // Told at once; the sharer itself was late when it noticed the silence.
    [TestCase(10)]
    [TestCase(60)]
    public void Frames_handed_to_a_node_that_died_run_again_through_the_survivor(int ms)
    {
        (SpliceEvent record, ClientEnd client, _) = Elsewhere(new BoxOptions(), b => b.PortOwnedBy(0));
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        box.Post(usable: 2, live: Both);
        box.Tell(Import(record));
        client.Through(box).Send(client.Next, "lost with the box");
        Assert.That(box.ToClient.Dequeue().DestinationMac, Is.EqualTo(BoxHarness.MacOfNode(1, LinkRole.External)));
        long soundUntil = box.Box.Now;
        box.Advance(ms);
        box.Post(usable: 1, live: 1);
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.NodeDied, Node = 1, Ticket = (ulong)soundUntil });
        Assert.That(Text(box), Is.EqualTo("lost with the box"));
        Assert.That((box.Count(Counter.Replayed), box.Box.Statistics.Node(1, 2)), Is.EqualTo((1, 1)));
    }

    [Test]
    public void A_replayed_segment_that_is_known_to_be_acknowledged_is_dropped()
    {
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        ClientEnd client = OwnClient(box);
        ServerEnd server = client.Splice();
        server.Ack(client.Next);
        client.Expect();
        byte[] frame = client.Frame(client.Spec(1, TcpFlags.Ack), TcpEnd.Bytes(ClientEnd.Request));
        box.Links[0].Macs[(int)FrameMark.Replayed].Write(frame);
        BoxHarness.MacOfNode(1, LinkRole.External).Write(frame.AsSpan(6));
        Assert.That(box.Inject(LinkRole.External, frame), Is.EqualTo(new[] { DropReason.ReplayedAlreadyAcknowledged }));
        byte[] fresh = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "new"u8);
        box.Links[0].Macs[(int)FrameMark.Replayed].Write(fresh);
        BoxHarness.MacOfNode(1, LinkRole.External).Write(fresh.AsSpan(6));
        box.Inject(LinkRole.External, fresh);
        Assert.That(Text(box), Is.EqualTo("new"));
        Assert.That(box.Count(Counter.ReplayedReceived), Is.EqualTo(2));
    }

    // This box owned the flow's cookie before nobody else did: its memory of the SYN is of another epoch.
    /// <summary>A box that has taken a handshake over and asks its peers, with the record of an earlier connection of the same ports in that state.</summary>
    private static (SpliceEvent Query, BoxHarness Box) AskedAfterDeath(BoxOptions options, SpliceState left = SpliceState.Free)
    {
        BoxHarness box = new(options);
        ClientEnd client = box.Client(box.PortOwnedBy(0));
        if (left != SpliceState.Free)
        {
            (SpliceEvent earlier, _, _) = Elsewhere(new BoxOptions());
            SpliceCommand import = Import(earlier);
            (import.Record.ClientPort, import.Record.SourcePort, import.Record.State) = (client.Port, client.Port, left);
            (import.Record.Id, import.Record.A, import.Record.B) = (1, unchecked(client.Isn - 100_000_000), 1);
            import.Progress.ToServer = new DirectionProgress { Seen = 1, SeqNext = import.Record.A + 500, AckSeen = 5000 };
            box.Tell(import);
        }
        client.Syn();
        client.ExpectSynAck();
        box.Advance(10);
        box.Post(usable: 2, live: Both);
        box.Post(usable: 1, live: 1);
        box.Post(usable: 1, live: Both);
        box.Advance(36_000);
        client.Say(ClientEnd.Request);
        return (Single(box, SpliceEventKind.Query), box);
    }

    private static IpAddr FirstChoice(BoxOptions options, in SpliceEvent query)
    {
        using BoxHarness box = new(options);
        int index = BackendChooser.Choose(box.Pool, query.Record.Id, 0);
        return box.Reals[index];
    }
}
