using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Flow;

/// <summary>Bounded runs of several threads on one table; each judge counts contradictions, which must be none.</summary>
[TestFixture]
internal sealed class FlowTableTortureTests
{
    private const int Keys = 256;
    private const int Steps = 300_000;
    private const ulong Seed = 21;

    private static FlowKey Key(int n) => new(IpAddr.FromV4(0x0a00_0000u + (uint)n), IpAddr.FromV4(0xcb00_710a), (ushort)n, 443, 6);

    // All fields of line 1 say the same number, so a torn copy shows.
    private static void Fill(ref RewriteEntry entry, in FlowKey key, uint value)
    {
        entry.Key = key;
        entry.NewSource = new IpAddr(value, value);
        entry.NewDestination = new IpAddr(value, value);
        entry.SeqDelta = entry.AckDelta = entry.TsValDelta = entry.TsEcrDelta = entry.AckFloor = value;
    }

    private static bool IsWhole(in RewriteEntry e) =>
        e.NewSource == e.NewDestination && e.NewSource.High == e.SeqDelta && e.AckDelta == e.SeqDelta && e.TsValDelta == e.SeqDelta && e.TsEcrDelta == e.SeqDelta && e.AckFloor == e.SeqDelta;

    [Test]
    public void Readers_see_whole_entries_of_their_key_while_writers_insert_update_and_remove()
    {
        var quiescence = new Quiescence();
        // Fewer slots than keys: reuse is constant.
        using var table = new FlowTable<RewriteEntry>(160, Seed, quiescence);
        // Key 0 stays: it must be found always.
        var constant = default(RewriteEntry);
        Fill(ref constant, Key(0), 0);
        Assert.That(table.TryInsert(in constant, Key(0).Hash(Seed), out _), Is.True);
        int torn = 0, wrongKey = 0, lost = 0, hits = 0, running = 2;

        void Write(int seed)
        {
            int me = quiescence.Register();
            var random = new Random(seed);
            // Readers that get no processor would see nothing.
            for (int step = 0; step < Steps || Volatile.Read(ref hits) < Steps / 10; step++)
            {
                quiescence.Report(me);
                FlowKey key = Key(1 + random.Next(Keys - 1));
                ulong hash = key.Hash(Seed);
                int index = table.Find(in key, hash);
                if (index >= 0)
                {
                    if (random.Next(2) == 0) table.Remove(index);
                    continue;
                }
                if (!table.TryReserve(out int slot)) continue;
                Fill(ref table.Entry(slot), in key, (uint)step);
                if (!table.TryPublish(slot, hash, out _)) table.Abandon(slot);
            }
            quiescence.Park(me);
            Interlocked.Decrement(ref running);
        }

        void Update()
        {
            for (uint step = 0; Volatile.Read(ref running) > 0; step++)
            {
                int index = table.Find(Key(0), Key(0).Hash(Seed));
                SeqLock.BeginWrite(ref table.VersionOf(index));
                Fill(ref table.Entry(index), Key(0), step);
                SeqLock.EndWrite(ref table.VersionOf(index));
            }
        }

        void Read(int seed)
        {
            int me = quiescence.Register();
            var random = new Random(seed);
            while (Volatile.Read(ref running) > 0)
            {
                quiescence.Report(me);
                int n = random.Next(3) == 0 ? 0 : random.Next(Keys);
                FlowKey key = Key(n);
                int index = table.Find(in key, key.Hash(Seed));
                if (index < 0)
                {
                    if (n == 0) Interlocked.Increment(ref lost);
                    continue;
                }
                if (!table.TryRead(index, out RewriteEntry copy)) continue;
                if (copy.Key != key) Interlocked.Increment(ref wrongKey);
                if (!IsWhole(in copy)) Interlocked.Increment(ref torn);
                Interlocked.Increment(ref hits);
            }
            quiescence.Park(me);
        }

        Thread[] threads = [new(() => Write(1)), new(() => Write(2)), new(Update), new(() => Read(3)), new(() => Read(4))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        TestContext.Out.WriteLine($"{hits} hits");
        Assert.That((torn, wrongKey, lost), Is.EqualTo((0, 0, 0)));
        Assert.That(hits, Is.Positive);
        for (int n = 0; n < Keys; n++)
        {
            int index = table.Find(Key(n), Key(n).Hash(Seed));
            if (index >= 0) Assert.That(table.Remove(index), Is.True);
        }
        Assert.That(table.Count, Is.Zero, "no key was in twice");
        int free = 0;
        while (table.TryReserve(out _)) free++;
        Assert.That(free, Is.EqualTo(table.Capacity), "no slot was lost");
    }

    [Test]
    public void The_judge_sees_a_torn_entry()
    {
        var entry = default(RewriteEntry);
        Fill(ref entry, Key(1), 5);
        Assert.That(IsWhole(in entry), Is.True);
        entry.AckDelta++;
        Assert.That(IsWhole(in entry), Is.False);
    }

    [Test]
    public void Of_two_threads_that_remove_one_entry_one_succeeds()
    {
        using var table = new FlowTable<RewriteEntry>(64, Seed, new Quiescence());
        int removed = 0, inserted = 0;

        void Churn(int seed)
        {
            var random = new Random(seed);
            for (int step = 0; step < Steps; step++)
            {
                FlowKey key = Key(random.Next(4));
                ulong hash = key.Hash(Seed);
                int index = table.Find(in key, hash);
                if (index >= 0)
                {
                    if (table.Remove(index)) Interlocked.Increment(ref removed);
                    continue;
                }
                var entry = new RewriteEntry { Key = key };
                if (table.TryInsert(in entry, hash, out _)) Interlocked.Increment(ref inserted);
            }
        }

        Thread[] threads = [new(() => Churn(1)), new(() => Churn(2)), new(() => Churn(3))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Assert.That(table.Count, Is.EqualTo(inserted - removed));
        Assert.That(table.Count, Is.InRange(0, 4));
    }
}
