using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

public class ProgressTests
{
    private const TcpFlags Ack = TcpFlags.Ack;

    private static void See(ref RewriteEntry entry, uint seq, uint ack, TcpFlags flags = Ack, ushort window = 10, int payload = 0, long now = 0, byte[]? options = null)
    {
        byte[] frame = SpliceKit.Frame(entry.Key, seq, ack, flags, window, options, new byte[payload]);
        Assert.That(Packet.TryParse(frame, out Packet packet, out _), Is.True);
        Progress.Observe(ref entry, in packet, now);
    }

    [Test]
    public void KeepsSerialMaxima_AcrossTheWrap()
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record(a: 0xffff_ff00, b: 0xffff_fff0));
        entry.WindowShiftIn = 7;
        See(ref entry, 0xffff_ff01, 0xffff_fff1, payload: 300, now: 5, options: SpliceKit.Timestamps(0xffff_fffe, 0));
        See(ref entry, 0xffff_ff01, 0xffff_ff00, payload: 10, now: 6, options: SpliceKit.Timestamps(0xffff_fff0, 0));
        See(ref entry, 45, 5, now: 7, options: SpliceKit.Timestamps(3, 0));
        Assert.That((entry.SeqNext, entry.AckSeen, entry.RightEdge, entry.TsVal), Is.EqualTo((45u, 5u, 1285u, 3u)));
        Assert.That(Progress.Window(in entry), Is.EqualTo(1280));
        Assert.That((entry.Packets, entry.Bytes, entry.LastSeen), Is.EqualTo((3L, 300L + 10 + 3 * 52, 7L)));
    }

    [Test]
    public void FirstPacketOfAnImportedEntry_SetsWhatIsFarFromTheHandshake()
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        See(ref entry, 0xc000_0000, 0xb000_0000, payload: 1);
        Assert.That((entry.SeqNext, entry.AckSeen), Is.EqualTo((0xc000_0001u, 0xb000_0000u)));
    }

    [Test]
    public void SynAndRst_DoNotCount_ButAreCounted()
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        See(ref entry, 0x5000_0000, 0x5000_0000, TcpFlags.Syn);
        See(ref entry, 0x5000_0000, 0x5000_0000, TcpFlags.Rst | Ack);
        Assert.That((entry.Seen, entry.SeqNext, entry.AckSeen, entry.Packets), Is.EqualTo(((byte)0, 1001u, 5001u, 2L)));
    }

    [Test]
    public void Fin_IsKeptWithItsNumber()
    {
        (RewriteEntry entry, _) = SpliceKit.Entries(SpliceKit.Record());
        See(ref entry, 1001, 5001, Ack | TcpFlags.Fin, payload: 9);
        Assert.That((entry.FinSeen, entry.FinSeq, entry.SeqNext), Is.EqualTo(((byte)1, 1010u, 1011u)));
    }

    [Test]
    public void Storm_OnlyIfBothDirectionsRepeat_Quickly()
    {
        (RewriteEntry up, RewriteEntry down) = SpliceKit.Entries(SpliceKit.Record());
        for (int i = 0; i < 200; i++) See(ref down, 9001, 1001, now: i);
        Assert.That(Progress.IsAckStorm(in down, in up), Is.False, "duplicate ACKs in one direction");
        for (int i = 0; i < 63; i++) See(ref up, 1001, 5001, now: i);
        Assert.That(Progress.IsAckStorm(in up, in down), Is.False);
        for (int i = 0; i < 2; i++) See(ref up, 1001, 5001, now: 63 + i);
        Assert.That(Progress.IsAckStorm(in up, in down), Is.True);
        See(ref up, 1001, 5002, now: 66);
        Assert.That(Progress.IsAckStorm(in up, in down), Is.False, "progress ends it");
    }

    [Test]
    public void KeepalivesAndWindowProbes_AreNoStorm()
    {
        (RewriteEntry up, RewriteEntry down) = SpliceKit.Entries(SpliceKit.Record());
        for (int i = 0; i < 1000; i++)
        {
            See(ref up, 1000, 5001, now: i * 200_000_000L);
            See(ref down, 9001, 1001, now: i * 200_000_000L);
        }
        Assert.That((up.Repeats, down.Repeats), Is.EqualTo(((ushort)0, (ushort)0)));
    }

    [Test]
    public void FloorsPass_WhenBothEndsHaveAcknowledged()
    {
        SpliceRecord record = SpliceKit.Record(p: 28);
        record.FloorOpen = 1;
        record.AckFloor = 1101;
        (RewriteEntry up, RewriteEntry down) = SpliceKit.Entries(record);
        Assert.That((up.Flags & RewriteFlags.TsEcrFloor, down.Flags & RewriteFlags.AckFloor), Is.EqualTo((RewriteFlags.TsEcrFloor, RewriteFlags.AckFloor)));
        Assert.That(RewriteEntryBuilder.FloorsPassed(in record, in up, in down, long.MaxValue), Is.False);
        See(ref down, 9001, 1101);
        Assert.That(RewriteEntryBuilder.FloorsPassed(in record, in up, in down, long.MaxValue), Is.False);
        See(ref up, 1101, 5101);
        Assert.That(RewriteEntryBuilder.FloorsPassed(in record, in up, in down, long.MaxValue), Is.True);
    }

    [Test]
    public void FloorsPass_InAnUploadThatHearsNothingButAcknowledgments([Values] bool echoes)
    {
        SpliceRecord record = SpliceKit.Record();
        record.FloorOpen = 1;
        (RewriteEntry up, RewriteEntry down) = SpliceKit.Entries(record);
        uint before = record.TsFirst + record.Ds;
        const uint Step = 1 << 28;
        for (uint sent = 0; ; sent += Step)
        {
            See(ref up, record.A + 1 + sent, record.B + 1, options: SpliceKit.Timestamps(1, echoes && sent > 0 ? before + 1 : before));
            See(ref down, record.D + 1, record.A + 1 + record.X + sent);
            bool passed = RewriteEntryBuilder.FloorsPassed(in record, in up, in down, long.MaxValue);
            Assert.That(passed, Is.EqualTo(echoes ? sent > 0 : sent > 1 << 30), $"{sent} bytes");
            if (passed) break;
        }
    }

    [Test]
    public void ScalesCount_OnlyWhereNegotiated()
    {
        SpliceRecord record = SpliceKit.Record();
        (record.ScaleClient, record.ScaleOursServer, record.ScaleServer, record.ScaleOursClient) = (7, 7, 9, 5);
        (RewriteEntry up, RewriteEntry down) = SpliceKit.Entries(record);
        Assert.That((up.WindowShiftIn, up.WindowShiftOut, down.WindowShiftIn, down.WindowShiftOut), Is.EqualTo(((byte)7, (byte)7, (byte)9, (byte)5)));
        record.Options &= ~SpliceOptions.ScaleServer;
        (up, down) = SpliceKit.Entries(record);
        Assert.That((up.WindowShiftIn, up.WindowShiftOut, down.WindowShiftIn, down.WindowShiftOut), Is.EqualTo(((byte)7, (byte)0, (byte)0, (byte)5)));
    }

    [Test]
    public void FiveGigabytesEachWay_WithAndWithoutProxyHeader([Values((ushort)0, (ushort)28)] ushort p)
    {
        // 5 GB pass 2^32 and any half of it; the floor of the first breakpoint must not come back.
        SpliceRecord record = SpliceKit.Record(a: 0xffff_0000, b: 0x7fff_0000, d: 0x1234_5678, p: p);
        record.FloorOpen = 1;
        (RewriteEntry up, RewriteEntry down) = SpliceKit.Entries(record);
        const uint Step = 60_000_000;
        ulong sent = 0;
        for (int i = 0; i < 90; i++, sent += Step)
        {
            uint c = record.A + 1 + (uint)sent, s = record.D + 1 + (uint)sent;
            byte[] request = SpliceKit.Frame(up.Key, c, record.B + 1 + (uint)sent, Ack, 9, payload: [1]);
            byte[] answer = SpliceKit.Frame(down.Key, s, c, Ack, 9, payload: [1]);
            Assert.That(Packet.TryParse(request, out Packet x, out _) & Packet.TryParse(answer, out Packet y, out _), Is.True);
            Progress.Observe(ref up, in x, i);
            Progress.Observe(ref down, in y, i);
            if (record.FloorOpen != 0 && RewriteEntryBuilder.FloorsPassed(in record, in up, in down, long.MaxValue))
            {
                record.FloorOpen = 0;
                up.Flags &= ~RewriteFlags.TsEcrFloor;
                down.Flags &= ~RewriteFlags.AckFloor;
            }
            Assert.That(Rewriter.Rewrite(in x, default, in up), Is.EqualTo(DropReason.None));
            Assert.That(Rewriter.Rewrite(in y, default, in down), Is.EqualTo(DropReason.None));
            Assert.That((x.Tcp.Seq.Value, x.Tcp.Ack.Value, y.Tcp.Seq.Value, y.Tcp.Ack.Value), Is.EqualTo((c, s, record.B + 1 + (uint)sent, c)), $"{sent} bytes");
        }
        Assert.That(sent, Is.GreaterThan(5_000_000_000));
    }
}
