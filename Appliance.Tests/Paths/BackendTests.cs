using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 4.3 to 4.6: the backend's side, from our SYN to the splice.</summary>
public sealed class BackendTests(int workers, bool astray) : BoxTests(workers, astray)
{
    private static (ClientEnd Client, ServerEnd Server) AskBackend(BoxHarness box, Offer? server = null)
    {
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        return (client, box.TakeSyn(offer: server));
    }

    [Test]
    public void A_silent_backend_is_asked_at_50_100_200_and_400_ms_then_the_next()
    {
        using BoxHarness box = new(new BoxOptions { Reals = 2 });
        (ClientEnd client, ServerEnd first) = AskBackend(box);
        List<long> times = [];
        long start = box.Now;
        IpAddr second = default;
        while (second.IsNone && box.Now - start < 2_000_000_000)
        {
            box.Advance(1);
            if (!box.ToServer.TryDequeue(out Segment? syn)) continue;
            Assert.That((syn.Flags, syn.RawSeq), Is.EqualTo((TcpFlags.Syn, client.Isn)));
            times.Add((box.Now - start) / 1_000_000);
            if (syn.Destination != first.Real) second = syn.Destination;
        }
        Assert.That(times, Has.Count.EqualTo(4));
        int[] due = [50, 150, 350, 750];
        for (int i = 0; i < 4; i++) Assert.That(times[i], Is.InRange(due[i], due[i] + 8));
        Assert.That(second, Is.Not.EqualTo(first.Real));
    }

    [Test]
    public void A_lost_SYN_ACK_is_fetched_again()
    {
        using BoxHarness box = new();
        (_, ServerEnd server) = AskBackend(box);
        box.Advance(52);
        Assert.That(server.Expect().Flags, Is.EqualTo(TcpFlags.Syn));
        server.SynAck();
        server.Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void A_backend_that_did_not_see_the_request_gets_its_SYN_ACK_acknowledged()
    {
        using BoxHarness box = new();
        (ClientEnd client, ServerEnd server) = AskBackend(box);
        server.SynAck();
        server.Expect(1, ClientEnd.Request, 1);
        Assert.That(server.SynAck(), Is.EqualTo(new[] { DropReason.Consumed }));
        Segment ack = server.Expect();
        Assert.That((ack.Seq, ack.Ack, ack.Flags), Is.EqualTo((1, 1, TcpFlags.Ack)));
        client.ExpectNothing();
    }

    [Test]
    public void A_refusing_backend_is_left_for_the_next_at_once()
    {
        using BoxHarness box = new(new BoxOptions { Reals = 2 });
        (_, ServerEnd server) = AskBackend(box);
        server.Send(server.Spec(0, TcpFlags.Rst | TcpFlags.Ack, ack: 1));
        ServerEnd other = box.Accept();
        Assert.That(other.Real, Is.Not.EqualTo(server.Real));
        other.Expect(1, ClientEnd.Request, 1);
        Assert.That(box.Count(Counter.BackendRefused), Is.EqualTo(1));
    }

    [Test]
    public void A_blind_reset_does_not_refuse_for_a_backend()
    {
        using BoxHarness box = new();
        (_, ServerEnd server) = AskBackend(box);
        Assert.That(server.Send(server.Spec(0, TcpFlags.Rst | TcpFlags.Ack, ack: 77)), Is.EqualTo(new[] { DropReason.RstOutOfWindow }));
        server.SynAck();
        server.Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void Without_a_backend_the_client_gets_an_exact_reset([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6 });
        (ClientEnd client, ServerEnd server) = AskBackend(box);
        server.Send(server.Spec(0, TcpFlags.Rst | TcpFlags.Ack, ack: 1));
        Segment reset = client.ExpectReset();
        Assert.That(reset.Seq, Is.EqualTo(1));
        Assert.That(box.Count(DropReason.NoBackend), Is.EqualTo(1));
        box.ExpectSilence();
        box.ExpectEmpty();
    }

    [Test]
    public void An_unreachable_backend_is_left_for_the_next()
    {
        using BoxHarness box = new(new BoxOptions { Reals = 2 });
        // The harness answers ARP for what it knows of; a real that stays silent never gets the SYN.
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd silent = box.TakeSyn();
        long limit = box.Now + 3_000_000_000;
        while (box.Now < limit && box.ToServer.All(s => s.Destination == silent.Real)) box.Advance(10);
        while (box.ToServer.TryPeek(out Segment? s) && s.Destination == silent.Real) box.ToServer.Dequeue();
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void All_backends_silent_ends_with_a_reset_within_three_seconds()
    {
        using BoxHarness box = new();
        (ClientEnd client, _) = AskBackend(box);
        for (int i = 0; i < 31; i++)
        {
            box.Advance(100);
            HearSomebody(box);
        }
        client.ExpectReset();
        Assert.That(box.Count(DropReason.NoBackend), Is.EqualTo(1));
        box.ExpectEmpty();
    }

    /// <summary>A link that is down says nothing about the reals (one worker: it has their MACs from its probes): none is given up, and when it is back one of them gets the request.</summary>
    [Test]
    public void While_nobody_is_heard_on_the_link_all_reals_are_asked_in_turn_for_ten_seconds([Values(2_000, 5_000, 11_000)] int silentMs)
    {
        using BoxHarness box = new(new BoxOptions { Workers = 1, Reals = 2 });
        box.Unreachable.UnionWith(box.Reals);
        ClientEnd client = box.Client();
        client.Connect();
        client.Say(ClientEnd.Request);
        box.Advance(silentMs);
        if (silentMs > 10_000)
        {
            client.ExpectReset();
            box.ToServer.Clear();
            box.ExpectEmpty();
            return;
        }
        client.ExpectNothing();
        Assert.That(box.ToServer.Where(s => s.Has(TcpFlags.Syn)).Select(s => s.Destination).Distinct().Count(), Is.EqualTo(2));
        Assert.That(box.Count(Counter.BackendRested), Is.Zero);
        box.ToServer.Clear();
        box.Unreachable.Clear();
        HearSomebody(box);
        for (int i = 0; i < 40 && !box.ToServer.Any(s => s.Has(TcpFlags.Syn)); i++) box.Advance(50);
        box.Accept().Expect(1, ClientEnd.Request, 1);
    }

    private static void HearSomebody(BoxHarness box)
    {
        byte[] ask = new byte[64];
        int length = NeighborWriter.WriteArpRequest(ask, BoxHarness.MacOf(BoxHarness.Ip("192.168.1.99")), BoxHarness.Ip("192.168.1.99"), BoxHarness.Ip("192.168.1.98"));
        box.Inject(LinkRole.Internal, ask[..length]);
    }

    [Test]
    public void Three_failures_make_a_real_rest_five_seconds_then_it_gets_one_trial()
    {
        using BoxHarness box = new(new BoxOptions { Reals = 2 });
        IpAddr ill = box.Reals[0];
        ushort port = 41000;
        int Asked(int clients)
        {
            int asked = 0;
            for (int i = 0; i < clients; i++)
            {
                ClientEnd client = box.Client(port++);
                client.Connect();
                client.Say(ClientEnd.Request);
                ServerEnd server = box.TakeSyn();
                if (server.Real == ill)
                {
                    asked++;
                    server.Send(server.Spec(0, TcpFlags.Rst | TcpFlags.Ack, ack: 1));
                    server = box.TakeSyn();
                }
                server.SynAck();
                server.Expect(1, ClientEnd.Request, 1);
            }
            return asked;
        }

        Assert.That(Asked(30), Is.EqualTo(3));
        Assert.That(box.Count(Counter.BackendRested), Is.EqualTo(1));
        box.Advance(4_900);
        Assert.That(Asked(20), Is.Zero);
        box.Advance(200);
        Assert.That(Asked(20), Is.EqualTo(1));
    }

    [Test]
    public void The_only_real_is_asked_even_while_it_rests()
    {
        using BoxHarness box = new();
        for (ushort i = 0; i < 5; i++)
        {
            ClientEnd client = box.Client((ushort)(41000 + i));
            client.Connect();
            client.Say(ClientEnd.Request);
            ServerEnd server = box.TakeSyn();
            server.Send(server.Spec(0, TcpFlags.Rst | TcpFlags.Ack, ack: 1));
            client.ExpectReset();
        }
        box.Client(42000).Splice();
    }

    [Test]
    public void SACK_blocks_for_a_backend_without_SACK_are_blanked()
    {
        using BoxHarness box = new();
        (ClientEnd client, ServerEnd server) = AskBackend(box, new Offer { Sack = false });
        server.SynAck();
        server.Expect(1, ClientEnd.Request, 1);
        client.Send(client.Next, default, TcpFlags.Ack, extraOptions: [1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 20]);
        Segment ack = server.ExpectAck(1);
        Assert.That((ack.Options.SackBlocks, ack.OptionBytes.Length), Is.EqualTo(((byte)0, 24)));
    }

    [Test]
    public void A_backend_that_breaks_its_promise_of_timestamps_is_left_and_reset()
    {
        using BoxHarness box = new(new BoxOptions { Reals = 2 });
        (_, ServerEnd server) = AskBackend(box, new Offer { Timestamps = false });
        Assert.That(server.SynAck(), Does.Contain(DropReason.BackendPromiseBroken));
        Assert.That(server.ExpectReset().Seq, Is.EqualTo(1));
        ServerEnd other = box.Accept();
        other.Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void A_backend_with_a_tiny_MSS_is_left_and_the_client_reset_if_there_is_no_other()
    {
        using BoxHarness box = new();
        (ClientEnd client, ServerEnd server) = AskBackend(box, new Offer { Mss = 200 });
        server.SynAck();
        server.ExpectReset();
        client.ExpectReset();
        box.ExpectEmpty();
    }

    [Test]
    public void A_late_SYN_ACK_of_a_backend_that_was_left_is_reset()
    {
        using BoxHarness box = new(new BoxOptions { Reals = 2 });
        (_, ServerEnd slow) = AskBackend(box);
        box.Advance(760);
        ServerEnd other;
        do other = box.TakeSyn();
        while (other.Real == slow.Real);
        slow.SynAck();
        slow.ExpectReset();
        other.SynAck();
        other.Expect(1, ClientEnd.Request, 1);
        Assert.That(box.Box.Splices.Count, Is.EqualTo(1));
    }

    [Test]
    public void A_backend_with_an_old_connection_on_this_tuple_is_reset_as_it_asks_then_asked_again()
    {
        using BoxHarness box = new();
        (_, ServerEnd server) = AskBackend(box);
        server.Send(server.Spec(500, TcpFlags.Ack, ack: 70_000));
        Segment reset = server.ExpectReset();
        Assert.That(reset.Seq, Is.EqualTo(70_000));
        box.Advance(5);
        Assert.That(server.Expect().Flags, Is.EqualTo(TcpFlags.Syn));
        server.SynAck();
        server.Expect(1, ClientEnd.Request, 1);
    }

    [Test]
    public void A_bare_ACK_tells_the_numbers_of_a_backend_that_a_dead_owner_had_opened()
    {
        using BoxHarness box = new();
        (ClientEnd client, ServerEnd server) = AskBackend(box);
        server.Send(server.Spec(1, TcpFlags.Ack, ack: 1));
        server.Expect(1, ClientEnd.Request, 1);
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
    }

    [Test]
    public void Same_record_same_backend_on_every_box()
    {
        HashSet<IpAddr> used = [];
        using BoxHarness x = new(new BoxOptions { Reals = 5 }), y = new(new BoxOptions { Reals = 5 });
        for (ushort port = 40000; port < 40030; port++)
        {
            IpAddr at = x.Client(port).Splice().Real;
            Assert.That(y.Client(port).Splice().Real, Is.EqualTo(at));
            used.Add(at);
        }
        Assert.That(used, Has.Count.EqualTo(5));
    }

    [Test]
    public void A_full_table_refuses_newcomers_and_leaves_the_established_alone()
    {
        using BoxHarness box = new(new BoxOptions { Workers = 1, Splices = 64 });
        List<(ClientEnd Client, ServerEnd Server)> open = [];
        while (box.Box.Splices.Count < box.Box.Splices.Capacity)
        {
            ClientEnd next = box.Client((ushort)(40000 + open.Count));
            open.Add((next, next.Splice()));
        }
        ClientEnd late = box.Client(39999);
        Assert.That(late.Syn(), Is.EqualTo(new[] { DropReason.TableFull }));
        box.ExpectSilence();
        open[0].Server.Say("answer");
        open[0].Client.Expect(1, "answer", open[0].Client.Next);
    }
}
