using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using Appliance.Tests.Port;
using Appliance.Tests.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>Several workers in one box: whose a frame is, what is handed over, what every worker learns. That each of them does what a lone one does is said by <see cref="BoxTests"/>.</summary>
public sealed class WorkersTests
{
    private static readonly BoxOptions Three = new() { Workers = 3 };

    [Test]
    public void The_kernels_program_agrees_with_the_function_or_leaves_the_frame_to_worker_0([Values(2, 3, 8)] int workers, [Values] LinkRole role)
    {
        if (role == LinkRole.Sync) return;
        using BoxHarness box = new();
        using WorkerGroup group = new(box.Box.Config, workers, 0);
        BpfInstruction[] program = FanoutProgram.Build(role == LinkRole.External ? ClientSide.Source : ClientSide.Destination, workers);
        int same = 0, left = 0;
        Random random = new(workers);
        foreach (byte[] good in FrameCorpus.All())
        {
            for (int round = 0; round < 20; round++)
            {
                byte[] frame = [.. good];
                if (!Packet.TryParse(frame, out Packet packet, out _) || packet.HasVlan) continue;
                if (packet.IsTcp || packet.IsUdp) random.NextBytes(packet.Transport[..4]);
                // Beyond what the kernel's program reads, it has only worker 0.
                int here = group.WorkerOf(role, packet), kernel = (int)BpfMachine.Run(program, frame);
                bool plain = (packet.IsTcp || packet.IsUdp) && !packet.Layout.IsFragment && packet.Layout.Transport - packet.Layout.Network == (packet.IsV6 ? 40 : 20);
                Assert.That(kernel, Is.EqualTo(plain ? here : 0), Convert.ToHexString(frame));
                if (plain) same++;
                else left++;
            }
        }
        Assert.That(same, Is.GreaterThan(100));
        Assert.That(left, Is.GreaterThan(100));
    }

    [Test]
    public void Each_client_is_one_workers_in_both_directions_and_nothing_is_handed_over([Values] bool v6)
    {
        using BoxHarness box = new(Three with { V6 = v6 });
        for (ushort port = 40001; port <= 40030; port++)
        {
            ClientEnd client = box.Client(port);
            ServerEnd server = client.Splice();
            server.Say("answer");
            client.Expect(1, "answer", client.Next);
            Assert.That(box.Boxes.Select(b => b.Splices.Find(DataPath.Splice.SpliceTable.KeyToServer(RecordOf(box, port))) >= 0), Is.EqualTo(Enumerable.Range(0, 3).Select(i => i == box.WorkerOf(port))));
        }
        Assert.That(box.Boxes.Select(b => b.Splices.Count), Has.All.GreaterThan(4));
        // Answers to probes are worker 0's wherever they land.
        long probes = box.Count(Counter.ProbesAnswered);
        Assert.That(box.Count(Counter.HandedOver), Is.LessThanOrEqualTo(probes));
    }

    [Test]
    public void An_ICMP_error_reaches_the_worker_of_the_packet_that_it_quotes()
    {
        using BoxHarness box = new(Three);
        ushort port = PortOfOther(box);
        ClientEnd client = box.Client(port);
        ServerEnd server = client.Splice();
        server.Say(new string('x', 1400));
        Segment sent = client.Expect();
        long before = box.Count(Counter.HandedOver);
        byte[] error = new byte[1600];
        Assert.That(Packet.TryParse(sent.Frame, out Packet packet, out _), Is.True);
        int length = IcmpWriter.WriteError(error, packet, IcmpError.PacketTooBig, BoxHarness.Ip("198.51.100.99"), new MacAddress(0x0600_0000_0099), box.Links[0].OwnMac, 1280);
        Assert.That(box.Inject(LinkRole.External, error[..length]), Is.Empty);
        Assert.That(box.ToServer.Dequeue().IsIcmp, Is.True);
        Assert.That((box.Count(Counter.HandedOver) - before, box.Boxes[box.WorkerOf(port)].Statistics[Counter.IcmpTranslated]), Is.EqualTo((1, 1)));
    }

    [Test]
    public void A_neighbours_word_is_heard_by_all_and_answered_by_one()
    {
        using BoxHarness box = new(Three);
        IpAddr gateway = BoxHarness.Ip("203.0.113.1");
        byte[] ask = new byte[64];
        int length = NeighborWriter.WriteArpRequest(ask, BoxHarness.MacOf(gateway), gateway, box.Virtual);
        Assert.That(box.Inject(LinkRole.External, ask[..length]), Is.EqualTo(new[] { DropReason.Consumed }));
        Assert.That(box.Count(Counter.ArpAnswered), Is.EqualTo(1));
        foreach (Box worker in box.Boxes)
        {
            Assert.That(worker.Neighbors.TryGetMac(worker.Neighbors.Resolve(0, gateway), out MacAddress mac, out _), Is.True);
            Assert.That(mac, Is.EqualTo(BoxHarness.MacOf(gateway)));
        }
        Assert.That(box.Count(Counter.NeighborRequests), Is.LessThanOrEqualTo(1), "only of the real that was probed");
    }

    [Test]
    public void A_full_ring_is_a_counted_drop_and_the_rest_comes_in_order()
    {
        using BoxHarness box = new();
        using WorkerGroup group = new(box.Box.Config, 2, 0);
        using SharedRegion memory = SharedRegion.Anonymous(1 << 17);
        FrameRef lent = new() { Address = memory.Address, Length = WorkerGroup.MaxRecord };
        byte[] frame = new byte[66_000];
        int given = 0;
        for (; ; given++)
        {
            frame[0] = (byte)given;
            Handover how = new() { Role = LinkRole.Internal, Mark = FrameMark.Relayed, Vnet = new VnetHeader { GsoSize = (ushort)given }, RefragmentId = 7 };
            if (!group.TryGive(0, 1, how, frame)) break;
        }
        Assert.That(given, Is.InRange(10, 20));
        for (int i = 0; i < given; i++)
        {
            Assert.That(group.TryTake(0, 1, lent, out Handover how, out FrameRef taken), Is.True);
            Assert.That((how.Role, how.Mark, how.RefragmentId, taken.Vnet.GsoSize, taken.Length, taken.Bytes[0]), Is.EqualTo((LinkRole.Internal, FrameMark.Relayed, 7u, (ushort)i, frame.Length, (byte)i)));
        }
        Assert.That(group.TryTake(0, 1, lent, out _, out _), Is.False);
        Assert.That(group.TryTake(1, 0, lent, out _, out _), Is.False);
    }

    [Test]
    public void What_one_worker_learns_of_a_real_all_know()
    {
        using BoxHarness box = new(Three with { Backend = new Offer { Mss = 1111, Scale = 3, Window = 4321, Sack = false } });
        foreach (Box worker in box.Boxes)
        {
            DataPath.Splice.PoolProfile profile = worker.ProfileOf(box.Service);
            Assert.That((profile.Mss, profile.WindowScale, profile.FirstWindow, profile.Sack, profile.Timestamps, profile.Ecn), Is.EqualTo(((ushort)1111, (byte)3, (ushort)4321, false, true, false)));
        }
        Assert.That(box.Boxes[1].Statistics[Counter.Probes] + box.Boxes[2].Statistics[Counter.Probes], Is.Zero);
    }

    [Test]
    public void Shares_of_the_memory_add_up_to_what_was_asked_for()
    {
        using BoxHarness box = new();
        BoxConfig whole = box.Box.Config with { Splices = 131_072, Handshakes = 8192, HandshakesPerSource = 4096, ReplayBytes = 16 << 20 };
        Assert.That(WorkerGroup.Divide(whole, 1), Is.SameAs(whole));
        foreach (int workers in (int[])[2, 3, 8])
        {
            BoxConfig part = WorkerGroup.Divide(whole, workers);
            Assert.That(part.Splices * workers, Is.InRange(whole.Splices, whole.Splices * 11 / 10));
            Assert.That(part.Handshakes * workers, Is.InRange(whole.Handshakes, whole.Handshakes + workers));
            Assert.That(System.Numerics.BitOperations.IsPow2(part.ReplayBytes) && part.ReplayBytes >= 4 << 20, Is.True);
        }
    }

    [Test]
    public void Handing_over_allocates_nothing()
    {
        using BoxHarness box = new(new BoxOptions { Workers = 2 });
        ushort port = PortOfOther(box);
        ClientEnd client = box.Client(port);
        client.Splice();
        // With an IP option the kernel cannot tell whose it is.
        byte[] plain = client.Frame(client.Spec(client.Next, TcpFlags.Ack));
        byte[] frame = [.. plain[..34], 1, 1, 1, 0, .. plain[34..]];
        frame[14] = 0x46;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(16), (ushort)(frame.Length - 14));
        InternetChecksum.SetIpv4Header(frame.AsSpan(14, 24));
        Assert.That(client.Inject(frame), Is.Empty);
        long handed = box.Count(Counter.HandedOver), allocated = box.MeasureAllocation(LinkRole.External, frame, rounds: 10_000);
        Assert.That(allocated, Is.Zero);
        Assert.That(box.Count(Counter.HandedOver) - handed, Is.GreaterThanOrEqualTo(10_000));
    }

    private static ushort PortOfOther(BoxHarness box)
    {
        ushort port = 40001;
        while (box.WorkerOf(port) == 0) port++;
        return port;
    }

    private static SpliceRecord RecordOf(BoxHarness box, ushort port) => new() { Client = box.ClientAddress, ClientPort = port, Virtual = box.Virtual, VirtualPort = BoxHarness.ServicePort };
}
