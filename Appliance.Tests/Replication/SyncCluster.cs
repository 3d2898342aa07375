using System.Globalization;
using Appliance.Control.Replication;
using Appliance.Control.Sealing;

namespace Appliance.Tests.Replication;

/// <summary>Boxes that replicate over a bad network in virtual time, from one seed.</summary>
internal sealed class SyncCluster : IDisposable
{
    public const long Ms = 1_000_000;

    private static readonly byte[] Key = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    private readonly PriorityQueue<(byte To, byte[] Datagram), (long At, long Order)> _wire = new();
    private readonly ClusterKeys _keys;
    private readonly LinkOptions _options;
    private long _order;

    public SyncCluster(int nodes, int seed, bool isSealed, LinkOptions? options = null)
    {
        Random = new Random(seed);
        _keys = isSealed ? new ClusterKeys(Key) : ClusterKeys.Unsealed;
        _options = options ?? new LinkOptions();
        Nodes = new SyncNode[nodes];
        for (byte i = 0; i < nodes; i++) Nodes[i] = Start(i);
    }

    public Random Random { get; }

    public SyncNode[] Nodes { get; }

    public long Now { get; private set; } = 1_000 * Ms;

    public double Loss { get; set; }

    public double Duplication { get; set; }

    public double Truncation { get; set; }

    /// <summary>Greatest extra delay: reorders.</summary>
    public long Jitter { get; set; }

    public Func<byte, byte, bool> Cut { get; set; } = (_, _) => false;

    public List<byte[]> Recorded { get; } = [];

    public bool Recording { get; set; }

    public ulong All => (1UL << Nodes.Length) - 1;

    public void Restart(byte node)
    {
        Nodes[node].Replicator.Dispose();
        Nodes[node] = Start(node);
        Nodes[node].Replicator.SetLive(All, Now);
    }

    public void AllLive()
    {
        foreach (SyncNode node in Nodes) node.Replicator.SetLive(All, Now);
    }

    /// <summary>Runs until nothing is left to send, or for a time.</summary>
    public void Run(long ns)
    {
        long until = Now + ns;
        StepAll();
        while (true)
        {
            long next = Nodes.Min(n => n.Next);
            if (_wire.TryPeek(out _, out (long At, long Order) head)) next = Math.Min(next, head.At);
            if (next > until) break;
            Now = Math.Max(Now, next);
            while (_wire.TryPeek(out (byte To, byte[] Datagram) item, out head) && head.At <= Now)
            {
                _wire.Dequeue();
                Nodes[item.To].Replicator.Receive(item.Datagram, Now);
                Nodes[item.To].Next = Now;
            }
            StepAll();
        }
        Now = until;
    }

    /// <summary>Runs until every link is idle; false if that takes longer than two minutes.</summary>
    public bool Settle()
    {
        for (int i = 0; i < 1200; i++)
        {
            Run(100 * Ms);
            if (Nodes.All(n => Nodes.All(m => m == n || IsIdle(n.Replicator.Link(m.Id)!)))) return true;
        }
        return false;

        static bool IsIdle(PeerLink link) => link is { Established: true, Waiting: 0, InFlight: 0, ResyncPhase: ResyncPhase.Idle, Refilled: true };
    }

    public void Send(byte from, byte to, ReadOnlySpan<byte> datagram)
    {
        if (Recording) Recorded.Add(datagram.ToArray());
        if (Cut(from, to) || Random.NextDouble() < Loss) return;
        int copies = Random.NextDouble() < Duplication ? 2 : 1;
        for (int i = 0; i < copies; i++)
        {
            byte[] bytes = datagram.ToArray();
            if (Random.NextDouble() < Truncation) bytes = bytes[..Random.Next(bytes.Length)];
            long delay = 50_000 + (Jitter > 0 ? Random.NextInt64(Jitter) : 0);
            _wire.Enqueue((to, bytes), (Now + delay, _order++));
        }
    }

    public void Dispose()
    {
        foreach (SyncNode node in Nodes) node.Replicator.Dispose();
    }

    /// <summary>Null if all tables hold the same records, else where they differ.</summary>
    public string? Difference(bool withProgress = true)
    {
        ModelTable first = Nodes[0].Table;
        foreach (SyncNode node in Nodes.Skip(1))
        {
            foreach (ulong id in first.Records.Keys.Union(node.Table.Records.Keys))
            {
                bool a = first.Records.TryGetValue(id, out var x), b = node.Table.Records.TryGetValue(id, out var y);
                if (a != b) return string.Create(CultureInfo.InvariantCulture, $"record {id}: node 0 {a}, node {node.Id} {b}");
                if (x.Record.Version != y.Record.Version || x.Record.State != y.Record.State) return $"record {id}: version {x.Record.Version} on 0, {y.Record.Version} on {node.Id}";
                if (withProgress && (x.Progress.ToServer.SeqNext != y.Progress.ToServer.SeqNext || x.Progress.ToClient.SeqNext != y.Progress.ToClient.SeqNext)) return $"record {id}: progress";
            }
        }
        return null;
    }

    private SyncNode Start(byte id)
    {
        var salt = new byte[Incarnation.SaltBytes];
        Random.NextBytes(salt);
        return new SyncNode(this, id, new Incarnation(salt), _keys, _options);
    }

    private void StepAll()
    {
        foreach (SyncNode node in Nodes) if (node.Next <= Now) node.Next = node.Replicator.Step(Now) is var next && next <= Now ? Now + 1 : next;
    }
}

internal sealed class SyncNode : IDatagramSender
{
    private readonly SyncCluster _cluster;

    public SyncNode(SyncCluster cluster, byte id, Incarnation me, ClusterKeys keys, LinkOptions options)
    {
        (_cluster, Id) = (cluster, id);
        Replicator = new Replicator(id, cluster.Nodes is null ? ulong.MaxValue : (1UL << cluster.Nodes.Length) - 1, me, keys, Table, Table, this, options, cluster.Random);
    }

    public byte Id { get; }

    public ModelTable Table { get; } = new();

    public Replicator Replicator { get; }

    public long Next { get; set; }

    public void Send(byte peer, ReadOnlySpan<byte> datagram) => _cluster.Send(Id, peer, datagram);

    /// <summary>Changes a record here and publishes it.</summary>
    public void Change(in DataPath.State.SpliceRecord record, in DataPath.State.SpliceProgress progress, bool wantsConfirm = false)
    {
        Table.Set(record, progress);
        Replicator.Publish(record, progress, wantsConfirm, _cluster.Now);
        Next = _cluster.Now;
    }

    public void Remove(ulong id)
    {
        uint version = Table.Records[id].Record.Version;
        Table.Drop(id);
        Replicator.PublishRemove(id, version, _cluster.Now);
        Next = _cluster.Now;
    }
}
