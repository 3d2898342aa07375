using Appliance.Control.Failover;
using Appliance.Control.Runtime;
using Appliance.Control.Sealing;

namespace Appliance.Tests.Failover;

/// <summary>Boxes that beat over three links in virtual time, from one seed.</summary>
internal sealed class LivenessCluster : IDisposable
{
    public const long Ms = 1_000_000;
    public const long Wall = 1_700_000_000_000;

    private readonly PriorityQueue<(byte From, byte To, byte Link, byte[] Datagram), (long At, long Order)> _wire = new();
    private readonly ClusterKeys _keys;
    private long _order;

    public LivenessCluster(int nodes, int seed, bool isSealed = false)
    {
        Random = new Random(seed);
        _keys = isSealed ? new ClusterKeys("0123456789abcdef"u8) : ClusterKeys.Unsealed;
        Nodes = new LivenessNode[nodes];
        for (byte i = 0; i < nodes; i++) Nodes[i] = Start(i);
    }

    public Random Random { get; }

    public LivenessNode[] Nodes { get; }

    public long Now { get; private set; } = 1_000 * Ms;

    public double Loss { get; set; }

    /// <summary>What the boxes that start from now on have as the number of their configuration.</summary>
    public ulong Configuration { get; set; }

    /// <summary>True if a datagram from a box to a box on a link is lost.</summary>
    public Func<byte, byte, byte, bool> Cut { get; set; } = (_, _, _) => false;

    public LivenessNode Start(byte id)
    {
        var salt = new byte[Incarnation.SaltBytes];
        Random.NextBytes(salt);
        var node = new LivenessNode(this, id, new Incarnation(salt), _keys, Now);
        Nodes[id] = node;
        return node;
    }

    public void Stop(byte id) => Nodes[id].Gone = true;

    public void Run(long ns)
    {
        long until = Now + ns;
        while (true)
        {
            long next = Nodes.Where(n => !n.Gone).Min(n => Math.Max(n.Next, n.AwayUntil));
            if (_wire.TryPeek(out _, out (long At, long Order) head)) next = Math.Min(next, head.At);
            if (next > until) break;
            Now = Math.Max(Now, next);
            while (_wire.TryPeek(out var item, out head) && head.At <= Now)
            {
                _wire.Dequeue();
                LivenessNode to = Nodes[item.To];
                if (to.Gone) continue;
                if (to.AwayUntil > Now) _wire.Enqueue(item, (to.AwayUntil, _order++));
                else to.Receive(item.Link, item.Datagram, Now);
            }
            foreach (LivenessNode node in Nodes) if (!node.Gone && node.AwayUntil <= Now && node.Next <= Now) node.Step(Now);
        }
        Now = until;
    }

    public void Send(byte from, byte link, byte receiver, ReadOnlySpan<byte> datagram)
    {
        for (byte to = 0; to < Nodes.Length; to++)
        {
            if (to == from || (receiver != SealedChannel.Everybody && receiver != to)) continue;
            if (Cut(from, to, link) || Random.NextDouble() < Loss) continue;
            _wire.Enqueue((from, to, link, datagram.ToArray()), (Now + 50_000 + Random.NextInt64(100_000), _order++));
        }
    }

    public void Dispose()
    {
        foreach (LivenessNode node in Nodes) node.Core.Dispose();
    }
}

internal sealed class LivenessNode : IBeatOutput
{
    private readonly LivenessCluster _cluster;

    public LivenessNode(LivenessCluster cluster, byte id, Incarnation me, ClusterKeys keys, long now)
    {
        (_cluster, Id, Next) = (cluster, id, now);
        var options = new LivenessOptions { Self = id, Peers = (1UL << cluster.Nodes.Length) - 1, NodeListHash = 42, Configuration = cluster.Configuration };
        Core = new LivenessCore(options, me, keys, this, now, cluster.Random);
        NodeFlags flags = NodeFlags.Proxy | NodeFlags.Refilled | NodeFlags.Ready | (id == 0 ? NodeFlags.Sharer | NodeFlags.ActiveSharer : NodeFlags.None);
        Core.SetLocal(new LocalState { Flags = flags, Workload = 1000 });
    }

    public byte Id { get; }

    public LivenessCore Core { get; }

    public long Next { get; set; }

    public long AwayUntil { get; set; } = long.MinValue;

    public bool Gone { get; set; }

    public bool WorkersStuck { get; set; }

    public long WallOffset { get; set; }

    public List<(long At, LivenessEvent Event)> Events { get; } = [];

    public void SendBeat(byte link, byte receiver, ReadOnlySpan<byte> datagram) => _cluster.Send(Id, link, receiver, datagram);

    public void Receive(byte link, byte[] datagram, long now)
    {
        Core.Receive(link, datagram, now);
        Collect(now);
        Next = now;
    }

    public void Step(long now)
    {
        if (!WorkersStuck) Core.WorkersAdvanced(now);
        Next = Core.Step(now, LivenessCluster.Wall + now / 1_000_000 + WallOffset);
        Collect(now);
    }

    public int Count(LivenessEventKind kind) => Events.Count(e => e.Event.Kind == kind);

    /// <summary>Takes the reports in this node's stead, if there is one.</summary>
    public LivenessBridge? Bridge { get; set; }

    private void Collect(long now)
    {
        Bridge?.Pump();
        while (Core.TryTake(out LivenessEvent e)) Events.Add((now, e));
    }
}
