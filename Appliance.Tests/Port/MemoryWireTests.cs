using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Port;

public sealed class MemoryWireTests
{
    private readonly ScratchPool _memory = new(600, 2048);

    [TearDown]
    public void Reset() => _memory.Reset();

    [OneTimeTearDown]
    public void Free() => _memory.Dispose();

    [Test]
    public void What_one_end_sends_the_other_receives_in_order_as_it_was_at_the_flush()
    {
        using var wire = new MemoryWire("a", "b");
        FrameRef first = Make(60, 1), second = Make(100, 2);
        second.Vnet = new VnetHeader { Flags = VnetHeader.FlagNeedsChecksum, ChecksumStart = 34 };
        wire.A.Send(first);
        wire.A.Send(second);
        first.Bytes[20] = 99;
        var batch = new FrameBatch(8);
        Assert.That(wire.B.Receive(batch), Is.Zero);
        wire.A.Flush();
        first.Bytes.Clear();
        Assert.That(wire.B.HasFrames, Is.True);
        Assert.That(wire.B.Receive(batch), Is.EqualTo(2));
        Assert.That((batch[0].Length, batch[0].Bytes[20], batch[0].Bytes[21]), Is.EqualTo((60, (byte)99, (byte)1)));
        Assert.That((batch[1].Length, batch[1].Vnet.ChecksumStart), Is.EqualTo((100, (ushort)34)));
        wire.B.Release();
        Assert.That(wire.B.Receive(batch), Is.Zero);
        Assert.That((wire.A.Counters.SentFrames, wire.A.Counters.SentBytes, wire.B.Counters.ReceivedFrames, wire.B.Counters.ReceivedBytes), Is.EqualTo((2L, 160L, 2L, 160L)));
    }

    [Test]
    public void A_full_wire_drops_and_counts_and_borrowed_frames_keep_their_slots()
    {
        using var wire = new MemoryWire("a", "b", slots: 4);
        for (int i = 0; i < 6; i++) wire.A.Send(Make(60, (byte)i));
        wire.A.Flush();
        Assert.That((wire.A.Counters.SentFrames, wire.A.Counters.SendDrops), Is.EqualTo((4L, 2L)));
        var batch = new FrameBatch(2);
        Assert.That(wire.B.Receive(batch), Is.EqualTo(2));
        wire.A.Send(Make(60, 9));
        wire.A.Flush();
        Assert.That(wire.A.Counters.SendDrops, Is.EqualTo(3));
        Assert.That(batch[1].Bytes[21], Is.EqualTo(1));
        wire.B.Release();
        wire.A.Send(Make(60, 10));
        wire.A.Flush();
        Assert.That(wire.A.Counters.SentFrames, Is.EqualTo(5));
    }

    [Test]
    public void Without_offloads_only_wire_frames_pass()
    {
        using var wire = new MemoryWire("a", "b", mtu: 1500, offloads: false);
        FrameRef super = Make(1000, 1), partial = Make(1000, 2);
        super.Vnet = new VnetHeader { GsoType = VnetHeader.GsoTcp4, GsoSize = 500 };
        partial.Vnet = new VnetHeader { Flags = VnetHeader.FlagNeedsChecksum };
        Assert.That(wire.A.Send(super), Is.False);
        Assert.That(wire.A.Send(partial), Is.False);
        Assert.That(wire.A.Send(Make(1523, 3)), Is.False);
        Assert.That(wire.A.Send(Make(13, 3)), Is.False);
        Assert.That(wire.A.Send(Make(1522, 4)), Is.True);
        wire.A.Flush();
        Assert.That((wire.A.Counters.SendErrors, wire.B.Receive(new FrameBatch(8))), Is.EqualTo((4L, 1)));
    }

    [Test]
    public void A_cycle_of_a_forwarder_between_wires_allocates_nothing()
    {
        using var left = new MemoryWire("l", "la");
        using var right = new MemoryWire("rb", "r");
        var macs = (new MacAddress(1), new MacAddress(2));
        var forwarder = new BarePassThrough(left.B, right.A) { ToA = macs, ToB = macs };
        var batch = new FrameBatch(64);
        FrameRef frame = Make(1000, 5);
        Cycle(left.A, right.B, forwarder, batch, frame, 10);
        long before = GC.GetAllocatedBytesForCurrentThread();
        int received = Cycle(left.A, right.B, forwarder, batch, frame, 10_000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(received, Is.EqualTo(10_000 * 32));
        Assert.That(batch[0].Bytes[..12].ToArray(), Is.EqualTo((byte[])[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2]));
    }

    private static int Cycle(MemoryPort from, MemoryPort to, BarePassThrough forwarder, FrameBatch batch, FrameRef frame, int cycles)
    {
        int received = 0;
        for (int i = 0; i < cycles; i++)
        {
            for (int k = 0; k < 32; k++) from.Send(frame);
            from.Flush();
            forwarder.Cycle();
            received += to.Receive(batch);
        }
        return received;
    }

    private FrameRef Make(int length, byte mark)
    {
        Assert.That(_memory.TryTake(out nint address), Is.True);
        MemoryNative.Span(address, length).Fill(mark);
        return new FrameRef { Address = address, Length = length };
    }
}
