using System.Buffers.Binary;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

/// <summary>The equations of SPLICE 2 as tables; every expected value was computed by hand.</summary>
public class RewriterTableTests
{
    private const TcpFlags Ack = TcpFlags.Ack;

    // X = 0 always; Y = b - d.
    [TestCase(1000u, 5000u, 9000u, 1001u, 5001u, 1001u, 9001u)]
    [TestCase(0xffff_ffffu, 5000u, 9000u, 0u, 5001u, 0u, 9001u)]
    [TestCase(1000u, 0xffff_ffffu, 0u, 1001u, 0u, 1001u, 1u)]
    [TestCase(1000u, 0xffff_ffffu, 0u, 1001u, 0xffff_fff0u, 1001u, 0xffff_fff1u)]
    [TestCase(1000u, 7u, 7u, 1001u, 8u, 1001u, 8u)]
    [TestCase(1000u, 0x8000_0000u, 0u, 1001u, 0x8000_0001u, 1001u, 1u)]
    [TestCase(1000u, 0u, 0x8000_0000u, 1001u, 0x7fff_ffffu, 1001u, 0xffff_ffffu)]
    public void ToServer_SequenceStays_AckMovesByMinusY(uint a, uint b, uint d, uint seq, uint ack, uint expectSeq, uint expectAck)
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record(a: a, b: b, d: d));
        byte[] frame = SpliceKit.Frame(entry.Key, seq, ack, Ack, 500);
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        TcpView tcp = SpliceKit.Tcp(frame);
        Assert.That((tcp.Seq.Value, tcp.Ack.Value), Is.EqualTo((expectSeq, expectAck)));
        Assert.That((tcp.SourcePort, tcp.DestinationPort), Is.EqualTo(((ushort)40001, (ushort)8080)));
        Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff));
    }

    [TestCase(5000u, 9000u, 9001u, 1001u, 5001u, 1001u)]
    [TestCase(0xffff_ffffu, 0u, 1u, 1001u, 0u, 1001u)]
    [TestCase(0u, 0xffff_ffffu, 0u, 1001u, 1u, 1001u)]
    [TestCase(0x8000_0000u, 0u, 0x8000_0000u, 1001u, 0u, 1001u)]
    public void ToClient_SequenceMovesByY(uint b, uint d, uint seq, uint ack, uint expectSeq, uint expectAck)
    {
        (_, RewriteEntry entry) = SpliceKit.Entries(SpliceKit.Record(b: b, d: d));
        byte[] frame = SpliceKit.Frame(entry.Key, seq, ack, Ack | TcpFlags.Psh, 500, payload: [1, 2, 3]);
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        TcpView tcp = SpliceKit.Tcp(frame);
        Assert.That((tcp.Seq.Value, tcp.Ack.Value), Is.EqualTo((expectSeq, expectAck)));
        Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff));
    }

    // win' = (win << in) >> out, saturating.
    [TestCase((byte)0, (byte)0, (ushort)65535, (ushort)65535)]
    [TestCase((byte)7, (byte)7, (ushort)501, (ushort)501)]
    [TestCase((byte)7, (byte)0, (ushort)511, (ushort)65408)]
    [TestCase((byte)7, (byte)0, (ushort)512, (ushort)65535)]
    [TestCase((byte)14, (byte)0, (ushort)3, (ushort)49152)]
    [TestCase((byte)14, (byte)0, (ushort)65535, (ushort)65535)]
    [TestCase((byte)14, (byte)7, (ushort)511, (ushort)65408)]
    [TestCase((byte)0, (byte)7, (ushort)127, (ushort)0)]
    [TestCase((byte)0, (byte)7, (ushort)128, (ushort)1)]
    [TestCase((byte)0, (byte)14, (ushort)65535, (ushort)3)]
    [TestCase((byte)7, (byte)14, (ushort)0, (ushort)0)]
    public void Window_IsTranslated_ButNotInSyn(byte shiftIn, byte shiftOut, ushort window, ushort expected)
    {
        (_, RewriteEntry entry) = SpliceKit.Entries(SpliceKit.Record());
        (entry.WindowShiftIn, entry.WindowShiftOut) = (shiftIn, shiftOut);
        foreach ((TcpFlags flags, ushort expect) in new[] { (Ack, expected), (TcpFlags.Syn, window), (TcpFlags.Syn | Ack, window) })
        {
            byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, flags, window);
            Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
            Assert.That(SpliceKit.Tcp(frame).Window, Is.EqualTo(expect), flags.ToString());
            Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff));
        }
    }

    // Ds = 500: TSecr' = TSecr - 500, TSval' (Dc = 0x10) = TSval + 16; aligned and at every odd or even place.
    [TestCase(100u, 700u, 116u, 200u)]
    [TestCase(0xffff_fff8u, 499u, 8u, 0xffff_ffffu)]
    [TestCase(0u, 0u, 16u, 0xffff_fe0cu)]
    public void Timestamps_MoveAtAnyOffset(uint value, uint echo, uint expectValue, uint expectEcho)
    {
        SpliceRecord record = SpliceKit.Record();
        (record.Ds, record.Dc) = (500, 16);
        (RewriteEntry entry, _) = SpliceKit.Entries(record);
        for (int nops = 0; nops <= 4; nops++)
        {
            byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, Ack, 9, SpliceKit.Timestamps(value, echo, nops), [0x55]);
            Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
            Assert.That(TcpOptions.TryParse(SpliceKit.Tcp(frame).Options, out TcpOptions options, out _), Is.True);
            Assert.That((options.TsVal, options.TsEcr), Is.EqualTo((expectValue, expectEcho)), $"{nops} NOPs");
            Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff), $"{nops} NOPs");
        }
    }

    [TestCase(0x100u, 0x50u, 0x100u, TestName = "echo of our own SYN-ACK is lifted to the backend's first value")]
    [TestCase(0x100u, 0x110u, 0x110u, TestName = "later echoes pass the floor")]
    [TestCase(0xffff_fff8u, 5u, 5u, TestName = "an echo that has wrapped is later than the floor")]
    [TestCase(0xffff_fff0u, 0xffff_ff00u, 0xffff_fff0u, TestName = "an echo below the floor near the wrap")]
    public void TsEcrFloor(uint floor, uint echo, uint expected)
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        entry.Flags |= RewriteFlags.TsEcrFloor;
        entry.TsEcrFloor = floor;
        byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, Ack, 9, SpliceKit.Timestamps(1, echo));
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        Assert.That(BinaryPrimitives.ReadUInt32BigEndian(SpliceKit.Tcp(frame).Options[8..]), Is.EqualTo(expected));
    }

    // PROXY header of 28 bytes: the server acknowledges it byte by byte, the client never hears of it.
    [TestCase(973u, 1001u, TestName = "before P is acknowledged")]
    [TestCase(1001u, 1001u, TestName = "P acknowledged")]
    [TestCase(1500u, 1500u, TestName = "beyond")]
    public void AckFloor(uint ack, uint expected)
    {
        SpliceRecord record = SpliceKit.Record(p: 28);
        record.FloorOpen = 1;
        (_, RewriteEntry entry) = SpliceKit.Entries(record);
        byte[] frame = SpliceKit.Frame(entry.Key, 9001, ack, Ack, 9);
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        Assert.That(SpliceKit.Tcp(frame).Ack.Value, Is.EqualTo(expected));
        Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff));
    }

    // Y = 5000 - 9000: edges of the client's blocks rise by 4000.
    [TestCase(1, new uint[] { 6000, 7000 }, new uint[] { 10000, 11000 })]
    [TestCase(0, new uint[] { 6000, 7000, 8000, 9000 }, new uint[] { 10000, 11000, 12000, 13000 })]
    [TestCase(3, new uint[] { 0xffff_f000, 100, 200, 300, 400, 500 }, new uint[] { 0xffff_ffa0, 4100, 4200, 4300, 4400, 4500 })]
    [TestCase(2, new uint[] { 4000, 4500, 6000, 7000, 8000, 9000, 10000, 11000 }, new uint[] { 8000, 8500, 10000, 11000, 12000, 13000, 14000, 15000 }, TestName = "four blocks, the first a D-SACK")]
    public void Sack_EdgesMoveWithTheAck(int nops, uint[] edges, uint[] expected)
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        byte[] frame = SpliceKit.Frame(entry.Key, 1, 5001, Ack, 9, SpliceKit.Sack(nops, edges));
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        Assert.That(Edges(frame), Is.EqualTo(expected));
        Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff));
    }

    [Test]
    public void Sack_BelowAnOpenFloor_IsDroppedOrCut()
    {
        SpliceRecord record = SpliceKit.Record(p: 28);
        record.FloorOpen = 1;
        (_, RewriteEntry entry) = SpliceKit.Entries(record);
        byte[] some = SpliceKit.Frame(entry.Key, 9001, 973, Ack, 9, SpliceKit.Sack(1, 980, 990, 995, 1100, 1200, 1300));
        Assert.That(SpliceKit.Rewrite(some, entry), Is.EqualTo(DropReason.None));
        Assert.That(Edges(some), Is.EqualTo(new uint[] { 1001, 1100, 1200, 1300 }));
        Assert.That(SpliceKit.TcpSum(some), Is.EqualTo(0xffff));

        byte[] none = SpliceKit.Frame(entry.Key, 9001, 973, Ack, 9, SpliceKit.Sack(1, 980, 990));
        Assert.That(SpliceKit.Rewrite(none, entry), Is.EqualTo(DropReason.None));
        Assert.That(SpliceKit.Tcp(none).Options.ToArray(), Is.EqualTo(new byte[] { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0 }));
        Assert.That(SpliceKit.TcpSum(none), Is.EqualTo(0xffff));
    }

    [Test]
    public void Sack_IsBlanked_WhereItWasNotPromised()
    {
        SpliceRecord record = SpliceKit.Record();
        record.Options &= ~SpliceOptions.SackServer;
        (RewriteEntry entry, _) = SpliceKit.Entries(record);
        byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, Ack, 9, [.. SpliceKit.Timestamps(1, 2, 1), .. SpliceKit.Sack(0, 6000, 7000)]);
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        Assert.That(TcpOptions.TryParse(SpliceKit.Tcp(frame).Options, out TcpOptions options, out _), Is.True);
        Assert.That((options.SackBlocks, options.HasTimestamps), Is.EqualTo(((byte)0, true)));
        Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff));
    }

    [Test]
    public void WithoutAck_AckFieldAndEchoStay()
    {
        SpliceRecord record = SpliceKit.Record();
        record.Ds = 500;
        (RewriteEntry entry, _) = SpliceKit.Entries(record);
        byte[] frame = SpliceKit.Frame(entry.Key, 77, 0, TcpFlags.Rst, 0, SpliceKit.Timestamps(3, 0));
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        Assert.That(SpliceKit.Tcp(frame).Ack.Value, Is.Zero);
        Assert.That(BinaryPrimitives.ReadUInt32BigEndian(SpliceKit.Tcp(frame).Options[8..]), Is.Zero);
    }

    [TestCase((byte)0)]
    [TestCase((byte)1)]
    public void HopLimitUsedUp_IsDroppedUntouched(byte ttl)
    {
        foreach (bool v6 in new[] { false, true })
        {
            (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record(v6));
            byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, Ack, 9, ttl: ttl), before = [.. frame];
            Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.TtlExpired));
            Assert.That(frame, Is.EqualTo(before));
        }
    }

    [TestCase(new byte[] { 8, 0, 1, 1 })]
    [TestCase(new byte[] { 5, 1, 1, 1 })]
    [TestCase(new byte[] { 1, 1, 8, 10 })]
    public void MalformedOptions_AreDroppedUntouched(byte[] options)
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, Ack, 9, options), before = [.. frame];
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.TcpOptionsMalformed));
        Assert.That(frame, Is.EqualTo(before));
    }

    [Test]
    public void UrgentEcnPushIdentificationAndTrafficClass_Pass()
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        byte[] frame = SpliceKit.Frame(entry.Key, 1, 2, Ack | TcpFlags.Urg | TcpFlags.Psh | TcpFlags.Ece | TcpFlags.Cwr, 9, payload: [1, 2]);
        frame[34 + 18] = 0x12;
        frame[34 + 12] |= 1;
        SpliceKit.Seal(frame);
        byte[] before = [.. frame];
        Assert.That(SpliceKit.Rewrite(frame, entry), Is.EqualTo(DropReason.None));
        Assert.That(frame[14..22], Is.EqualTo(before[14..22]));
        Assert.That(frame[46..48], Is.EqualTo(before[46..48]));
        Assert.That(frame[52..54], Is.EqualTo(before[52..54]));
        Assert.That(SpliceKit.TcpSum(frame), Is.EqualTo(0xffff));
    }

    private static uint[] Edges(byte[] frame)
    {
        Span<byte> options = SpliceKit.Tcp(frame).Options;
        Assert.That(TcpOptions.TryParse(options, out TcpOptions parsed, out _), Is.True);
        var edges = new uint[parsed.SackBlocks * 2];
        for (int i = 0; i < edges.Length; i++) edges[i] = BinaryPrimitives.ReadUInt32BigEndian(options[(parsed.SackOffset + 4 * i)..]);
        return edges;
    }
}
