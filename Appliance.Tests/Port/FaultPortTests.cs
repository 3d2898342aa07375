using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Port.TestFrames;

namespace Appliance.Tests.Port;

public sealed class FaultPortTests
{
    private const int Frames = 20_000;
    private long _now;

    [Test]
    public void Loss_and_duplication_come_at_their_rates()
    {
        (List<int> marks, FaultCounters counters) = Run(new FaultPlan { Loss = 0.1, Duplicate = 0.05 }, seed: 1);
        Assert.That(counters.Segments, Is.EqualTo(Frames));
        Assert.That(counters.Lost, Is.EqualTo(Frames / 10).Within(10).Percent);
        Assert.That(counters.Duplicated, Is.EqualTo(Frames * 0.9 * 0.05).Within(15).Percent);
        Assert.That(marks, Has.Count.EqualTo(Frames - counters.Lost + counters.Duplicated));
        Assert.That(marks, Is.Ordered);
    }

    [Test]
    public void A_burst_loses_so_many_in_a_row()
    {
        (List<int> marks, FaultCounters counters) = Run(new FaultPlan { Burst = 0.001, BurstLength = 7 }, seed: 2);
        Assert.That(counters.Lost, Is.GreaterThan(0));
        for (int i = 1; i < marks.Count; i++) Assert.That((marks[i] - marks[i - 1] - 1) % 7, Is.Zero);
    }

    [Test]
    public void Reordered_frames_come_later_and_none_is_missing()
    {
        (List<int> marks, FaultCounters counters) = Run(new FaultPlan { Reorder = 0.02, ReorderNs = 5_000, DelayNs = 2_000 }, seed: 3);
        Assert.That(counters.Reordered, Is.EqualTo(Frames / 50).Within(20).Percent);
        Assert.That(marks, Is.Not.Ordered);
        Assert.That(marks, Is.EquivalentTo(Enumerable.Range(0, Frames)));
    }

    [Test]
    public void The_same_seed_gives_the_same_faults_and_another_seed_others()
    {
        var plan = new FaultPlan { Loss = 0.1, Duplicate = 0.1, Reorder = 0.1, ReorderNs = 3000, JitterNs = 500, Corrupt = 0.1 };
        List<int> first = Run(plan, seed: 4).Marks, again = Run(plan, seed: 4).Marks, other = Run(plan, seed: 5).Marks;
        Assert.That(again, Is.EqualTo(first));
        Assert.That(other, Is.Not.EqualTo(first));
    }

    [Test]
    public void A_delayed_frame_is_there_when_it_is_due_and_not_before()
    {
        using var wire = new MemoryWire("a", "b");
        using var port = new FaultPort(wire.B, 6, () => _now, receive: new FaultPlan { DelayNs = 1000 });
        using var memory = new ScratchPool(1, 128);
        FrameRef frame = Make(memory, 1);
        var batch = new FrameBatch(4);
        _now = 10;
        wire.A.Send(frame);
        wire.A.Flush();
        Assert.That(port.Receive(batch), Is.Zero);
        Assert.That(port.NextDue, Is.EqualTo(1010));
        _now = 1009;
        Assert.That(port.Receive(batch), Is.Zero);
        _now = 1010;
        Assert.That(port.Receive(batch), Is.EqualTo(1));
        Assert.That(batch[0].Bytes.ToArray(), Is.EqualTo(frame.Bytes.ToArray()));
    }

    [Test]
    public void A_partial_checksum_is_completed_before_a_bit_flips()
    {
        using var wire = new MemoryWire("a", "b");
        using var port = new FaultPort(wire.A, 7, () => 0, send: new FaultPlan { Corrupt = 1 });
        using var memory = new ScratchPool(1, 128);
        FrameRef frame = Make(memory, 1);
        Assert.That(Packet.TryParse(frame.Bytes, out Packet packet, out _), Is.True);
        ushort partial = InternetChecksum.PseudoHeaderSum(packet.Source, packet.Destination, Packet.ProtocolTcp, packet.Transport.Length);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(packet.Transport[16..], partial);
        frame.Vnet = new VnetHeader { Flags = VnetHeader.FlagNeedsChecksum, ChecksumStart = 34, ChecksumOffset = 16 };
        byte[] complete = frame.Bytes.ToArray();
        VnetHeader vnet = frame.Vnet;
        Assert.That(InternetChecksum.CompleteTransport(complete, ref vnet), Is.True);
        port.Send(frame);
        port.Flush();
        var batch = new FrameBatch(4);
        Assert.That(wire.B.Receive(batch), Is.EqualTo(1));
        Assert.That(batch[0].Vnet.NeedsChecksum, Is.False);
        int flipped = 0;
        for (int i = 0; i < complete.Length; i++) flipped += System.Numerics.BitOperations.PopCount((uint)(complete[i] ^ batch[0].Bytes[i]));
        Assert.That(flipped, Is.EqualTo(1));
    }

    [Test]
    public void A_super_frame_counts_as_its_wire_segments()
    {
        using var wire = new MemoryWire("a", "b");
        using var port = new FaultPort(wire.A, 8, () => 0, send: new FaultPlan { Loss = 0.5 });
        using var memory = new ScratchPool(1, 65_536);
        memory.TryTake(out nint address);
        Span<byte> frame = MemoryNative.Span(address, 54 + 30_000);
        Tcp(new MacAddress(1), "10.0.0.1", "10.0.0.2", 1, 2).AsSpan(0, 54).CopyTo(frame);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame[16..], 30_040);
        port.Send(new FrameRef { Address = address, Length = frame.Length, Vnet = new VnetHeader { Flags = VnetHeader.FlagNeedsChecksum, GsoType = VnetHeader.GsoTcp4, GsoSize = 1000, HeaderLength = 54, ChecksumStart = 34, ChecksumOffset = 16 } });
        port.Flush();
        var batch = new FrameBatch(64);
        int arrived = wire.B.Receive(batch);
        Assert.That(port.Sending!.Segments, Is.EqualTo(30));
        Assert.That(arrived, Is.EqualTo(30 - port.Sending.Lost).And.InRange(1, 29));
        for (int i = 0; i < arrived; i++) Assert.That(batch[i].Length, Is.EqualTo(1054));
    }

    [Test]
    public void More_frames_under_way_than_there_is_room_for_are_dropped_and_counted()
    {
        using var wire = new MemoryWire("a", "b");
        using var port = new FaultPort(wire.A, 9, () => 0, send: new FaultPlan { DelayNs = 1 }, capacity: 10);
        using var memory = new ScratchPool(1, 128);
        FrameRef frame = Make(memory, 1);
        for (int i = 0; i < 25; i++) port.Send(frame);
        port.Flush();
        Assert.That(port.Sending!.Overflowed, Is.EqualTo(15));
    }

    // Sends numbered frames, one per microsecond, and returns the numbers as they arrive.
    private (List<int> Marks, FaultCounters Counters) Run(FaultPlan plan, ulong seed)
    {
        using var wire = new MemoryWire("a", "b");
        using var port = new FaultPort(wire.B, seed, () => _now, receive: plan);
        using var memory = new ScratchPool(1, 128);
        var batch = new FrameBatch(16);
        var marks = new List<int>();
        FrameRef frame = Make(memory, 0);
        for (int i = 0; i < Frames + 100; i++)
        {
            _now = i * 1000L;
            if (i < Frames)
            {
                // In the source address, which a flipped bit in the payload leaves alone.
                System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(frame.Bytes[6..], i);
                wire.A.Send(frame);
                wire.A.Flush();
            }
            while (port.Receive(batch) > 0)
                for (int k = 0; k < batch.Count; k++) marks.Add(System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(batch[k].Bytes[6..]));
        }
        return (marks, port.Receiving!);
    }

    private static FrameRef Make(ScratchPool memory, byte mark)
    {
        memory.TryTake(out nint address);
        byte[] bytes = Tcp(new MacAddress(mark), "10.0.0.1", "10.0.0.2", 1, 2);
        bytes.AsSpan(0, 54).CopyTo(MemoryNative.Span(address, 54));
        return new FrameRef { Address = address, Length = 54 };
    }
}
