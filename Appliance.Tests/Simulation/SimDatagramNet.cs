namespace Appliance.Tests.Simulation;

/// <summary>What happens to sync datagrams; chances in parts per million.</summary>
internal sealed record DatagramProfile
{
    public long DelayNs { get; init; } = 50_000;

    public int LossPpm { get; init; }

    public int DuplicatePpm { get; init; }

    public int ReorderPpm { get; init; }

    public long ReorderNs { get; init; } = 3_000_000;

    public int TruncatePpm { get; init; }
}

/// <summary>
/// The sync network: unreliable datagrams between numbered nodes. Datagrams above the MTU are refused and counted as a
/// violation, since the sender was to fill them to the MTU and no further.
/// </summary>
internal sealed class SimDatagramNet(SimWorld world, DatagramProfile profile, int mtu = 1500) : SimActor
{
    private readonly List<SimNode> _nodes = [];
    private readonly int[] _groups = new int[64];
    private readonly long[] _lastArrival = new long[64 * 64];

    /// <summary>Payload of one datagram at most, IPv4 and UDP headers deducted.</summary>
    public int MaxDatagram => mtu - 28;

    /// <summary>May be exchanged at any time (a burst).</summary>
    public DatagramProfile Profile { get; set; } = profile;

    public long Sent { get; private set; }

    public long Lost { get; private set; }

    public long Truncated { get; private set; }

    public void Attach(SimNode node) => _nodes.Add(node);

    /// <summary>True while somebody does not hear the others.</summary>
    public bool IsPartitioned => _groups.AsSpan().ContainsAnyExcept(0);

    /// <summary>Nodes of different groups don't hear each other.</summary>
    public void SetGroup(int node, int group) => _groups[node] = group;

    /// <summary>Sends a copy from one node to another.</summary>
    public void Send(int from, int to, ReadOnlySpan<byte> datagram)
    {
        Sent++;
        SimRandom random = world.Random;
        if (datagram.Length > MaxDatagram)
        {
            world.Violate($"sync datagram of {datagram.Length} B from node {from}");
            return;
        }
        if (_groups[from] != _groups[to] || random.Chance(Profile.LossPpm))
        {
            Lost++;
            return;
        }
        if (random.Chance(Profile.DuplicatePpm)) Deliver(from, to, datagram);
        if (datagram.Length > 1 && random.Chance(Profile.TruncatePpm))
        {
            Truncated++;
            datagram = datagram[..random.Below(datagram.Length)];
        }
        Deliver(from, to, datagram);
    }

    /// <summary>Sends to every other node.</summary>
    public void SendAll(int from, ReadOnlySpan<byte> datagram)
    {
        for (int i = 0; i < _nodes.Count; i++)
        {
            if (_nodes[i].Number != from) Send(from, _nodes[i].Number, datagram);
        }
    }

    /// <inheritdoc/>
    protected internal override void OnEvent(int code, SimFrame? frame)
    {
        world.Trace(0x10000 | code, frame!.Span);
        for (int i = 0; i < _nodes.Count; i++)
        {
            if (_nodes[i].Number != code) continue;
            // A partition that came meanwhile also takes what is in flight.
            if (_groups[frame.Tag] != _groups[code]) break;
            _nodes[i].TakeFrame(-1, frame);
            return;
        }
        Lost++;
        world.Frames.Return(frame);
    }

    private void Deliver(int from, int to, ReadOnlySpan<byte> datagram)
    {
        SimFrame frame = world.Frames.Copy(datagram, default);
        frame.Tag = from;
        long at = world.Now + Profile.DelayNs;
        if (world.Random.Chance(Profile.ReorderPpm)) at += world.Random.Between(1, Profile.ReorderNs);
        else at = _lastArrival[(from * 64) + to] = Math.Max(at, _lastArrival[(from * 64) + to]);
        world.Schedule(at, this, to, frame);
    }
}

/// <summary>Told deaths: when a process dies on a machine that lives on, its peers hear of it a moment later; of a dead machine nobody tells.</summary>
internal sealed class SimBell(SimWorld world, long delayNs = 300_000) : SimActor
{
    private readonly List<SimNode> _nodes = [];

    public void Attach(SimNode node) => _nodes.Add(node);

    /// <summary>The process of <paramref name="node"/> has died: all others will be told.</summary>
    public void Ring(SimNode node) => world.Schedule(world.Now + delayNs, this, node.Number);

    /// <inheritdoc/>
    protected internal override void OnEvent(int code, SimFrame? frame)
    {
        for (int i = 0; i < _nodes.Count; i++)
        {
            if (_nodes[i].Number != code) _nodes[i].TakeBell(code);
        }
    }
}
