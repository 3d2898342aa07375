using System.Text;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 3, 4.2, 4.6, 5 and 11 from one box's view: its peers are scripted by the commands and events of its channel, and by frames with their MACs.</summary>
public sealed class PeerTests(int workers, bool astray) : BoxTests(workers, astray)
{
    private const ulong Both = 3;

    private static readonly BoxOptions Two = new() { Nodes = 2, Acked = true };

    private static ClientEnd OwnClient(BoxHarness box) => box.Client(box.PortOwnedBy(0));

    private static void Confirm(BoxHarness box, in SpliceEvent asked) => box.Tell(new SpliceCommand { Kind = SpliceCommandKind.Confirmed, Ticket = asked.Ticket, Offset = asked.Offset + asked.Length });

    private static SpliceEvent Single(BoxHarness box, SpliceEventKind kind) => box.Events().Single(e => e.Kind == kind);

    /// <summary>A record as its owner, another box, would have sent it.</summary>
    private static (SpliceEvent Record, ClientEnd Client, ServerEnd Server) Elsewhere(BoxOptions options, Func<BoxHarness, ushort>? port = null, int prefix = 0)
    {
        using BoxHarness other = new(options with { Nodes = 2, Acked = false, SendsProxyHeader = prefix > 0 });
        ClientEnd client = other.Client(port?.Invoke(other) ?? other.PortOwnedBy(0));
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = other.Accept();
        return (Single(other, SpliceEventKind.Changed), client, server);
    }

    private static SpliceCommand Import(in SpliceEvent message, byte origin = 1)
    {
        SpliceCommand command = new() { Kind = SpliceCommandKind.Import, Record = message.Record, Progress = message.Progress };
        command.Record.Origin = origin;
        return command;
    }

    [Test]
    public void An_acked_request_is_held_until_a_peer_has_the_record([Values] bool v6)
    {
        using BoxHarness box = new(Two with { V6 = v6 });
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say(ClientEnd.Request);
        box.Accept();
        SpliceEvent asked = Single(box, SpliceEventKind.Changed);
        Assert.That(asked.WantsConfirm, Is.True);
        box.Advance(5_000);
        client.Say("GET /2");
        box.ExpectSilence();
        Confirm(box, asked);
        Assert.That(Text(box), Is.EqualTo(ClientEnd.Request + "GET /2"));
        Assert.That((box.Count(Counter.ConfirmationsReceived), box.Box.Handshakes.Count), Is.EqualTo((1, 0)));
        client.Say("more");
        Assert.That(Text(box), Is.EqualTo("more"));
    }

    [Test]
    public void Waiting_for_a_confirmation_a_late_SYN_ACK_is_answered_by_the_request()
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        SpliceEvent asked = Single(box, SpliceEventKind.Changed);
        Assert.That(server.SynAck(), Is.EqualTo(new[] { DropReason.Consumed }));
        box.ExpectSilence();
        Confirm(box, asked);
        server.Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void Without_a_living_peer_the_request_is_released_and_counted()
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say(ClientEnd.Request);
        box.Accept();
        box.ExpectSilence();
        box.Post(usable: 1, live: 1);
        Assert.That(Text(box), Is.EqualTo(ClientEnd.Request));
        Assert.That(box.Count(Counter.ReleasedWithoutPeer), Is.EqualTo(1));
    }

    [Test]
    public void A_client_that_resets_while_its_request_is_held_is_let_go_on_both_sides()
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        SpliceEvent asked = Single(box, SpliceEventKind.Changed);
        client.Send(client.Next, "", TcpFlags.Rst);
        Assert.That(server.ExpectReset().Seq, Is.EqualTo(1));
        Confirm(box, asked);
        box.ExpectSilence();
        box.Advance(11_000);
        box.ExpectEmpty();
    }

    [Test]
    public void A_method_that_may_not_run_twice_waits_for_a_confirmation_too()
    {
        using BoxHarness box = new(Two with { Acked = false });
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        box.Accept();
        box.ExpectSilence();
        Confirm(box, Single(box, SpliceEventKind.Changed));
        Assert.That(Text(box), Does.EndWith("\r\n\r\nx"));
        ClientEnd get = box.Client((ushort)Enumerable.Range(50_000, 1000).First(p => box.Box.OwnerOf(box.Box.OwnerHash(box.ClientAddress, (ushort)p)) == 0));
        get.Splice();
    }

    [Test]
    public void An_early_ACK_waits_until_a_peer_holds_the_bytes()
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        box.Advance(25);
        box.ExpectSilence();
        SpliceEvent owned = Single(box, SpliceEventKind.OwnedBytes);
        Assert.That((owned.Offset, owned.Length, owned.WantsConfirm), Is.EqualTo((0, 16, true)));
        Assert.That(Encoding.ASCII.GetString(MemoryNative.Span(owned.Bytes, owned.Length)), Is.EqualTo("GET / HTTP/1.1\r\n"));
        Confirm(box, owned);
        client.ExpectAck(17);
    }

    [Test]
    public void An_imported_record_carries_packets_of_both_directions([Values] bool v6)
    {
        (SpliceEvent record, ClientEnd client, ServerEnd server) = Elsewhere(new BoxOptions { V6 = v6 });
        using BoxHarness box = new(new BoxOptions { V6 = v6, Nodes = 2 });
        box.Tell(Import(record));
        Assert.That(box.Count(Counter.SplicesImported), Is.EqualTo(1));
        Assert.That(client.Through(box).Send(client.Next, "more"), Is.Empty);
        Segment more = box.ToServer.Dequeue();
        Assert.That((more.RawSeq, more.RawAck, more.Destination), Is.EqualTo((server.PeerIsn + (uint)client.Next, server.Isn + 1, server.Real)));
        server.Through(box).Send(1, "answer", ack: client.Next);
        Segment answer = box.ToClient.Dequeue();
        Assert.That((answer.RawSeq, answer.RawAck), Is.EqualTo((client.PeerIsn + 1, client.Isn + (uint)client.Next)));
        Assert.That(box.Events().Where(e => e.Kind == SpliceEventKind.Changed && e.Record.State == SpliceState.Established && e.Record.FloorOpen != 0), Is.Empty, "imported records are never echoed");
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.Remove, Record = record.Record });
        box.ExpectEmpty();
    }

    [Test]
    public void An_older_version_of_a_record_changes_nothing()
    {
        (SpliceEvent record, _, _) = Elsewhere(new BoxOptions());
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        SpliceCommand newer = Import(record), older = Import(record);
        newer.Record.Version = 5;
        newer.Record.State = SpliceState.TimeWait;
        box.Tell(newer);
        box.Tell(older);
        Assert.That(box.Box.Splices.Record(box.Box.Splices.FindRecord(record.Record.Id)).State, Is.EqualTo(SpliceState.TimeWait));
        box.Advance(61_000);
        box.ExpectEmpty();
    }

    // The same connection, as a peer that did not hear of us has joined it to another backend.
    private static SpliceCommand JoinedElsewhere(in SpliceEvent ours, byte node, bool held = false)
    {
        SpliceCommand command = Import(ours, node);
        command.Node = node;
        ref SpliceRecord record = ref command.Record;
        (record.Real, record.D) = (BoxHarness.Ip("192.168.1.99"), 77);
        record.Y = unchecked(record.B - record.D);
        record.Options = held ? record.Options | SpliceOptions.Held : record.Options & ~SpliceOptions.Held;
        command.Progress = default;
        return command;
    }

    [Test]
    public void A_request_that_waits_goes_to_the_backend_that_a_peer_has_joined_already()
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        SpliceEvent asked = Single(box, SpliceEventKind.Changed);
        SpliceCommand theirs = JoinedElsewhere(asked, node: 1);
        box.Tell(theirs);
        Assert.That(server.ExpectReset().Seq, Is.EqualTo(1), "nobody had sent this one a byte");
        Segment request = box.ToServer.Dequeue();
        Assert.That((request.Destination, request.RawSeq, request.RawAck, Encoding.ASCII.GetString(request.Payload)), Is.EqualTo((theirs.Record.Real, theirs.Record.C + 1, 78u, ClientEnd.Request)));
        Assert.That(Single(box, SpliceEventKind.Changed).Record.Real, Is.EqualTo(theirs.Record.Real), "who took ours must hear of it");
        Confirm(box, asked);
        box.ExpectSilence();
        Assert.That((box.Count(Counter.JoinsWithdrawn), box.Box.Handshakes.Count), Is.EqualTo((1, 0)));
    }

    [TestCase(false, Description = "both wait: the lower node goes first")]
    [TestCase(true, Description = "theirs waits, ours does not")]
    public void A_join_that_goes_first_stays(bool released)
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        SpliceEvent asked = Single(box, SpliceEventKind.Changed);
        if (released) Confirm(box, asked);
        if (released) Assert.That(Text(box), Is.EqualTo(ClientEnd.Request));
        box.Tell(JoinedElsewhere(asked, node: 1, held: true));
        box.ExpectSilence();
        if (!released) Confirm(box, asked);
        if (!released) Assert.That(Text(box), Is.EqualTo(ClientEnd.Request));
        Assert.That(box.Count(Counter.JoinsWithdrawn), Is.Zero);
        Assert.That(box.Box.Splices.Record(box.Box.Splices.FindRecord(asked.Record.Id)).Real, Is.EqualTo(server.Real));
    }

    [Test]
    public void A_copy_goes_with_its_maker_and_with_nobody_else()
    {
        (SpliceEvent record, _, _) = Elsewhere(new BoxOptions());
        using BoxHarness box = new(new BoxOptions { Nodes = 3 });
        SpliceCommand first = Import(record);
        first.Node = 1;
        box.Tell(first);
        SpliceRecord Held() => box.Box.Splices.Record(box.Box.Splices.FindRecord(record.Record.Id));
        SpliceCommand other = JoinedElsewhere(record, node: 2);
        other.Progress.ToServer = new DirectionProgress { Seen = 1, AckSeen = 1 };
        box.Tell(other);
        Assert.That(Held().Real, Is.EqualTo(record.Record.Real));
        other.Node = 1;
        box.Tell(other);
        Assert.That(Held().Real, Is.EqualTo(other.Record.Real));
    }

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
        SpliceCommand command = new()
        {
            Kind = SpliceCommandKind.OwnedBytes,
            Record = owned.Record,
            CookieOptions = owned.CookieOptions,
            Bytes = owned.Bytes,
            Length = owned.Length,
            Offset = owned.Offset,
        };
        box.Tell(command);
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

    [Test]
    public void Frames_handed_to_a_node_that_died_run_again_through_the_survivor()
    {
        (SpliceEvent record, ClientEnd client, _) = Elsewhere(new BoxOptions(), b => b.PortOwnedBy(0));
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        box.Post(usable: 2, live: Both);
        box.Tell(Import(record));
        client.Through(box).Send(client.Next, "lost with the box");
        Assert.That(box.ToClient.Dequeue().DestinationMac, Is.EqualTo(BoxHarness.MacOfNode(1, LinkRole.External)));
        box.Advance(10);
        box.Post(usable: 1, live: 1);
        box.Tell(new SpliceCommand { Kind = SpliceCommandKind.NodeDied, Node = 1 });
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

    [Test]
    public void Progress_is_gossiped_about_once_a_second_while_packets_pass()
    {
        using BoxHarness box = new(new BoxOptions { Nodes = 2 });
        ClientEnd client = OwnClient(box);
        ServerEnd server = client.Splice();
        box.Events();
        for (int i = 0; i < 20; i++)
        {
            box.Advance(1_000);
            server.Say("tick");
            client.Expect();
        }
        Assert.That(box.Events().Count(e => e.Kind == SpliceEventKind.Progress), Is.InRange(4, 20));
    }

    // This box owned the flow's cookie before nobody else did: its memory of the SYN is of another epoch.
    private static (SpliceEvent Query, BoxHarness Box) AskedAfterDeath(BoxOptions options)
    {
        BoxHarness box = new(options);
        ClientEnd client = box.Client(box.PortOwnedBy(0));
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

    /// <summary>All that waits to be read at the server, in order.</summary>
    private static string Text(BoxHarness box)
    {
        StringBuilder text = new();
        while (box.ToServer.TryDequeue(out Segment? segment)) text.Append(Encoding.ASCII.GetString(segment.Payload));
        return text.ToString();
    }
}
