using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

/// <summary>Random splices and packets against the slow second implementation in <see cref="SpliceKit"/>.</summary>
[Parallelizable(ParallelScope.Self)]
public class RewriterPropertyTests
{
    private static readonly uint[] Corners = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff, 0xffff_0000, 0x0000_ffff];

    [Test]
    public void EqualsTheEquations_WithChecksumsFromScratch([Values(1, 2, 3)] int seed)
    {
        var random = new Random(seed);
        TestContext.Out.WriteLine($"seed {seed}");
        for (int i = 0; i < 20_000; i++)
        {
            RewriteEntry entry = RandomEntry(random);
            byte[] frame = RandomFrame(random, in entry), expected = SpliceKit.Expect(frame, in entry);
            Assert.That(SpliceKit.Rewrite(frame, in entry), Is.EqualTo(DropReason.None));
            Assert.That(frame.AsSpan().SequenceEqual(expected), Is.True, $"seed {seed}, packet {i}");
        }
    }

    [Test]
    public void CorruptedStaysCorrupted_ByTheSameError()
    {
        var random = new Random(11);
        for (int i = 0; i < 20_000; i++)
        {
            RewriteEntry entry = RandomEntry(random);
            byte[] frame = RandomFrame(random, in entry);
            // Anything from the checksum field on, options apart: what the rewrite does not read.
            int tcp = frame[12] == 0x86 ? 54 : 34, payload = tcp + (frame[tcp + 12] >> 4) * 4;
            int at = random.Next(2) == 0 || payload == frame.Length ? tcp + 16 + random.Next(4) : random.Next(payload, frame.Length);
            frame[at] ^= (byte)(1 << random.Next(8));
            uint error = SpliceKit.TcpSum(frame);
            Assert.That(error, Is.Not.EqualTo(0xffff));
            Assert.That(SpliceKit.Rewrite(frame, in entry), Is.EqualTo(DropReason.None));
            Assert.That(SpliceKit.TcpSum(frame) % 0xffff, Is.EqualTo(error % 0xffff), $"packet {i}");
        }
    }

    [Test]
    public void CorruptedIpHeader_StaysCorrupted()
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, TcpFlags.Ack, 3);
        frame[18] ^= 0x40;
        uint error = SpliceKit.Naive(frame.AsSpan(14, 20), 0);
        Assert.That(SpliceKit.Rewrite(frame, in entry), Is.EqualTo(DropReason.None));
        Assert.That(SpliceKit.Naive(frame.AsSpan(14, 20), 0), Is.EqualTo(error));
    }

    [Test]
    public void PartialChecksum_OfSuperFrames_HoldsThePseudoHeaderSum()
    {
        var random = new Random(12);
        byte[] payload = new byte[20_000];
        random.NextBytes(payload);
        for (int i = 0; i < 500; i++)
        {
            RewriteEntry entry = RandomEntry(random);
            byte[] frame = RandomFrame(random, in entry, payload);
            int tcp = frame[12] == 0x86 ? 54 : 34;
            SetPartial(frame, tcp);
            byte[] expected = SpliceKit.Expect(frame, in entry);
            SetPartial(expected, tcp);
            var vnet = new VnetHeader { Flags = VnetHeader.FlagNeedsChecksum, GsoType = 1, GsoSize = 1448 };
            Assert.That(SpliceKit.Rewrite(frame, in entry, vnet), Is.EqualTo(DropReason.None));
            Assert.That(frame.AsSpan().SequenceEqual(expected), Is.True, $"packet {i}");
        }
    }

    [Test]
    public void ChecksumFieldOfFfff_IsAsGoodAsZero()
    {
        // A sender may write ffff for 0000: both verify, before and after.
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        byte[] payload = new byte[2];
        byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, TcpFlags.Ack, 3, payload: payload);
        // Let the payload absorb the sum, so that the right checksum is zero.
        (payload[0], payload[1]) = (frame[50], frame[51]);
        frame = SpliceKit.Frame(entry.Key, 1, 2, TcpFlags.Ack, 3, payload: payload);
        Assert.That((frame[50], frame[51]), Is.EqualTo(((byte)0, (byte)0)));
        byte[] other = [.. frame];
        (other[50], other[51]) = (0xff, 0xff);
        Assert.That(SpliceKit.Rewrite(frame, in entry), Is.EqualTo(DropReason.None));
        Assert.That(SpliceKit.Rewrite(other, in entry), Is.EqualTo(DropReason.None));
        Assert.That((SpliceKit.TcpSum(frame), SpliceKit.TcpSum(other)), Is.EqualTo((0xffffu, 0xffffu)));
    }

    [Test]
    public void ThereAndBack_IsTheIdentity()
    {
        // An epoch is a bijection: inverse deltas give the original frame, two hops older.
        var random = new Random(13);
        for (int i = 0; i < 5_000; i++)
        {
            RewriteEntry entry = RandomEntry(random);
            entry.Flags = RewriteFlags.Timestamps;
            (entry.WindowShiftIn, entry.WindowShiftOut) = (0, 0);
            RewriteEntry back = entry;
            back.Key = new(entry.NewSource, entry.NewDestination, entry.NewSourcePort, entry.NewDestinationPort, 6);
            (back.SeqDelta, back.AckDelta, back.TsValDelta, back.TsEcrDelta) = (0 - entry.SeqDelta, 0 - entry.AckDelta, 0 - entry.TsValDelta, 0 - entry.TsEcrDelta);
            RewriteEntryBuilder.Address(ref back, entry.Key.Source, entry.Key.Destination, entry.Key.SourcePort, entry.Key.DestinationPort);
            byte[] frame = RandomFrame(random, in entry), before = [.. frame];
            int ttl = frame[12] == 0x86 ? 21 : 22;
            Assert.That(SpliceKit.Rewrite(frame, in entry), Is.EqualTo(DropReason.None));
            Assert.That(SpliceKit.Rewrite(frame, in back), Is.EqualTo(DropReason.None));
            frame[ttl] += 2;
            SpliceKit.Seal(frame);
            Assert.That(frame.AsSpan().SequenceEqual(before), Is.True, $"packet {i}");
        }
    }

    [Test]
    public void Theorem_AnyPartitionPermutationAndDuplication_GivesTheSameFrames([Values(1, 2, 5)] int boxes)
    {
        var random = new Random(14 + boxes);
        RewriteEntry[] one = RandomPair(random);
        var copies = new RewriteEntry[boxes][];
        for (int i = 0; i < boxes; i++) copies[i] = [.. one];
        var single = new Dictionary<string, int>(StringComparer.Ordinal);
        var many = new Dictionary<string, int>(StringComparer.Ordinal);
        var stream = new List<(int Way, byte[] Frame)>();
        for (int i = 0; i < 3_000; i++)
        {
            int way = random.Next(2), times = random.Next(5) == 0 ? 2 : 1;
            byte[] frame = RandomFrame(random, in one[way]);
            for (int k = 0; k < times; k++) stream.Add((way, frame));
        }
        foreach ((int way, byte[] frame) in stream) Run(one, way, frame, single);
        foreach ((int way, byte[] frame) in stream.OrderBy(_ => random.Next())) Run(copies[random.Next(boxes)], way, frame, many);
        Assert.That(many, Is.EquivalentTo(single));

        static void Run(RewriteEntry[] entries, int way, byte[] frame, Dictionary<string, int> to)
        {
            byte[] copy = [.. frame];
            Assert.That(Packet.TryParse(copy, out Packet packet, out _), Is.True);
            Progress.Observe(ref entries[way], in packet, 1);
            Assert.That(Rewriter.Rewrite(in packet, default, in entries[way]), Is.EqualTo(DropReason.None));
            string key = Convert.ToHexString(copy);
            to[key] = to.GetValueOrDefault(key) + 1;
        }
    }

    [Test]
    public void AllocatesNothing()
    {
        var random = new Random(15);
        var entries = new RewriteEntry[64];
        var frames = new byte[64][];
        for (int i = 0; i < entries.Length; i++)
        {
            entries[i] = RandomEntry(random);
            frames[i] = RandomFrame(random, in entries[i]);
            frames[i][frames[i][12] == 0x86 ? 21 : 22] = 255;
        }
        Loop(1000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Loop(100);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);

        void Loop(int rounds)
        {
            for (int round = 0; round < rounds; round++)
            {
                for (int i = 0; i < frames.Length; i++)
                {
                    if (!Packet.TryParse(frames[i], out Packet packet, out _)) throw new InvalidOperationException();
                    Progress.Observe(ref entries[i], in packet, round);
                    Rewriter.Rewrite(in packet, default, in entries[i]);
                }
            }
        }
    }

    private static uint Number(Random random) =>
        random.Next(3) == 0 ? Corners[random.Next(Corners.Length)] + (uint)random.Next(-3, 4) : (uint)random.NextInt64(1L << 32);

    private static RewriteEntry[] RandomPair(Random random)
    {
        SpliceRecord record = SpliceKit.Record(random.Next(2) == 0, Number(random), Number(random), Number(random), (ushort)random.Next(60));
        (record.X, record.Ds, record.Dc, record.TsFirst) = (Number(random), Number(random), Number(random), Number(random));
        (record.ScaleClient, record.ScaleServer) = ((byte)random.Next(15), (byte)random.Next(15));
        (record.ScaleOursClient, record.ScaleOursServer) = ((byte)random.Next(15), (byte)random.Next(15));
        record.Options = (SpliceOptions)random.Next(64);
        record.FloorOpen = (byte)random.Next(2);
        (RewriteEntry toServer, RewriteEntry toClient) = SpliceKit.Entries(record);
        return [toServer, toClient];
    }

    private static RewriteEntry RandomEntry(Random random)
    {
        RewriteEntry entry = RandomPair(random)[random.Next(2)];
        if (random.Next(20) == 0) entry.Flags |= RewriteFlags.AddressesOnly;
        return entry;
    }

    private static byte[] RandomFrame(Random random, in RewriteEntry entry, byte[]? payload = null)
    {
        var options = new List<byte>();
        switch (random.Next(5))
        {
            case 0: break;
            case 1: options.AddRange(SpliceKit.Timestamps(Number(random), Number(random))); break;
            default:
                // Any mix that fits: MSS, unknown, timestamps, SACK, at any offset; the end of list early.
                if (random.Next(4) == 0) options.AddRange([2, 4, 5, 0xb4]);
                if (random.Next(4) == 0) options.AddRange([253, 5, 1, 2, 3]);
                if (random.Next(2) == 0) options.AddRange(SpliceKit.Timestamps(Number(random), Number(random), random.Next(3)));
                int blocks = Math.Min(4, (38 - options.Count) / 8);
                if (random.Next(2) == 0 && blocks > 0)
                {
                    var edges = new uint[2 * random.Next(1, blocks + 1)];
                    for (int i = 0; i < edges.Length; i++) edges[i] = Number(random);
                    int spare = 40 - options.Count - 2 - 4 * edges.Length;
                    options.AddRange(SpliceKit.Sack(random.Next(Math.Min(spare, 3) + 1), edges));
                }
                break;
        }
        if (payload is null)
        {
            payload = new byte[random.Next(2) == 0 ? 0 : random.Next(200)];
            random.NextBytes(payload);
        }
        TcpFlags flags = random.Next(10) == 0 ? (TcpFlags)random.Next(256) : TcpFlags.Ack | (TcpFlags)(random.Next(2) * 8);
        ushort window = random.Next(3) == 0 ? (ushort)(random.Next(2) * 65535) : (ushort)random.Next(65536);
        return SpliceKit.Frame(entry.Key, Number(random), Number(random), flags, window, [.. options], payload, (byte)random.Next(3, 256));
    }

    private static void SetPartial(byte[] frame, int tcp)
    {
        ReadOnlySpan<byte> addresses = tcp == 54 ? frame.AsSpan(22, 32) : frame.AsSpan(26, 8);
        uint sum = SpliceKit.Naive(addresses, (uint)(frame.Length - tcp) + 6);
        (frame[tcp + 16], frame[tcp + 17]) = ((byte)(sum >> 8), (byte)sum);
    }
}
