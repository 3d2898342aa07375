using Appliance.DataPath.Balance;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Balance;

[TestFixture]
internal sealed class ReplayRingTests
{
    private static byte[] Segment(int flow, uint seq, int payload, TcpFlags flags = TcpFlags.Ack)
    {
        var frame = new byte[FrameWriter.MaxHeaders + payload];
        var spec = new TcpSegmentSpec
        {
            Source = IpAddr.FromV4(0x0a00_0000u + (uint)flow),
            Destination = IpAddr.FromV4(0xcb00_710a),
            SourcePort = 1024,
            DestinationPort = 80,
            Seq = new TcpSeq(seq),
            Ack = new TcpSeq(seq + 7),
            Flags = flags,
        };
        int length = FrameWriter.WriteTcp(frame, in spec, new byte[payload]);
        Assert.That(length, Is.Positive);
        return frame[..length];
    }

    private static void Add(ReplayRing ring, byte[] frame, long now, VnetHeader vnet = default)
    {
        Assert.That(Packet.TryParse(frame, out Packet packet, out _), Is.True);
        ring.Add(in packet, in vnet, now);
    }

    private static List<byte[]> Replay(ReplayRing ring, long now, long hold)
    {
        var frames = new List<byte[]>();
        ring.BeginReplay(now, hold);
        while (ring.TryReplay(out FrameRef frame)) frames.Add(frame.Bytes.ToArray());
        return frames;
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public void Replays_the_tail_of_what_was_added_in_order(int seed)
    {
        TestContext.Out.WriteLine($"seed {seed}");
        var random = new Random(seed);
        const int size = 65536;
        using var ring = new ReplayRing(size);
        for (int round = 0; round < 30; round++)
        {
            var added = new List<(byte[] Frame, long Time, bool PureAck, int Flow)>();
            long now = round * 1_000_000L;
            int frames = random.Next(400);
            for (int i = 0; i < frames; i++)
            {
                int flow = random.Next(5), payload = random.Next(3) == 0 ? 0 : random.Next(2000);
                byte[] frame = Segment(flow, (uint)i, payload);
                now += random.Next(1000);
                Add(ring, frame, now);
                added.Add((frame, now, payload == 0, flow));
            }
            const long hold = 100_000;
            List<byte[]> replayed = Replay(ring, now, hold);
            var wanted = added.Where((f, i) => f.Time >= now - hold && !(f.PureAck && added.Skip(i + 1).Any(g => g.PureAck && g.Flow == f.Flow))).Select(f => f.Frame).ToList();
            Assert.That(replayed, Has.Count.LessThanOrEqualTo(wanted.Count));
            Assert.That(replayed, Is.EqualTo(wanted[^replayed.Count..]));
            // What is missing is missing for want of room only.
            if (replayed.Count < wanted.Count) Assert.That(wanted.Sum(f => f.Length + 40), Is.GreaterThan(size - 4096));
            Assert.That(Replay(ring, now, hold), Is.Empty, "once only");
        }
    }

    [Test]
    public void Of_pure_acks_only_the_newest_of_each_flow_is_replayed()
    {
        using var ring = new ReplayRing(4096);
        byte[] data = Segment(1, 5, 10), fin = Segment(1, 6, 0, TcpFlags.Ack | TcpFlags.Fin), last = Segment(1, 3, 0), other = Segment(2, 1, 0);
        Add(ring, Segment(1, 1, 0), 0);
        Add(ring, data, 0);
        Add(ring, other, 0);
        Add(ring, fin, 0);
        Add(ring, Segment(1, 2, 0), 0);
        Add(ring, last, 0);
        Assert.That(Replay(ring, 0, 1), Is.EqualTo(new[] { data, other, fin, last }));
    }

    [Test]
    public void Keeps_super_frames_whole_and_leaves_out_what_is_not_tcp_or_too_long()
    {
        using var ring = new ReplayRing(1 << 17);
        byte[] super = Segment(1, 1, 64_000);
        var vnet = new VnetHeader { GsoType = VnetHeader.GsoTcp4, GsoSize = 1448, Flags = 1 };
        Add(ring, super, 0, vnet);
        byte[] udp = Segment(1, 1, 100);
        udp[23] = 17;
        udp[38] = 0;
        udp[39] = 50;
        Add(ring, udp, 0);
        ring.BeginReplay(0, 1);
        Assert.That(ring.TryReplay(out FrameRef frame), Is.True);
        Assert.That(frame.Bytes.SequenceEqual(super), Is.True);
        Assert.That(frame.Vnet, Is.EqualTo(vnet));
        Assert.That(ring.TryReplay(out _), Is.False);
        using var small = new ReplayRing(4096);
        Add(small, super, 0);
        Assert.That(small.TooLong, Is.EqualTo(1));
        Assert.That(Replay(small, 0, 1), Is.Empty);
    }

    [Test]
    public void Adding_and_replaying_allocate_nothing()
    {
        using var ring = new ReplayRing(4096);
        byte[] frame = Segment(1, 1, 300);
        Run(ring, frame);
        long before = GC.GetAllocatedBytesForCurrentThread();
        int replayed = Run(ring, frame);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(replayed, Is.Positive);
        Assert.That(ring.OverwrittenUntil, Is.Positive);
    }

    private static int Run(ReplayRing ring, byte[] frame)
    {
        if (!Packet.TryParse(frame, out Packet packet, out _)) return 0;
        for (int i = 0; i < 1000; i++) ring.Add(in packet, default, i);
        ring.BeginReplay(1000, 1000);
        int count = 0;
        while (ring.TryReplay(out _)) count++;
        return count;
    }
}
