using System.Runtime.InteropServices;
using Appliance.DataPath.Memory;
using NUnit.Framework;

namespace Appliance.Tests.Memory;

public sealed class SpscRingTests
{
    private const int Length = SpscRing.HeaderSize + 1024;

    [Test]
    public void Records_come_out_as_they_went_in_whatever_their_lengths()
    {
        using var memory = SharedRegion.Anonymous(Length);
        SpscRing writer = SpscRing.Create(memory.Address, Length, 5);
        SpscRing reader = Reader(memory);
        var random = new Random(3);
        var expected = new Queue<byte[]>();
        var buffer = new byte[1024];
        for (int i = 0; i < 200_000; i++)
        {
            if (random.Next(2) == 0)
            {
                var record = new byte[random.Next(10) == 0 ? random.Next(1017) : random.Next(60)];
                random.NextBytes(record);
                int cut = random.Next(record.Length + 1);
                ulong refused = writer.Overflows;
                bool written = writer.TryWrite(record.AsSpan(0, cut), record.AsSpan(cut));
                if (written) expected.Enqueue(record);
                Assert.That(writer.Overflows, Is.EqualTo(written ? refused : refused + 1));
                if (expected.Count == 1 && written is false) Assert.That(record, Is.Not.Empty);
            }
            else
            {
                RingRead outcome = reader.TryRead(buffer, out int length);
                Assert.That(outcome, Is.EqualTo(expected.Count > 0 ? RingRead.Record : RingRead.Empty));
                if (outcome == RingRead.Record) Assert.That(buffer.AsSpan(0, length).SequenceEqual(expected.Dequeue()), Is.True);
            }
        }
    }

    [Test]
    public void The_longest_record_fits_and_one_byte_more_does_not()
    {
        using var memory = SharedRegion.Anonymous(Length);
        SpscRing writer = SpscRing.Create(memory.Address, Length, 5);
        Assert.That(writer.MaxRecord, Is.EqualTo(1016));
        Assert.That(writer.TryWrite(new byte[1017]), Is.False);
        Assert.That(writer.TryWrite(new byte[1016]), Is.True);
        Assert.That(writer.TryWrite([]), Is.False);
        Assert.That(writer.Overflows, Is.EqualTo(2));
        Assert.That(Reader(memory).TryRead(new byte[1016], out int length), Is.EqualTo(RingRead.Record));
        Assert.That(length, Is.EqualTo(1016));
        Assert.That(writer.TryWrite([]), Is.True);
    }

    [Test]
    public void Two_threads_pass_a_million_records_without_a_torn_one()
    {
        const int records = 1_000_000;
        using var memory = SharedRegion.Anonymous(1 << 16);
        SpscRing writer = SpscRing.Create(memory.Address, 1 << 16, 5);
        SpscRing reader = Reader(memory);
        var thread = new Thread(() =>
        {
            Span<byte> record = stackalloc byte[64];
            for (int i = 0; i < records;)
            {
                Span<byte> part = record[..(8 + (i % 50))];
                part.Fill((byte)i);
                MemoryMarshal.Write(part, i);
                if (writer.TryWrite(part)) i++;
                else Thread.Yield();
            }
        });
        thread.Start();
        Span<byte> buffer = stackalloc byte[64];
        int next = 0, torn = 0;
        while (next < records && torn == 0)
        {
            RingRead outcome = reader.TryRead(buffer, out int length);
            if (outcome == RingRead.Empty)
            {
                Thread.Yield();
                continue;
            }
            bool whole = outcome == RingRead.Record && length == 8 + (next % 50) && MemoryMarshal.Read<int>(buffer) == next
                && buffer[4..length].IndexOfAnyExcept((byte)next) < 0;
            if (!whole) torn++;
            next++;
        }
        thread.Join(torn == 0 ? Timeout.Infinite : 0);
        Assert.That(torn, Is.Zero);
    }

    [Test]
    public void Rubbish_in_the_memory_is_never_shown_as_a_record_and_never_read_outside()
    {
        // The ring stands at the end of its pages, so that one byte too far would end the process.
        int seed = Environment.TickCount;
        TestContext.Out.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var memory = SharedRegion.Anonymous(4096);
        nint start = memory.Address + 4096 - Length - 8 + 8;
        var buffer = new byte[256];
        for (int round = 0; round < 20_000; round++)
        {
            SpscRing writer = SpscRing.Create(start, Length, (uint)round);
            Assert.That(SpscRing.TryAttachReader(start, Length, out SpscRing? reader), Is.True);
            for (int i = 0; i < 5; i++) writer.TryWrite(new byte[random.Next(200)]);
            Span<byte> all = MemoryNative.Span(start, Length);
            for (int k = random.Next(1, 12); k > 0; k--) all[random.Next(3) == 0 ? random.Next(64, 80) : random.Next(all.Length)] = (byte)random.Next(256);
            for (int i = 0; i < 12; i++)
            {
                RingRead outcome = reader!.TryRead(buffer, out int length);
                Assert.That(length, Is.InRange(0, buffer.Length));
                if (outcome == RingRead.Empty) break;
            }
            writer.TryWrite(new byte[random.Next(1200)]);
            if (SpscRing.TryAttachReader(start, Length, out SpscRing? second)) second.TryRead(buffer, out _);
        }
    }

    [Test]
    public void A_record_of_another_generation_is_not_believed_and_the_ring_recovers()
    {
        using var memory = SharedRegion.Anonymous(Length);
        SpscRing old = SpscRing.Create(memory.Address, Length, 1);
        SpscRing reader = Reader(memory);
        SpscRing fresh = SpscRing.Create(memory.Address, Length, 2);
        fresh.TryWrite("new"u8);
        Assert.That(reader.TryRead(new byte[16], out _), Is.EqualTo(RingRead.Corrupt));
        Assert.That(reader.TryRead(new byte[16], out _), Is.EqualTo(RingRead.Empty));
        Assert.That(old.Generation, Is.EqualTo(1));
        Assert.That(Reader(memory).Generation, Is.EqualTo(2));
    }

    [Test]
    public void A_record_longer_than_the_readers_buffer_is_discarded_and_later_ones_arrive()
    {
        using var memory = SharedRegion.Anonymous(Length);
        SpscRing writer = SpscRing.Create(memory.Address, Length, 1);
        SpscRing reader = Reader(memory);
        writer.TryWrite(new byte[100]);
        Assert.That(reader.TryRead(new byte[99], out _), Is.EqualTo(RingRead.Corrupt));
        writer.TryWrite("later"u8);
        var buffer = new byte[99];
        Assert.That(reader.TryRead(buffer, out int length), Is.EqualTo(RingRead.Record));
        Assert.That(buffer.AsSpan(0, length).SequenceEqual("later"u8), Is.True);
    }

    [Test]
    public void Writing_and_reading_allocate_nothing()
    {
        using var memory = SharedRegion.Anonymous(Length);
        SpscRing writer = SpscRing.Create(memory.Address, Length, 1);
        SpscRing reader = Reader(memory);
        Span<byte> buffer = stackalloc byte[64];
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100_000; i++)
        {
            writer.TryWrite(buffer[..(i % 64)]);
            reader.TryRead(buffer, out _);
        }
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    private static SpscRing Reader(SharedRegion memory)
    {
        Assert.That(SpscRing.TryAttachReader(memory.Address, memory.Length, out SpscRing? reader), Is.True);
        return reader!;
    }
}
