using System.Runtime.InteropServices;
using Appliance.Control.Failover;
using Appliance.Control.Replication;
using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Replication;

[TestFixture]
public sealed class CodecTests
{
    [Test]
    public void A_record_comes_back_as_it_went([Range(1, 20)] int seed)
    {
        var random = new Random(seed);
        Span<byte> bytes = stackalloc byte[SpliceRecordCodec.MaxBytes];
        for (int i = 0; i < 2_000; i++)
        {
            SpliceRecord record = ModelTable.RandomRecord(random, (byte)random.Next(64), (ulong)random.NextInt64() | 1, v6: random.Next(2) == 0);
            SpliceProgress progress = ModelTable.RandomProgress(random);
            int length = SpliceRecordCodec.Write(record, progress, bytes);
            SpliceRecord read = default;
            SpliceProgress readProgress = default;
            Assert.That(length, Is.InRange(1, SpliceRecordCodec.MaxBytes));
            Assert.That(SpliceRecordCodec.TryRead(bytes[..length], ref read, ref readProgress), Is.True, $"seed {seed}");
            Assert.That(Same(record, read) && Same(progress, readProgress), Is.True, $"seed {seed}");
            Assert.That(SpliceRecordCodec.Write(record, progress, bytes[..(length - 1)]), Is.Zero, "no room");
        }
    }

    [Test]
    public void An_ordinary_record_takes_less_than_a_hundred_bytes_and_its_progress_about_forty()
    {
        var random = new Random(1);
        SpliceRecord record = ModelTable.RandomRecord(random, 1, 1);
        (record.Source, record.SourcePort, record.X, record.Dc, record.C) = (record.Client, record.ClientPort, 0, 0, record.A - record.P);
        var direction = new DirectionProgress { Seen = 1, SeqNext = 1, AckSeen = 1, RightEdge = 65_536, TsVal = 1 };
        var progress = new SpliceProgress { ToServer = direction, ToClient = direction };
        byte[] bytes = new byte[256];
        Assert.That(SpliceRecordCodec.Write(record, default, bytes), Is.LessThanOrEqualTo(100));
        Assert.That(RecordCodec.WriteProgress(1, progress, bytes), Is.LessThanOrEqualTo(40));
    }

    [Test]
    public void The_longest_record_fits([Values] bool v6)
    {
        var direction = new DirectionProgress { Seen = 1, FinSeen = 1, FinSeq = 9, SeqNext = 1, AckSeen = 1, RightEdge = 0, TsVal = 1, PathMtu = 1 };
        SpliceRecord record = ModelTable.RandomRecord(new Random(2), 63, ulong.MaxValue, v6);
        (record.Source, record.X, record.Dc, record.C) = (record.Real, 1, 1, record.A + 1);
        Assert.That(SpliceRecordCodec.Write(record, new SpliceProgress { ToServer = direction, ToClient = direction }, new byte[256]), Is.InRange(1, 256));
    }

    [Test]
    public void Progress_merges_in_any_order_to_the_same([Range(1, 10)] int seed)
    {
        var random = new Random(seed);
        uint start = (uint)random.NextInt64();
        SpliceProgress[] steps = [.. Enumerable.Range(0, 20).Select(_ => new SpliceProgress
        {
            ToServer = new DirectionProgress { Seen = 1, SeqNext = start + (uint)random.Next(1 << 20), AckSeen = start + (uint)random.Next(1 << 20), RightEdge = start + (uint)random.Next(1 << 24), TsVal = (uint)random.Next(1000) },
        })];
        SpliceProgress there = default, back = default;
        foreach (SpliceProgress step in steps) there.Merge(step);
        foreach (SpliceProgress step in steps.Reverse()) back.Merge(step);
        Assert.That(Same(there, back), Is.True, $"seed {seed}");
    }

    [Test]
    public void No_bytes_make_a_codec_throw([Range(1, 8)] int seed)
    {
        var random = new Random(seed);
        var corpus = new List<byte[]>();
        byte[] room = new byte[400];
        SpliceRecord record = ModelTable.RandomRecord(random, 1, 1, v6: true);
        SpliceProgress progress = ModelTable.RandomProgress(random);
        var choice = new ChoiceRecord { Id = 1 };
        corpus.Add(room[..SpliceRecordCodec.Write(record, progress, room)]);
        corpus.Add(room[..RecordCodec.WriteProgress(1, progress, room)]);
        corpus.Add(room[..RecordCodec.WriteRemove(1, 2, room)]);
        corpus.Add(room[..RecordCodec.WriteChoice(choice, room)]);
        corpus.Add(room[..RecordCodec.WriteQuery(new OwnerQuery { Id = 1 }, room)]);
        corpus.Add(room[..RecordCodec.WriteOwnedBytes(1, 2, "abc"u8, room)]);
        corpus.Add(room[..RecordCodec.WriteAnswer(1, AnswerKind.Splice, record, progress, choice, room)]);
        corpus.Add(room[..RecordCodec.WriteAnswer(1, AnswerKind.Choice, record, progress, choice, room)]);
        corpus.Add(room[..new SyncHeader { Target = 1, Missing = new uint[] { 1, 2 } }.Write(room)]);
        corpus.Add(room[..BeatCodec.Write(new Beat { IntervalMicros = 5000 }, room)]);
        int accepted = 0;
        foreach (byte[] seedBytes in corpus) accepted += ReadAll(seedBytes);
        Assert.That(accepted, Is.GreaterThanOrEqualTo(corpus.Count), "the corpus itself is accepted");
        for (int i = 0; i < 20_000; i++)
        {
            byte[] bytes = [.. corpus[random.Next(corpus.Count)]];
            for (int change = random.Next(6); change >= 0; change--) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            if (random.Next(3) == 0) bytes = bytes[..random.Next(bytes.Length + 1)];
            if (random.Next(20) == 0) random.NextBytes(bytes);
            ReadAll(bytes);
        }
    }

    private static int ReadAll(byte[] bytes)
    {
        SpliceRecord record = default;
        SpliceProgress progress = default;
        ChoiceRecord choice = default;
        Beat beat = default;
        var reader = new WireReader(bytes);
        int accepted = SpliceRecordCodec.TryRead(bytes, ref record, ref progress) ? 1 : 0;
        if (accepted == 1)
        {
            byte[] again = new byte[256];
            int length = SpliceRecordCodec.Write(record, progress, again);
            SpliceRecord second = default;
            SpliceProgress secondProgress = default;
            Assert.That(SpliceRecordCodec.TryRead(again.AsSpan(0, length), ref second, ref secondProgress) && Same(record, second), Is.True, "what was accepted can be written again");
        }
        accepted += RecordCodec.TryReadProgress(bytes, out _, out _) ? 1 : 0;
        accepted += RecordCodec.TryReadRemove(bytes, out _, out _) ? 1 : 0;
        accepted += RecordCodec.TryReadChoice(bytes, out _) ? 1 : 0;
        accepted += RecordCodec.TryReadQuery(bytes, out _) ? 1 : 0;
        accepted += RecordCodec.TryReadOwnedBytes(bytes, out _, out _, out _) ? 1 : 0;
        accepted += RecordCodec.TryReadAnswer(bytes, out _, out _, ref record, ref progress, ref choice) ? 1 : 0;
        accepted += RecordCodec.TryReadMark(bytes, out _, out _) ? 1 : 0;
        accepted += SyncHeader.TryRead(ref reader, new uint[SyncHeader.MaxRanges], out _) ? 1 : 0;
        accepted += BeatCodec.TryRead(bytes, ref beat) ? 1 : 0;
        return accepted;
    }

    private static bool Same<T>(in T x, in T y) where T : unmanaged =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in x)).SequenceEqual(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in y)));
}
