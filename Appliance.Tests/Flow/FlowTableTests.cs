using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Flow;

[TestFixture]
internal sealed class FlowTableTests
{
    private static FlowKey Key(int n) =>
        new(IpAddr.FromV4(0x0a00_0000u + (uint)n), IpAddr.FromV4(0xcb00_710a), (ushort)(1024 + n % 50000), 80, Packet.ProtocolTcp);

    private static RewriteEntry EntryOf(in FlowKey key, int n) => new() { Key = key, Record = n, SeqDelta = (uint)n * 3, Version = 77 };

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public void Behaves_like_a_dictionary(int seed)
    {
        TestContext.Out.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var table = new FlowTable<RewriteEntry>(500, (ulong)seed, new Quiescence());
        var model = new Dictionary<FlowKey, int>();
        for (int step = 0; step < 50_000; step++)
        {
            int n = random.Next(800);
            FlowKey key = Key(n);
            ulong hash = key.Hash(table.Seed);
            int index = table.Find(in key, hash);
            Assert.That(index >= 0, Is.EqualTo(model.ContainsKey(key)));
            switch (random.Next(3))
            {
                case 0:
                    bool fits = model.Count < 500;
                    bool inserted = table.TryInsert(EntryOf(in key, step), hash, out int at);
                    Assert.That(inserted, Is.EqualTo(index < 0 && fits));
                    if (inserted) model.Add(key, step);
                    else Assert.That(at, Is.EqualTo(index));
                    break;
                case 1 when index >= 0:
                    Assert.That(table.Remove(index), Is.True);
                    Assert.That(table.Remove(index), Is.False);
                    model.Remove(key);
                    break;
                case 2 when index >= 0:
                    Assert.That(table.Entry(index).Record, Is.EqualTo(model[key]));
                    break;
            }
            Assert.That(table.Count, Is.EqualTo(model.Count));
        }
        var walked = new Dictionary<FlowKey, int>();
        Span<int> found = stackalloc int[16];
        int cursor = 0;
        do
        {
            int count = table.Walk(ref cursor, found, 100);
            for (int i = 0; i < count; i++) walked.Add(table.Entry(found[i]).Key, table.Entry(found[i]).Record);
        }
        while (cursor != 0);
        Assert.That(walked, Is.EquivalentTo(model));
    }

    [Test]
    public void Colliding_hashes_overflow_until_the_probe_bound_and_can_be_removed_in_any_order()
    {
        using var table = new FlowTable<RewriteEntry>(1000, 0, new Quiescence());
        const ulong hash = 0x1234_0000_0000_0005;
        int most = FlowTable<RewriteEntry>.MaxProbe * 8;
        var indexes = new List<int>();
        for (int n = 0; n < most; n++)
        {
            Assert.That(table.TryInsert(EntryOf(Key(n), n), hash, out int index), Is.True);
            indexes.Add(index);
        }
        Assert.That(table.TryInsert(EntryOf(Key(most), most), hash, out int none), Is.False);
        Assert.That(none, Is.EqualTo(-1));
        var random = new Random(5);
        while (indexes.Count > 0)
        {
            int at = random.Next(indexes.Count);
            Assert.That(table.Remove(indexes[at]), Is.True);
            indexes.RemoveAt(at);
            foreach (int index in indexes)
            {
                FlowKey key = table.Entry(index).Key;
                Assert.That(table.Find(in key, hash), Is.EqualTo(index));
            }
        }
        Assert.That(table.Count, Is.Zero);
        // Nothing of the overflow counts is left: a foreign hash of the same bucket ends at once, and all fits again.
        for (int n = 0; n < most; n++) Assert.That(table.TryInsert(EntryOf(Key(n), n), hash, out _), Is.True);
    }

    [Test]
    public void A_reserved_entry_is_invisible_until_published_and_a_second_publication_of_a_key_fails()
    {
        using var table = new FlowTable<RewriteEntry>(10, 9, new Quiescence());
        FlowKey key = Key(1);
        ulong hash = key.Hash(9);
        Assert.That(table.TryReserve(out int first), Is.True);
        Assert.That(table.TryReserve(out int second), Is.True);
        table.Entry(first) = EntryOf(in key, 1);
        table.Entry(second) = EntryOf(in key, 2);
        Assert.That(table.Find(in key, hash), Is.EqualTo(-1));
        Assert.That(table.IsLive(first), Is.False);
        Assert.That(table.TryPublish(first, hash, out _), Is.True);
        Assert.That(table.TryPublish(second, hash, out int existing), Is.False);
        Assert.That(existing, Is.EqualTo(first));
        table.Abandon(second);
        table.Abandon(second);
        Assert.That(table.Count, Is.EqualTo(1));
        Assert.That(table.Entry(table.Find(in key, hash)).Record, Is.EqualTo(1));
    }

    [Test]
    public void A_full_table_refuses_and_keeps_what_it_has()
    {
        using var table = new FlowTable<RewriteEntry>(3, 9, new Quiescence());
        for (int n = 0; n < 3; n++) Assert.That(table.TryInsert(EntryOf(Key(n), n), Key(n).Hash(9), out _), Is.True);
        Assert.That(table.TryInsert(EntryOf(Key(3), 3), Key(3).Hash(9), out int index), Is.False);
        Assert.That(index, Is.EqualTo(-1));
        Assert.That(table.TryReserve(out _), Is.False);
        Assert.That(table.Remove(table.Find(Key(1), Key(1).Hash(9))), Is.True);
        Assert.That(table.TryInsert(EntryOf(Key(3), 3), Key(3).Hash(9), out _), Is.True);
        Assert.That(table.Find(Key(0), Key(0).Hash(9)), Is.Positive);
        Assert.That(table.Find(Key(1), Key(1).Hash(9)), Is.EqualTo(-1));
    }

    [Test]
    public void A_removed_slot_waits_until_every_thread_has_reported()
    {
        var quiescence = new Quiescence();
        int a = quiescence.Register(), b = quiescence.Register();
        quiescence.Report(a);
        quiescence.Report(b);
        using var table = new FlowTable<RewriteEntry>(1, 9, quiescence);
        Assert.That(table.TryInsert(EntryOf(Key(1), 1), Key(1).Hash(9), out int index), Is.True);
        Assert.That(table.Remove(index), Is.True);
        Assert.That(table.Find(Key(1), Key(1).Hash(9)), Is.EqualTo(-1));
        Assert.That(table.Entry(index).Record, Is.EqualTo(1), "still there for who holds the index");
        Assert.That(table.TryReserve(out _), Is.False);
        quiescence.Report(a);
        Assert.That(table.TryReserve(out _), Is.False);
        quiescence.Park(b);
        Assert.That(table.TryReserve(out int again), Is.True);
        Assert.That(again, Is.EqualTo(index));
    }

    [Test]
    public void Two_million_entries_fit_and_are_found()
    {
        const int count = 2_000_000;
        using var table = new FlowTable<RewriteEntry>(count, 42, new Quiescence());
        var entry = default(RewriteEntry);
        int failed = 0, wrong = 0;
        for (int n = 0; n < count; n++)
        {
            entry.Key = Key(n);
            entry.Record = n;
            if (!table.TryInsert(in entry, entry.Key.Hash(42), out _)) failed++;
        }
        for (int n = 0; n < count; n++)
        {
            FlowKey key = Key(n);
            int index = table.Find(in key, key.Hash(42));
            if (index < 0 || table.Entry(index).Record != n) wrong++;
            FlowKey reverse = key.Reverse();
            if (table.Find(in reverse, reverse.Hash(42)) >= 0) wrong++;
        }
        Assert.That((failed, wrong, table.Count), Is.EqualTo((0, 0, count)));
    }

    [Test]
    public void Hashes_spread_over_buckets_and_tags()
    {
        const int count = 1 << 16;
        var low = new int[1 << 10];
        var high = new int[1 << 10];
        for (int n = 0; n < count; n++)
        {
            // Neighbouring addresses and ports: the worst case in practice.
            ulong hash = new FlowKey(IpAddr.FromV4(0x0a00_0000), IpAddr.FromV4(0xcb00_710a), (ushort)n, 80, 6).Hash(1);
            low[hash & 1023]++;
            high[hash >> 54]++;
        }
        // Chi squared with 1023 degrees of freedom: mean 1023, deviation 45; more even than chance is welcome.
        Assert.That(ChiSquared(low, count), Is.LessThan(1250d));
        Assert.That(ChiSquared(high, count), Is.LessThan(1250d));
    }

    [Test]
    public void Another_mapping_of_the_memory_is_walked_and_read()
    {
        long bytes = FlowTable<RewriteEntry>.BytesNeeded(100);
        nint address = MemoryNative.Allocate((nuint)bytes);
        try
        {
            Assert.That(TableReader<RewriteEntry>.Open(address, bytes), Is.Null, "no header yet");
            using var table = new FlowTable<RewriteEntry>(address, 100, 7, new Quiescence());
            for (int n = 0; n < 50; n++) table.TryInsert(EntryOf(Key(n), n), Key(n).Hash(7), out _);
            table.Remove(table.Find(Key(20), Key(20).Hash(7)));
            Assert.That(TableReader<SpliceRecord>.Open(address, bytes), Is.Null, "other entries");
            Assert.That(TableReader<RewriteEntry>.Open(address, bytes - 1), Is.Null, "not whole");
            TableReader<RewriteEntry> reader = TableReader<RewriteEntry>.Open(address, bytes)!;
            Assert.That((reader.Count, reader.Capacity, reader.Seed), Is.EqualTo((49, 100, 7ul)));
            var seen = new HashSet<int>();
            var found = new int[7];
            int cursor = 0;
            do
            {
                int count = reader.Walk(ref cursor, found, 10);
                for (int i = 0; i < count; i++)
                {
                    Assert.That(reader.TryRead(found[i], out RewriteEntry copy), Is.True);
                    Assert.That(copy.Key, Is.EqualTo(Key(copy.Record)));
                    Assert.That(seen.Add(copy.Record), Is.True);
                }
            }
            while (cursor != 0);
            Assert.That(seen, Has.Count.EqualTo(49));
            Assert.That(seen, Does.Not.Contain(20));
            int one = table.Find(Key(3), Key(3).Hash(7));
            SeqLock.BeginWrite(ref table.VersionOf(one));
            Assert.That(reader.TryRead(one, out _), Is.False, "being written");
            SeqLock.EndWrite(ref table.VersionOf(one));
            Assert.That(reader.TryRead(one, out _), Is.True);
        }
        finally
        {
            MemoryNative.Free(address);
        }
    }

    [Test]
    public void What_was_located_is_what_a_search_finds_until_something_is_removed()
    {
        using var table = new FlowTable<RewriteEntry>(1000, 7, new Quiescence());
        for (int n = 0; n < 1000; n++) Assert.That(table.TryInsert(EntryOf(Key(n), n), Key(n).Hash(7), out _), Is.True);
        uint removals = table.Removals;
        int located = 0;
        for (int n = 0; n < 2000; n++)
        {
            int hint = table.Locate(Key(n).Hash(7));
            if (!table.IsAt(hint, Key(n))) continue;
            located++;
            Assert.That(hint, Is.EqualTo(table.Find(Key(n), Key(n).Hash(7))));
            Assert.That(table.IsAt(hint, Key(n + 1)), Is.False);
        }
        Assert.That(located, Is.InRange(900, 1000), "nearly all stand in their first bucket");
        Assert.That(table.IsAt(0, default), Is.False);
        Assert.That(table.Removals, Is.EqualTo(removals));
        Assert.That(table.Remove(table.Find(Key(5), Key(5).Hash(7))), Is.True);
        Assert.That(table.Removals, Is.Not.EqualTo(removals), "what was located before may be gone");
    }

    [Test]
    public void Nothing_is_allocated_after_construction()
    {
        using var table = new FlowTable<RewriteEntry>(1000, 3, new Quiescence());
        Churn(table, 2000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        int found = Churn(table, 20_000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(found, Is.Positive);
    }

    private static int Churn(FlowTable<RewriteEntry> table, int steps)
    {
        int hits = 0, cursor = 0;
        Span<int> slice = stackalloc int[8];
        for (int n = 0; n < steps; n++)
        {
            FlowKey key = Key(n % 1500);
            ulong hash = key.Hash(3);
            table.Prefetch(hash);
            int located = table.Locate(hash), index = table.Find(in key, hash);
            if (table.IsAt(located, in key) && located != index) return -1;
            if (index < 0) table.TryInsert(EntryOf(in key, n), hash, out _);
            else if (table.TryRead(index, out _) && table.Remove(index)) hits++;
            table.Walk(ref cursor, slice, 8);
        }
        return hits;
    }

    private static double ChiSquared(int[] counts, int total)
    {
        double expected = (double)total / counts.Length, sum = 0;
        foreach (int count in counts) sum += (count - expected) * (count - expected) / expected;
        return sum;
    }
}
