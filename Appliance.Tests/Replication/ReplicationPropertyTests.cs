using Appliance.Control.Replication;
using Appliance.Control.Sealing;
using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Replication;

/// <summary>Seeded clusters over a network that loses, doubles, reorders and truncates; restarts and partitions meanwhile.</summary>
[TestFixture]
public sealed class ReplicationPropertyTests
{
    private const long Ms = SyncCluster.Ms;

    [Test]
    public void Replicas_are_equal_after_quiescence_and_nothing_confirmed_is_lost([Range(1, 60)] int seed)
    {
        var shape = new Random(seed);
        var options = new LinkOptions { Slots = shape.Next(3) == 0 ? 64 : 1024, Window = 64, PerStep = 16 };
        using var cluster = new SyncCluster(2 + seed % 4, seed, isSealed: seed % 10 == 0, options)
        {
            Loss = shape.NextDouble() * 0.3,
            Duplication = shape.NextDouble() * 0.2,
            Truncation = shape.NextDouble() * 0.1,
            Jitter = shape.Next(2) == 0 ? 0 : shape.NextInt64(2 * Ms),
        };
        cluster.AllLive();
        cluster.Run(100 * Ms);
        ulong nextId = 1;
        var removed = new HashSet<ulong>();
        for (int round = 0; round < 60; round++)
        {
            SyncNode node = cluster.Nodes[shape.Next(cluster.Nodes.Length)];
            for (int i = shape.Next(40); i > 0; i--) Act(node);
            if (shape.Next(15) == 0)
            {
                // One box at a time, and only once the others hold what it holds: what a single survivor held alone is lost with it.
                Settle();
                cluster.Restart((byte)shape.Next(cluster.Nodes.Length));
                Settle();
            }
            if (shape.Next(15) == 0) Partition();
            cluster.Run(shape.NextInt64(10 * Ms));
            foreach ((RecordKind kind, ulong id, uint version) in node.Table.Confirmations)
            {
                if (kind != RecordKind.Splice || removed.Contains(id)) continue;
                Assert.That(cluster.Nodes.Any(n => n.Id != node.Id && n.Table.Records.TryGetValue(id, out var held) && held.Record.Version >= version), Is.True, $"seed {seed}: confirmed {id} v{version} is on no peer");
            }
            node.Table.Confirmations.Clear();
        }
        Settle();
        Assert.That(cluster.Difference(withProgress: false), Is.Null, $"seed {seed}");
        // Gossip that came before its record was ignored (R4); the next round makes it good.
        foreach (SyncNode n in cluster.Nodes)
        {
            foreach ((ulong id, (SpliceRecord _, SpliceProgress progress)) in n.Table.Records) n.Replicator.PublishProgress(id, progress, cluster.Now);
            n.Next = cluster.Now;
        }
        Settle();
        Assert.That(cluster.Difference(), Is.Null, $"seed {seed}");
        Assert.That(cluster.Nodes.All(n => n.Replicator.IsRefilled), Is.True, $"seed {seed}");
        Assert.That(cluster.Nodes[0].Table.Records.Keys, Has.None.Matches<ulong>(removed.Contains), $"seed {seed}");

        void Act(SyncNode node)
        {
            int what = shape.Next(10);
            List<ulong> known = [.. node.Table.Records.Keys];
            if (what < 4 || known.Count == 0)
            {
                node.Change(ModelTable.RandomRecord(shape, node.Id, nextId++, v6: shape.Next(4) == 0) with { State = SpliceState.Established }, default, wantsConfirm: shape.Next(2) == 0);
                return;
            }
            ulong id = known[shape.Next(known.Count)];
            (SpliceRecord record, SpliceProgress progress) = node.Table.Records[id];
            switch (what)
            {
                case < 7:
                    progress.ToServer = progress.ToServer with { Seen = 1, SeqNext = progress.ToServer.SeqNext + (uint)shape.Next(1000) };
                    node.Table.Set(record, progress);
                    node.Replicator.PublishProgress(id, progress, cluster.Now);
                    break;
                case < 9:
                    node.Change(record with { Version = record.Version + 1, State = (SpliceState)Math.Min((int)record.State + 1, 4) }, progress);
                    break;
                default:
                    removed.Add(id);
                    node.Remove(id);
                    break;
            }
            node.Next = cluster.Now;
        }

        void Partition()
        {
            byte lonely = (byte)shape.Next(cluster.Nodes.Length);
            cluster.Cut = (from, to) => from == lonely || to == lonely;
            foreach (SyncNode n in cluster.Nodes) n.Replicator.SetLive(n.Id == lonely ? 0 : cluster.All & ~(1UL << lonely), cluster.Now);
            foreach (SyncNode n in cluster.Nodes) if (n.Id != lonely) Act(n);
            cluster.Run(50 * Ms);
            cluster.Cut = (_, _) => false;
            cluster.AllLive();
            foreach (SyncNode n in cluster.Nodes) n.Next = cluster.Now;
            Settle();
        }

        void Settle() => Assert.That(cluster.Settle(), Is.True, $"seed {seed}: not quiet");
    }

    [Test]
    public void A_silent_peer_costs_bounded_memory_and_gets_everything_when_it_speaks_again()
    {
        var options = new LinkOptions { Slots = 256, Window = 32 };
        using var cluster = new SyncCluster(2, 7, isSealed: true, options);
        cluster.AllLive();
        cluster.Run(50 * Ms);
        cluster.Cut = (_, _) => true;
        for (ulong id = 1; id <= 5000; id++)
        {
            cluster.Nodes[0].Change(ModelTable.RandomRecord(cluster.Random, 0, id), default);
            if (id % 50 == 0) cluster.Run(Ms);
        }
        PeerLink link = cluster.Nodes[0].Replicator.Link(1)!;
        Assert.That(link.Waiting, Is.LessThanOrEqualTo(256));
        Assert.That(link.InFlight, Is.LessThanOrEqualTo(32));
        Assert.That(link.Counters.Overflows, Is.GreaterThan(0));
        cluster.Cut = (_, _) => false;
        cluster.Run(3000 * Ms);
        Assert.That(cluster.Difference(), Is.Null);
        Assert.That(cluster.Nodes[1].Table.Records, Has.Count.EqualTo(5000));
    }

    [Test]
    public void Early_acknowledged_bytes_arrive_whole_also_at_a_box_that_joins_later()
    {
        using var cluster = new SyncCluster(3, 8, isSealed: true) { Loss = 0.1 };
        cluster.AllLive();
        cluster.Run(100 * Ms);
        byte[] bytes = new byte[14_000];
        cluster.Random.NextBytes(bytes);
        SyncNode node = cluster.Nodes[0];
        node.Change(ModelTable.RandomRecord(cluster.Random, 0, 9), default);
        node.Table.OwnedBytes(0, 9, 1000, bytes);
        long stamp = node.Replicator.PublishOwnedBytes(9, 1000, bytes, cluster.Now);
        node.Next = cluster.Now;
        Assert.That(node.Replicator.HeldByAny(stamp, stamp), Is.False);
        cluster.Run(500 * Ms);
        Assert.That(node.Replicator.HeldByAny(stamp, stamp), Is.True);
        Assert.That(cluster.Nodes[1].Table.Owned[9].Values.SelectMany(c => c), Is.EqualTo(bytes));
        cluster.Restart(2);
        cluster.Run(500 * Ms);
        Assert.That(cluster.Nodes[2].Table.Owned[9].Values.SelectMany(c => c), Is.EqualTo(bytes));
    }

    [Test]
    public void Whoever_asks_is_answered_by_every_live_peer()
    {
        using var cluster = new SyncCluster(3, 9, isSealed: true);
        cluster.AllLive();
        cluster.Run(50 * Ms);
        SpliceRecord record = ModelTable.RandomRecord(cluster.Random, 1, 55);
        cluster.Nodes[1].Table.Set(record, default);
        cluster.Nodes[2].Table.Choices[56] = new ChoiceRecord { Id = 56, Attempt = 2, Client = record.Client, Real = record.Real };
        ulong asked = cluster.Nodes[0].Replicator.Ask(new OwnerQuery { Id = 55, Client = record.Client }, cluster.Now);
        cluster.Nodes[0].Replicator.Ask(new OwnerQuery { Id = 56 }, cluster.Now);
        cluster.Nodes[0].Next = cluster.Now;
        cluster.Run(Ms);
        Assert.That(asked, Is.EqualTo(6UL));
        Assert.That(cluster.Nodes[0].Table.Answers, Is.EquivalentTo(new (byte, ulong, AnswerKind)[] { (1, 55, AnswerKind.Splice), (2, 55, AnswerKind.Nothing), (1, 56, AnswerKind.Nothing), (2, 56, AnswerKind.Choice) }));
        Assert.That(cluster.Nodes[0].Table.Records, Does.ContainKey(55UL));
        Assert.That(cluster.Nodes[0].Table.Choices[56].Attempt, Is.EqualTo(2));
    }

    [Test]
    public void A_settled_link_allocates_nothing()
    {
        using var pair = new QuietPair();
        pair.Exchange(2_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        pair.Exchange(100_000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(pair.Imports, Is.EqualTo(102_000));
    }

    /// <summary>Two sealed replicators back to back, with tables that only count.</summary>
    private sealed class QuietPair : IDatagramSender, IRecordSink, IRecordSource, IDisposable
    {
        private readonly Replicator _a, _b;
        private readonly byte[] _wire = new byte[1 << 20];
        private readonly int[] _starts = new int[4096];
        private readonly byte[] _to = new byte[4096];
        private int _count;
        private long _now = 1;
        private SpliceRecord _record = ModelTable.RandomRecord(new Random(1), 0, 1);

        public QuietPair()
        {
            var keys = new ClusterKeys("0123456789abcdef"u8);
            _a = new Replicator(0, 3, Incarnation.Create(), keys, this, this, this);
            _b = new Replicator(1, 3, Incarnation.Create(), keys, this, this, this);
            _a.SetLive(3, 0);
            _b.SetLive(3, 0);
            for (int i = 0; i < 100; i++) Turn();
        }

        public long Imports { get; private set; }

        public void Exchange(int messages)
        {
            for (int i = 0; i < messages; i++)
            {
                _record.Id = (ulong)(i % 500 + 1);
                _record.Version++;
                (i % 2 == 0 ? _a : _b).Publish(_record, default, wantsConfirm: true, _now);
                if (i % 8 == 7) Turn();
            }
            Turn();
            Turn();
        }

        public void Send(byte peer, ReadOnlySpan<byte> datagram)
        {
            int start = _starts[_count];
            datagram.CopyTo(_wire.AsSpan(start));
            _to[_count++] = peer;
            _starts[_count] = start + datagram.Length;
        }

        public void Import(byte from, in SpliceRecord record, in SpliceProgress progress) => Imports++;

        public void Progress(byte from, ulong id, in SpliceProgress progress) { }

        public void Remove(byte from, ulong id, uint version) { }

        public void Choice(byte from, in ChoiceRecord choice) { }

        public void OwnedBytes(byte from, ulong id, uint sequence, ReadOnlySpan<byte> bytes) { }

        public AnswerKind Query(byte from, in OwnerQuery query, ref SpliceRecord record, ref SpliceProgress progress, ref ChoiceRecord choice) => AnswerKind.Nothing;

        public void Answered(byte from, ulong id, AnswerKind answer) { }

        public void Confirmed(RecordKind kind, ulong id, uint version) { }

        public void Filling(byte to) { }

        public void ResyncEnded(byte from, ResyncCause cause) { }

        public SourceResult Next(ref long cursor, ref SpliceRecord record, ref SpliceProgress progress, out uint ownedSequence, out ReadOnlySpan<byte> owned)
        {
            ownedSequence = 0;
            owned = default;
            return SourceResult.End;
        }

        public void Dispose()
        {
            _a.Dispose();
            _b.Dispose();
        }

        private void Turn()
        {
            _now += 100_000;
            _a.Step(_now);
            _b.Step(_now);
            int count = _count;
            _count = 0;
            for (int i = 0; i < count; i++) (_to[i] == 0 ? _a : _b).Receive(_wire.AsSpan(_starts[i], _starts[i + 1] - _starts[i]), _now);
        }
    }
}
