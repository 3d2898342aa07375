using System.Text;
using Appliance.DataPath.Memory;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Paths.ScriptedPeer;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 3, 4.2 and 4.6 from one box's view: what it and its peers tell each other of connections while all of them live.</summary>
public sealed class PeerTests(int workers, bool astray) : BoxTests(workers, astray)
{
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

    [TestCase("reset")]
    [TestCase("refused")]
    [TestCase("another")]
    [TestCase("late")]
    public void An_offer_is_taken_back_when_the_connection_ends_without_a_splice(string end)
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        box.Advance(25);
        SpliceEvent offered = Single(box, SpliceEventKind.OwnedBytes);
        Confirm(box, offered);
        client.ExpectAck(17);
        if (end == "reset") client.Send(client.Next, "", TcpFlags.Rst);
        else if (end == "refused") client.Say("no field\r\n\r\n");
        else if (end == "another") BeginAnew(box, client);
        else box.Advance(31_000);
        SpliceEvent back = box.Events().Single(e => e.Kind == SpliceEventKind.OwnedBytes && e.Length == 0);
        Assert.That((back.Offset, back.Record.Id, back.Record.A, back.Record.B), Is.EqualTo((-1, offered.Record.Id, offered.Record.A, offered.Record.B)));
        Assert.That(box.Boxes.Sum(b => b.Handshakes.Count), Is.Zero);
    }

    // Its first life is forgotten at the client: it answers our doubt as RFC 9293 asks.
    private static void BeginAnew(BoxHarness box, ClientEnd client)
    {
        ClientEnd anew = box.Client(client.Port, a: 77_000);
        anew.Syn();
        Segment doubt = box.ToClient.Dequeue();
        Assert.That((doubt.Flags, doubt.RawAck), Is.EqualTo((TcpFlags.Ack, client.Isn + 17)));
        TcpSegmentSpec reset = anew.Spec(0, TcpFlags.Rst);
        (reset.Seq, reset.HasTimestamps) = (new TcpSeq(doubt.RawAck), false);
        anew.Send(reset);
    }

    [Test]
    public void What_was_never_offered_is_not_taken_back()
    {
        using BoxHarness box = new(Two);
        ClientEnd client = OwnClient(box);
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        client.Send(client.Next, "", TcpFlags.Rst);
        Assert.That(box.Events(), Is.Empty);
    }

    [Test]
    public void A_peers_bytes_are_let_go_at_its_word_or_after_a_minute([Values] bool told)
    {
        (SpliceEvent offered, _) = OfferedElsewhere();
        using BoxHarness box = new(Two);
        box.Advance(25);
        box.Tell(Owned(offered));
        Assert.That(box.Box.Handshakes.Count, Is.EqualTo(1));
        SpliceEvent back = offered with { Offset = -1, Length = 0 };
        SpliceEvent older = back;
        older.Record.B++;
        box.Tell(Owned(older));
        Assert.That(box.Box.Handshakes.Count, Is.EqualTo(1), "another connection of the same client");
        if (told) box.Tell(Owned(back));
        else box.Advance(61_000);
        box.ExpectEmpty();
    }

    [Test]
    public void Bytes_with_which_this_box_goes_on_are_not_let_go()
    {
        (SpliceEvent offered, ClientEnd client) = OfferedElsewhere();
        using BoxHarness box = new(Two with { Acked = false });
        box.Advance(25);
        box.Tell(Owned(offered));
        client.Through(box).Send(17, "Host: a\r\n");
        box.Tell(Owned(offered with { Offset = -1, Length = 0 }));
        Assert.That(box.Box.Handshakes.Count, Is.EqualTo(1));
    }

    [Test]
    public void A_client_without_a_next_hop_is_refused_for_that_and_not_for_a_full_table()
    {
        BoxOptions options = new() { ClientOnLink = true };
        using BoxHarness other = new(options), box = new(options);
        ClientEnd client = other.Client();
        client.Connect();
        // Every next hop has a user, so none can be given up, before the way back to this client is needed; the SYN came through another box.
        TakeAllNextHops(box);
        client.Through(box).Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        server.ExpectReset();
        Assert.That(box.Count(DropReason.NoRoute), Is.GreaterThan(0));
        Assert.That(box.Count(DropReason.TableFull), Is.Zero);
        box.ExpectEmpty();
    }

    private static void TakeAllNextHops(BoxHarness box)
    {
        for (ulong host = 1; host <= ushort.MaxValue; host++)
        {
            ushort index = box.Box.Neighbors.Resolve((byte)LinkRole.External, new IpAddr(0x2001_0db8_0002_0000, 0x1_0000 + host));
            if (index == 0) return;
            box.Box.Neighbors.AddUser(index);
        }
        Assert.Fail("the table of next hops has no end");
    }

    // The first line of a request that another box had to acknowledge before the rest came.
    private static (SpliceEvent Offered, ClientEnd Client) OfferedElsewhere()
    {
        using BoxHarness other = new(Two);
        ClientEnd client = OwnClient(other);
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        other.Advance(25);
        SpliceEvent offered = Single(other, SpliceEventKind.OwnedBytes);
        offered.Bytes = MemoryNative.AddressOf(Pinned);
        return (offered, client);
    }

    [Test]
    public void A_peers_bytes_that_outlive_the_connection_hold_up_no_FIN_of_it()
    {
        using BoxHarness other = new(Two), box = new(Two);
        ClientEnd client = OwnClient(other);
        client.Connect();
        client.Say("GET / HTTP/1.1\r\n");
        other.Advance(25);
        SpliceEvent offered = Single(other, SpliceEventKind.OwnedBytes);
        Confirm(other, offered);
        client.ExpectAck(17);
        client.Say("Host: a\r\n\r\n");
        ServerEnd server = other.Accept();
        SpliceEvent record = Single(other, SpliceEventKind.Changed);
        Confirm(other, record);
        server.Received = client.Next;
        box.Advance(25);
        box.Tell(Import(record));
        offered.Bytes = MemoryNative.AddressOf(Pinned);
        box.Tell(Owned(offered));
        Assert.That(box.Box.Handshakes.Count, Is.EqualTo(1));
        client.Through(box);
        server.Through(box);
        server.Fin();
        client.Received++;
        client.Fin();
        server.Received++;
        server.Ack();
        box.ToServer.Clear();
        box.ToClient.Clear();
        box.Advance(200);
        // The last acknowledgment was lost.
        client.Send(client.Next - 1, "", TcpFlags.Ack | TcpFlags.Fin);
        server.Expect(client.Next - 1, "", server.Next, TcpFlags.Ack | TcpFlags.Fin);
    }

    private static readonly byte[] Pinned = PinnedLine();

    private static byte[] PinnedLine()
    {
        byte[] line = GC.AllocateArray<byte>(16, pinned: true);
        "GET / HTTP/1.1\r\n"u8.CopyTo(line);
        return line;
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
}
