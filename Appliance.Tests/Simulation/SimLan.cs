using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>
/// What a link does to frames, per direction; times in ns, chances in parts per million.
/// Without <see cref="ReorderPpm"/> a link keeps order whatever its jitter.
/// </summary>
internal sealed record LinkProfile
{
    public long DelayNs { get; init; } = 20_000;

    public long JitterNs { get; init; }

    public int LossPpm { get; init; }

    public int DuplicatePpm { get; init; }

    public int ReorderPpm { get; init; }

    /// <summary>A reordered frame comes up to this much later than its turn.</summary>
    public long ReorderNs { get; init; } = 2_000_000;

    public int CorruptPpm { get; init; }

    /// <summary>Corruption flips one bit at or behind this offset (the Ethernet header is never hit: a switch would drop the frame).</summary>
    public int CorruptFrom { get; init; } = 14;

    /// <summary>Time that one byte takes on the wire.</summary>
    public long NsPerByte { get; init; } = 1;
}

/// <summary>A node's attachment to a LAN: a cable with two directions of equal quality.</summary>
internal sealed class SimPort(SimLan lan, SimNode node, int index, LinkProfile profile, bool offloads) : SimActor
{
    private long _busyUntil, _lastArrival;

    public SimLan Lan => lan;

    public SimNode Node => node;

    /// <summary>Number among the node's ports.</summary>
    public int Index => index;

    /// <summary>May be exchanged at any time (a burst of loss).</summary>
    public LinkProfile Profile { get; set; } = profile;

    /// <summary>The node takes super-frames and partial checksums.</summary>
    public bool Offloads => offloads;

    /// <summary>Carrier; the node can see it.</summary>
    public bool IsUp { get; set; } = true;

    /// <summary>Silent loss of all frames from the node, to the node.</summary>
    public bool LosesSent { get; set; }

    public bool LosesReceived { get; set; }

    /// <summary>Ports of different groups don't hear each other (partition).</summary>
    public int Group { get; set; }

    public long Sent { get; private set; }

    public long Received { get; private set; }

    public long Lost { get; private set; }

    /// <summary>The node sends; takes ownership.</summary>
    public void Send(SimFrame frame)
    {
        Sent++;
        SimWorld world = lan.World;
        _busyUntil = Math.Max(_busyUntil, world.Now) + (frame.Length * Profile.NsPerByte);
        if (!IsUp || LosesSent || frame.Length < 14 || world.Random.Chance(Profile.LossPpm))
        {
            Lose(frame);
            return;
        }
        lan.Forward(this, frame, _busyUntil + Profile.DelayNs);
    }

    /// <summary>The switch sends towards the node; takes ownership.</summary>
    public void Deliver(SimFrame frame, long at)
    {
        SimRandom random = lan.World.Random;
        if (random.Chance(Profile.LossPpm))
        {
            Lose(frame);
            return;
        }
        if (random.Chance(Profile.DuplicatePpm)) Arrive(lan.World.Frames.Copy(frame.Span, frame.Vnet), at);
        if (random.Chance(Profile.CorruptPpm)) Corrupt(frame, random);
        Arrive(frame, at);
    }

    /// <inheritdoc/>
    protected internal override void OnEvent(int code, SimFrame? frame)
    {
        if (!IsUp || LosesReceived)
        {
            Lose(frame!);
            return;
        }
        Received++;
        lan.World.Trace((lan.Number << 8) | node.Number, frame!.Span);
        lan.World.Log?.WriteLine($"{lan.World.Now / 1e6,11:f3} {lan.Name,-4} > {node.Name,-8} {PacketText.Of(frame.Span)}");
        node.TakeFrame(index, frame);
    }

    private void Arrive(SimFrame frame, long at)
    {
        SimRandom random = lan.World.Random;
        at += Profile.DelayNs + (Profile.JitterNs > 0 ? random.Between(0L, Profile.JitterNs) : 0);
        if (random.Chance(Profile.ReorderPpm)) at += random.Between(1, Profile.ReorderNs);
        else at = _lastArrival = Math.Max(at, _lastArrival);
        lan.World.Schedule(at, this, 0, frame);
    }

    private void Lose(SimFrame frame)
    {
        Lost++;
        lan.World.Frames.Return(frame);
    }

    private void Corrupt(SimFrame frame, SimRandom random)
    {
        // ARP has no checksum of its own: a frame check sequence would have caught this.
        if (BinaryPrimitives.ReadUInt16BigEndian(frame.Bytes.AsSpan(12)) == 0x0806 || frame.Length <= Profile.CorruptFrom) return;
        int bit = random.Below((frame.Length - Profile.CorruptFrom) * 8);
        // A second flip could heal the checksum and leave both bytes wrong: that says nothing about the boxes.
        if (Packet.TryParse(frame.Bytes.AsSpan(0, frame.Length), out Packet packet, out _) && packet.IsTcp && !packet.Layout.IsFragment && !InternetChecksum.VerifyTransport(packet)) return;
        frame.Bytes[Profile.CorruptFrom + (bit >> 3)] ^= (byte)(1 << (bit & 7));
    }
}

/// <summary>
/// A switch: learns source MACs, floods groups and unknown destinations, drops what exceeds the MTU. Super-frames go
/// whole to ports that take them and are segmented for the others. Learning is immediate (as if the uplink had no delay).
/// </summary>
internal sealed class SimLan(SimWorld world, string name, int number, int mtu = 1500)
{
    private readonly List<SimPort> _ports = [];
    private readonly Dictionary<ulong, SimPort> _learned = [];

    public SimWorld World => world;

    public string Name => name;

    public int Number => number;

    /// <summary>Largest IP packet.</summary>
    public int Mtu => mtu;

    public List<SimPort> Ports => _ports;

    /// <summary>Frames dropped for their length.</summary>
    public long Oversize { get; private set; }

    public SimPort Attach(SimNode node, int index, LinkProfile profile, bool offloads)
    {
        var port = new SimPort(this, node, index, profile, offloads);
        _ports.Add(port);
        return port;
    }

    /// <summary>Switches a frame that reaches the switch at <paramref name="at"/>.</summary>
    public void Forward(SimPort from, SimFrame frame, long at)
    {
        if (!frame.Vnet.IsSuperFrame && frame.Length > mtu + 14)
        {
            Oversize++;
            world.Frames.Return(frame);
            return;
        }
        _learned[MacAddress.Read(frame.Bytes.AsSpan(6)).Value] = from;
        var to = MacAddress.Read(frame.Bytes);
        if (!to.IsGroup && _learned.TryGetValue(to.Value, out SimPort? known))
        {
            if (known == from || known.Group != from.Group) world.Frames.Return(frame);
            else Egress(known, frame, at);
            return;
        }
        for (int i = 0; i < _ports.Count; i++)
        {
            SimPort port = _ports[i];
            if (port != from && port.Group == from.Group) Egress(port, world.Frames.Copy(frame.Span, frame.Vnet), at);
        }
        world.Frames.Return(frame);
    }

    private void Egress(SimPort port, SimFrame frame, long at)
    {
        if (port.Offloads || frame.Vnet is { NeedsChecksum: false, IsSuperFrame: false }) port.Deliver(frame, at);
        else SimOffload.Segment(world.Frames, frame, wire => port.Deliver(wire, at));
    }
}
