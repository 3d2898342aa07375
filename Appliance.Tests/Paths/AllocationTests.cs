using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Paths.RequestTests;

namespace Appliance.Tests.Paths;

/// <summary>
/// The worker allocates nothing on the managed heap, whatever comes: rounds of every kind of frame and command, until a
/// million frames have been treated. Whole clusters, with liveness and replication, are in the simulation's tests.
/// </summary>
[Parallelizable(ParallelScope.All)]
public sealed class AllocationTests
{
    private const int FramesWanted = 1_000_000;

    private static readonly Counter[] Seen =
    [
        Counter.Rewritten, Counter.HandedToSelf, Counter.SynReceived, Counter.CookiesSent, Counter.CookiesAccepted, Counter.HeadsComplete, Counter.BackendSynAcks, Counter.SplicesCreated,
        Counter.SplicesImported, Counter.SplicesClosed, Counter.SplicesReset, Counter.ResetsDoubted, Counter.SplicesExpired, Counter.EarlyAcks, Counter.HandedToPeers, Counter.Relayed,
        Counter.Replayed, Counter.ReplayedReceived, Counter.IcmpTranslated, Counter.ArpAnswered, Counter.Reassembled, Counter.Refragmented, Counter.ResetsSent, Counter.TimersFired,
        Counter.ConfirmationsReceived,
    ];

    private static readonly DropReason[] Reasons =
    [
        DropReason.NotForUs, DropReason.NoSuchService, DropReason.NoRecord, DropReason.RealUnexpected, DropReason.FragmentTimeout, DropReason.IcmpQuoteUnknown,
    ];

    [Test]
    public void A_million_frames_of_every_kind([Values] bool v6)
    {
        using BoxHarness box = new(new BoxOptions { V6 = v6, Nodes = 2, Acked = true, Live = 3 });
        var rounds = new Rounds(box, v6);
        rounds.Slow();
        rounds.All();
        long before = box.Allocated;
        while (box.Count(Counter.Received) < FramesWanted / 2) rounds.All();
        rounds.Slow();
        TestContext.Out.WriteLine($"{box.Count(Counter.Received)} frames: " + string.Join(' ', Enum.GetValues<Counter>().Where(c => box.Count(c) != 0).Select(c => $"{c}={box.Count(c)}")));
        Assert.That(box.Allocated - before, Is.Zero);
        foreach (Counter counter in Seen) Assert.That(box.Count(counter), Is.Positive, counter.ToString());
        foreach (DropReason reason in Reasons) Assert.That(box.Count(reason), Is.Positive, reason.ToString());
    }

    /// <summary>One round after the other on the same box; a round leaves no connection behind.</summary>
    private sealed class Rounds(BoxHarness box, bool v6)
    {
        private readonly byte[] _superFrame = new byte[20_200], _piece = new byte[1600];
        private readonly byte[] _bulk = new byte[20_000];
        private ushort _port = 20_000;
        private uint _fragment;

        /// <summary>What takes hours of virtual time.</summary>
        public void Slow() => Connection(ended: End.Expiry);

        public void All()
        {
            Connection(ended: End.Close);
            Connection(ended: End.Reset);
            Early();
            Imported();
            Strays();
            PeerDies();
        }

        private enum End
        {
            Close,
            Reset,
            Expiry,
        }

        private void Connection(End ended)
        {
            (ClientEnd client, ServerEnd server) = Spliced(ClientEnd.Request);
            Transfer(client, server);
            Forms(client, server);
            switch (ended)
            {
                case End.Close:
                    client.Fin();
                    server.Received++;
                    server.Fin();
                    client.Received++;
                    client.Ack();
                    box.Advance(61_000);
                    break;
                case End.Reset:
                    server.Ack(client.Next);
                    client.Send(client.Next + 5, "", TcpFlags.Rst);
                    box.Advance(2_000);
                    client.Send(client.Next, "", TcpFlags.Rst);
                    box.Advance(11_000);
                    break;
                default:
                    box.Advance(3 * 3_600_000);
                    break;
            }
            Clear();
        }

        private (ClientEnd Client, ServerEnd Server) Spliced(string request)
        {
            ClientEnd client = box.Client(NextPort(0));
            client.Connect();
            // The head comes in pieces, the second first.
            int half = request.Length / 2;
            client.Send(1 + half, request[half..]);
            client.Send(1, request[..half]);
            client.Next = 1 + request.Length;
            ServerEnd server = box.Accept();
            Confirm();
            server.Received = client.Next;
            Clear();
            return (client, server);
        }

        // Bytes both ways, acknowledged; SACK, replays of what was seen, super-frames with partial checksums.
        private void Transfer(ClientEnd client, ServerEnd server)
        {
            for (int i = 0; i < 200; i++)
            {
                server.Say("some bytes of a response");
                client.Received += 24;
                client.Ack();
                client.Say("more");
                server.Received += 4;
                server.Ack();
            }
            Clear();
            client.Send(client.Next, default, TcpFlags.Ack, extraOptions: SackOption(client.PeerIsn, (client.Received + 100, client.Received + 200)));
            for (int i = 0; i < 10; i++)
            {
                int length = FrameWriter.WriteTcpPartial(_superFrame, server.Spec(server.Next, TcpFlags.Ack | TcpFlags.Psh), _bulk, 1400, out VnetHeader vnet);
                server.Inject(_superFrame[..length], vnet);
                server.Next += _bulk.Length;
                client.Received += _bulk.Length;
                client.Ack();
            }
            byte[] replayed = client.Frame(client.Spec(client.Next, TcpFlags.Ack), "again"u8);
            box.Links[0].Macs[(int)FrameMark.Replayed].Write(replayed);
            client.Inject(replayed);
            client.Next += 5;
            server.Received += 5;
            Clear();
        }

        // Fragments, a packet-too-big that is translated and one that is not.
        private void Forms(ClientEnd client, ServerEnd server)
        {
            Fragments(client, client.Frame(client.Spec(client.Next, TcpFlags.Ack), _bulk.AsSpan(0, 1300)), int.MaxValue);
            client.Next += 1300;
            server.Received += 1300;
            Clear();
            server.Say(new string('x', 1400));
            Segment big = box.ToClient.Dequeue();
            client.Received += 1400;
            box.Inject(LinkRole.External, FrameFormTests.Error(box, LinkRole.External, big, v6 ? "2001:db8:9::9" : "198.51.100.99", 1280));
            client.Ack();
            Clear();
        }

        private void Fragments(ClientEnd client, byte[] frame, int most)
        {
            if (!v6) FrameFormTests.AllowFragments(frame);
            Assert.That(Packet.TryParse(frame, out Packet packet, out _), Is.True);
            var fragmenter = new Fragmenter(packet, 600, ++_fragment);
            for (int i = 0; i < most && fragmenter.TryNext(_piece, out int length); i++) client.Inject(_piece[..length]);
        }

        // A head that stops half-way: its bytes go to the peer and are acknowledged early; then the client is silent.
        private void Early()
        {
            ClientEnd client = box.Client(NextPort(0));
            client.Connect();
            client.Say("GET / HTTP/1.1\r\n");
            box.Advance(25);
            Confirm();
            box.Advance(40_000);
            Clear();
        }

        // A peer's record, its progress, its end; a segment of a connection whose owner is the peer.
        private void Imported()
        {
            SpliceEvent made;
            (ClientEnd client, ServerEnd server) = Spliced(ClientEnd.Request);
            made = _last;
            server.Ack(client.Next);
            client.Send(client.Next, "", TcpFlags.Rst);
            box.Advance(11_000);
            SpliceCommand command = new() { Kind = SpliceCommandKind.Import, Node = 1, Record = made.Record, Progress = made.Progress };
            command.Record.Origin = 1;
            command.Record.Id++;
            box.Tell(command);
            client.Say("more");
            server.Say("and more");
            command.Kind = SpliceCommandKind.Progress;
            box.Tell(command);
            command.Kind = SpliceCommandKind.Remove;
            command.Record.Version++;
            box.Tell(command);
            Clear();
            ClientEnd theirs = box.Client(NextPort(1));
            theirs.Syn();
            theirs.Send(1, "no such connection here", ack: 7);
            // The same, handed to this box as proxy by the peer: it is relayed to its owner.
            byte[] handed = theirs.Frame(theirs.Spec(1, TcpFlags.Ack), "nor here"u8);
            BoxHarness.MacOfNode(1, LinkRole.External).Write(handed.AsSpan(6));
            theirs.Inject(handed);
            Clear();
        }

        // A port without a service, a stranger's segment, another host's frame, a real's datagram; ARP or ND; a fragment without the rest.
        private void Strays()
        {
            ClientEnd client = box.Client(NextPort(0));
            TcpSegmentSpec syn = client.Spec(0, TcpFlags.Syn);
            syn.DestinationPort = 81;
            client.Send(syn);
            client.Send(500, "stray", ack: 900);
            byte[] other = client.Frame(client.Spec(0, TcpFlags.Syn));
            new MacAddress(0x0600_1111_1111).Write(other);
            client.Inject(other);
            Clear();
            (ClientEnd spliced, ServerEnd server) = Spliced(ClientEnd.Request);
            TcpSegmentSpec elsewhere = server.Spec(1, TcpFlags.Ack);
            elsewhere.SourcePort = 9999;
            server.Send(elsewhere);
            byte[] ask = new byte[64];
            int length = NeighborWriter.WriteArpRequest(ask, BoxHarness.MacOf(BoxHarness.Ip("203.0.113.1")), BoxHarness.Ip("203.0.113.1"), BoxHarness.Ip("203.0.113.2"));
            box.Inject(LinkRole.External, ask[..length]);
            Fragments(client, client.Frame(client.Spec(1, TcpFlags.Ack), _bulk.AsSpan(0, 1000)), 1);
            server.Say("x");
            Segment seen = box.ToClient.Dequeue();
            spliced.Ack(server.Next);
            server.Send(server.Next, "", TcpFlags.Rst);
            box.Advance(11_000);
            box.Inject(LinkRole.External, FrameFormTests.Error(box, LinkRole.External, seen, v6 ? "2001:db8:9::9" : "198.51.100.99", 1280));
            Clear();
        }

        // Frames handed to the peer run again through this box when it dies; then it is back.
        private void PeerDies()
        {
            ClientEnd theirs = box.Client(NextPort(1));
            theirs.Syn();
            box.Post(usable: 1, live: 1);
            box.Tell(new SpliceCommand { Kind = SpliceCommandKind.NodeDied, Node = 1 });
            box.Advance(3_000);
            box.Post(usable: 3, live: 3);
            Clear();
        }

        private SpliceEvent _last;

        private void Confirm()
        {
            foreach (SpliceEvent message in box.Events())
            {
                if (message.Kind == SpliceEventKind.Changed) _last = message;
                if (message.WantsConfirm) box.Tell(new SpliceCommand { Kind = SpliceCommandKind.Confirmed, Ticket = message.Ticket, Offset = message.Offset + message.Length });
            }
        }

        private void Clear()
        {
            Confirm();
            box.ToClient.Clear();
            box.ToServer.Clear();
        }

        private ushort NextPort(int owner)
        {
            do _port = (ushort)(_port < 60_000 ? _port + 1 : 20_000);
            while (box.Box.OwnerOf(box.Box.OwnerHash(box.ClientAddress, _port)) != owner);
            return _port;
        }
    }
}
