using System.Runtime.CompilerServices;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// One worker's box: all state of its data path and the walk of a frame through it. No thread,
/// no I/O of its own, no clock: frames, commands and the time come in, frames go to ports and
/// messages to a queue. The same object runs in the engine, in the simulation and offline.
/// </summary>
public sealed class Box : ISpliceHost, IDisposable
{
    private const long YoungNs = 2_000_000_000;

    // As long as a starting engine waits for its backends before it says that it is ready.
    private const long UnsureNs = 1_000_000_000;

    private readonly long _surePast;

    private readonly ulong[] _hashes = new ulong[64];
    private readonly int[] _located = new int[64];
    private readonly HeadBuffers _buffers;
    private readonly ulong _clusterSeed;
    private int _locatedCount, _hint;
    private uint _removals;

    /// <summary>A box on two ports (external, internal), with messages to <paramref name="events"/>; worker <paramref name="worker"/> of <paramref name="group"/>, or without others.</summary>
    public Box(
        BoxConfig config, BoxMemory memory, FramePort[] ports, Membership membership, SpscQueue<SpliceEvent> events, long now, long wallMs,
        WorkerGroup? group = null, int worker = 0)
    {
        Config = config;
        Group = group ?? new WorkerGroup(config, 1, wallMs);
        Worker = worker;
        Services = config.Services;
        Membership = membership;
        Events = events;
        Statistics = memory.Statistics;
        Now = now;
        _surePast = now + UnsureNs;
        WallMs = wallMs;
        _clusterSeed = ClusterSeed(config.ClusterKey);
        Neighbors = new NeighborTable(capacity: 16384, frames: 256, frameSize: 1600);
        Egress = new Egress(ports, config.Links, Neighbors, Statistics) { Now = now };
        Egress.Reserve(Group.Profiles.Reals);
        Splices = new SpliceTable(memory.Flows, memory.Records, config.Splices, memory.Seed, memory.Quiescence, Neighbors);
        _buffers = new HeadBuffers(config.Handshakes, config.HandshakesPerSource);
        Handshakes = new HandshakeTable(config.Handshakes, _buffers, memory.Seed, now);
        Joiner = new SpliceJoiner(this, Handshakes, Splices);
        Backends = new BackendConnector(this, Handshakes, Splices, Group.Health, Joiner);
        Client = new ClientHandshaker(this, Handshakes, Group.Cookies, Backends);
        Closes = new CloseTracker(this, Splices);
        Sweeper = new SpliceSweeper(this, Splices);
        Local = new LocalPath(config, Egress, answers: worker == 0);
        Proxy = new ProxyPath(this);
        Sharer = new SharerPath(this);
        Prober = new Prober(this);
        Peers = new PeerMessages(this);
        Handovers = new Handovers(this);
    }

    /// <summary>What it was built from.</summary>
    public BoxConfig Config { get; }

    /// <summary>What it shares with the box's other workers.</summary>
    public WorkerGroup Group { get; }

    /// <summary>Its number among them.</summary>
    public int Worker { get; }

    /// <summary>Services.</summary>
    public ServiceTable Services { get; }

    /// <summary>Who owns which flow.</summary>
    public Membership Membership { get; }

    /// <summary>Messages to replication.</summary>
    public SpscQueue<SpliceEvent> Events { get; }

    /// <inheritdoc/>
    public Statistics Statistics { get; }

    /// <summary>Next hops.</summary>
    public NeighborTable Neighbors { get; }

    /// <summary>The way out.</summary>
    public Egress Egress { get; }

    /// <summary>Splices.</summary>
    public SpliceTable Splices { get; }

    /// <summary>Handshakes.</summary>
    public HandshakeTable Handshakes { get; }

    /// <summary>Cookie keys; prepared off the packet path.</summary>
    public CookieKeys Cookies => Group.Cookies;

    internal SpliceJoiner Joiner { get; }

    internal BackendConnector Backends { get; }

    internal ClientHandshaker Client { get; }

    internal CloseTracker Closes { get; }

    internal SpliceSweeper Sweeper { get; }

    internal LocalPath Local { get; }

    internal ProxyPath Proxy { get; }

    internal SharerPath Sharer { get; }

    internal Prober Prober { get; }

    internal PeerMessages Peers { get; }

    /// <summary>Frames from and to the box's other workers.</summary>
    public Handovers Handovers { get; }

    /// <summary>While a reassembled packet is sent on: the size of its largest fragment, and its identification.</summary>
    internal int RefragmentTo { get; set; }

    internal uint RefragmentId { get; set; }

    /// <inheritdoc/>
    public long Now { get; private set; }

    /// <inheritdoc/>
    public long WallMs { get; private set; }

    /// <inheritdoc/>
    public byte Node => Config.Self;

    /// <inheritdoc/>
    public bool HasLivePeers => Membership.HasOthers(Config.Self);

    /// <inheritdoc/>
    public bool IsYoung => HasLivePeers && Now - Membership.JoinedAt < YoungNs;

    /// <inheritdoc/>
    public bool IsUnsureOfBackends => Now < _surePast && !IsProfiled;

    /// <inheritdoc/>
    public bool IsTableFull => Splices.IsFull;

    /// <inheritdoc/>
    public long HeardAt(FlowDirection direction) => Group.HeardAt(direction == FlowDirection.ToServer ? LinkRole.Internal : LinkRole.External);

    /// <inheritdoc/>
    public bool IsDraining { get; private set; }

    /// <summary>When the box wants to run again without a frame or a command, ns.</summary>
    public long NextDeadline => Math.Min(
        Math.Min(Handshakes.NextDeadline, Math.Min(Closes.NextDeadline, Sweeper.NextDeadline)),
        Math.Min(Neighbors.NextDeadline(), Math.Min(Prober.NextDeadline, Peers.NextDeadline)));

    /// <summary>Sets the clock of this cycle.</summary>
    public void SetClock(long now, long wallMs)
    {
        Now = now;
        Egress.Now = now;
        WallMs = wallMs;
    }

    /// <summary>
    /// Locates the entries that a batch will probably need and asks for their lines, buckets first, so that the misses of
    /// its frames overlap and none waits for its own hash.
    /// </summary>
    public void Prefetch(FrameBatch batch)
    {
        FlowTable<RewriteEntry> flows = Splices.Flows;
        int count = Math.Min(batch.Count, _hashes.Length);
        for (int i = 0; i < count; i++)
        {
            _hashes[i] = FlowKey.TryGuess(batch[i].Bytes, out FlowKey key) ? key.Hash(flows.Seed) : 0;
            flows.Prefetch(_hashes[i]);
        }
        _removals = flows.Removals;
        for (int i = 0; i < count; i++) _located[i] = flows.Locate(_hashes[i]);
        _locatedCount = count;
    }

    /// <summary>Treats each frame of a batch, whether <see cref="Prefetch"/> has seen it or not.</summary>
    public void Process(LinkRole role, FrameBatch batch)
    {
        for (int i = 0; i < batch.Count; i++)
        {
            _hint = i < _locatedCount ? _located[i] : 0;
            Process(role, batch[i]);
        }
        _locatedCount = _hint = 0;
    }

    /// <summary>Index of the directed entry for packets with <paramref name="key"/>, or -1; at once if it is where <see cref="Prefetch"/> has located it and nothing was removed since.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int FindFlow(in FlowKey key)
    {
        FlowTable<RewriteEntry> flows = Splices.Flows;
        return flows.IsAt(_hint, key) && flows.Removals == _removals ? _hint : flows.Find(key, key.Hash(flows.Seed));
    }

    /// <summary>Treats one received frame, and counts why if it goes no further.</summary>
    public DropReason Process(LinkRole role, in FrameRef frame)
    {
        Statistics[Counter.Received]++;
        Statistics[Counter.ReceivedBytes] += frame.Length;
        Group.Hear(role, Now);
        DropReason reason = Walk(role, frame, landed: true);
        if (reason != DropReason.None) Statistics.Drop(reason);
        return reason;
    }

    /// <summary>Treats a frame as one that was handed to this proxy.</summary>
    public DropReason ProcessAsProxy(LinkRole role, in FrameRef frame, FrameMark mark)
    {
        DropReason reason = Packet.TryParse(frame.Bytes, out Packet packet, out DropReason malformed) ? Proxy.Process(role, packet, frame, mark) : malformed;
        if (reason != DropReason.None) Statistics.Drop(reason);
        return reason;
    }

    /// <summary>Carries out one command of replication or liveness.</summary>
    public void Execute(in SpliceCommand command)
    {
        switch (command.Kind)
        {
            case SpliceCommandKind.Membership:
                Membership.Apply(command.Node, Now);
                Client.OwnedSince = Membership.ChangedAt;
                Sharer.OnMembership();
                if (!HasLivePeers) Peers.OnAlone();
                Peers.OnMembership();
                break;
            case SpliceCommandKind.NodeDied:
                Peers.OnNodeDied(command.Node);
                Sharer.Replay(command.Node, (long)command.Ticket);
                break;
            case SpliceCommandKind.NodeCutOff:
                Sharer.Replay(command.Node, (long)command.Ticket, lives: true);
                break;
            case SpliceCommandKind.Drain:
                IsDraining = true;
                break;
            default:
                Peers.On(command);
                break;
        }
    }

    /// <summary>The box was away, and its peers counted it as dead meanwhile.</summary>
    public void OnCountedDead() => Peers.OnCountedDead();

    /// <summary>Runs what is due.</summary>
    public void Advance()
    {
        TimerHandler handler = new(this);
        Handshakes.Advance(Now, ref handler);
        Closes.Advance(Now, most: 256);
        Sweeper.Advance();
        Egress.PollNeighbors();
        Prober.Advance();
        Proxy.Advance(Now);
        Peers.Advance();
        Statistics[Counter.SplicesActive] = Splices.Count;
        Statistics[Counter.HandshakesActive] = Handshakes.Count;
        Statistics[Counter.HeadBuffersInUse] = _buffers.InUse;
        Statistics[Counter.EventsLost] = Events.Lost;
        Statistics[Counter.NeighborsEvicted] = Neighbors.Evicted;
        Handovers.Wake();
    }

    /// <inheritdoc/>
    public bool Send(FlowDirection direction, ref TcpSegmentSpec spec, ReadOnlySpan<byte> payload, int segmentSize)
    {
        LinkRole role = direction == FlowDirection.ToServer ? LinkRole.Internal : LinkRole.External;
        int hop = Egress.HopTo(role, spec.Destination);
        if (hop >= 0) return Egress.SendTcp(role, hop, ref spec, payload, segmentSize);
        Statistics.Drop(DropReason.NoRoute);
        return false;
    }

    /// <inheritdoc/>
    public bool Publish(in SpliceEvent message) => !HasLivePeers || Events.TryEnqueue(message);

    /// <inheritdoc/>
    public int NextHop(FlowDirection direction, IpAddr destination) =>
        Egress.HopTo(direction == FlowDirection.ToServer ? LinkRole.Internal : LinkRole.External, destination);

    /// <inheritdoc/>
    public PoolProfile ProfileOf(Service service) => Group.Profiles.Of(service);

    /// <inheritdoc/>
    public bool TryGetProfile(IpAddr real, ushort port, out PoolProfile profile) => Group.Profiles.TryGet(real, port, out profile);

    /// <summary>True once every backend has said what it offers.</summary>
    public bool IsProfiled => Group.Profiles.IsComplete;

    /// <summary>Hash that names a flow's owner, the same on every box.</summary>
    public ulong OwnerHash(IpAddr client, ushort port) => FlowKey.HashEndpoint(client, port, _clusterSeed);

    /// <inheritdoc/>
    public bool Owns(in FlowKey client) => OwnerOf(OwnerHash(client.Source, client.SourcePort)) == Config.Self;

    /// <summary>Owner of a flow now; <see cref="NodeIds.None"/> before the first membership.</summary>
    public byte OwnerOf(ulong hash) => Membership.Current is { } slot ? slot.Table.Lookup(hash) : NodeIds.None;

    /// <summary>A node's MAC on a link.</summary>
    public MacAddress MacOf(byte node, LinkRole role, FrameMark mark) => Peers.MacOf(node, role, mark);

    /// <summary>Clears the floors of a breakpoint that both ends have passed, and tells the peers once.</summary>
    public void CheckFloor(int index)
    {
        ref SpliceRecord record = ref Splices.Record(index);
        if (record.FloorOpen == 0)
        {
            Splices.CloseFloor(record);
            return;
        }
        if (!RewriteEntryBuilder.FloorsPassed(record, Splices.Entry(record.ToServer), Splices.Entry(record.ToClient), Now)) return;
        SpliceRecord changed = record;
        changed.FloorOpen = 0;
        changed.Version++;
        Splices.Change(index, changed);
        // Whoever takes the flow over after 2^31 bytes can no longer tell.
        SpliceEvent message = new() { Kind = SpliceEventKind.Changed, Record = changed, Progress = Splices.ProgressOf(index) };
        Publish(message);
    }

    /// <summary>Answers a segment for which there is no connection with the RST of RFC 9293 3.10.7.1.</summary>
    public void SendReset(LinkRole role, in Packet packet)
    {
        TcpView tcp = packet.Tcp;
        bool acks = tcp.Has(TcpFlags.Ack);
        TcpSegmentSpec reset = new()
        {
            Source = packet.Destination,
            Destination = packet.Source,
            SourcePort = tcp.DestinationPort,
            DestinationPort = tcp.SourcePort,
            Seq = acks ? tcp.Ack : default,
            Ack = acks ? default : tcp.Seq + tcp.SequenceLength,
            Flags = acks ? TcpFlags.Rst : TcpFlags.Rst | TcpFlags.Ack,
        };
        Statistics[Counter.ResetsSent]++;
        Send(role == LinkRole.External ? FlowDirection.ToClient : FlowDirection.ToServer, ref reset, default, 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Sharer.Dispose();
        Proxy.Dispose();
        Egress.Dispose();
        Neighbors.Dispose();
        _buffers.Dispose();
    }

    /// <summary>The walk of a frame that <paramref name="landed"/> here, or that another worker gave; uncounted.</summary>
    internal DropReason Walk(LinkRole role, in FrameRef frame, bool landed)
    {
        if (!Packet.TryParse(frame.Bytes, out Packet packet, out DropReason reason)) return reason;
        BoxLink link = Config.Links[(int)role];
        MacAddress destination = packet.DestinationMac;
        bool unicast = link.TryGetMark(destination, out FrameMark mark);
        if (!unicast && !destination.IsGroup) return DropReason.NotForUs;
        // A VLAN is a link of its own, with an interface of its own; VLAN 0 is this one.
        if (packet.HasVlan) return packet.Vlan.Identifier == 0 ? Walk(role, VlanTag.Without(frame), landed) : DropReason.VlanForeign;
        if (packet.Layout.Kind == NetworkKind.Other) return DropReason.UnknownEtherType;
        bool several = landed && Group.Count > 1, arp = packet.Layout.Kind == NetworkKind.Arp;
        if (arp || (packet.IsIcmp && NeighborView.IsNeighbor(packet)))
        {
            if (several) Handovers.GiveToAll(role, frame);
            return arp ? Local.OnArp(role, packet) : Local.OnNeighbor(role, packet, frame.Vnet);
        }
        if (!unicast) return DropReason.NotForUs;
        bool echo = packet.IsIcmp && packet.Icmp.IsEcho;
        bool local = (role == LinkRole.Internal || echo) && Local.AnswersFor(role, packet.Destination);
        // What the box itself is asked or told is worker 0's.
        int worker = !several ? Worker : local ? 0 : Group.WorkerOf(role, packet);
        if (worker != Worker) return Handovers.Give(worker, new Handover { Role = role, Vnet = frame.Vnet }, frame);
        if (local) return echo ? Local.OnEcho(role, packet) : Prober.OnSegment(packet);
        bool handed = mark != FrameMark.Handed || (Config.Roles & BoxRoles.Sharer) == BoxRoles.None || Peers.IsPeer(role, packet.SourceMac);
        if (mark == FrameMark.Replayed) Statistics[Counter.ReplayedReceived]++;
        if (!handed) return Sharer.Process(role, packet, frame);
        return (Config.Roles & BoxRoles.Proxy) != BoxRoles.None ? Proxy.Process(role, packet, frame, mark) : DropReason.NotForUs;
    }

    private static ulong ClusterSeed(ReadOnlySpan<byte> clusterKey)
    {
        Span<byte> derived = stackalloc byte[8];
        System.Security.Cryptography.HKDF.DeriveKey(System.Security.Cryptography.HashAlgorithmName.SHA256, clusterKey, derived, default, "owner"u8);
        return BitConverter.ToUInt64(derived);
    }

    private readonly struct TimerHandler(Box box) : ITimerHandler
    {
        public long Fired(int handle, int kind, int data, long nowNs)
        {
            Handshake handshake = box.Handshakes.Fired(data);
            box.Statistics[Counter.TimersFired]++;
            switch (handshake.State)
            {
                case HandshakeState.Head:
                case HandshakeState.Closing:
                case HandshakeState.Shadow:
                    box.Client.OnTimer(handshake);
                    break;
                case HandshakeState.Confirming:
                case HandshakeState.Delivering:
                    box.Joiner.OnTimer(handshake);
                    break;
                case HandshakeState.Free:
                    break;
                default:
                    box.Backends.OnTimer(handshake);
                    break;
            }
            return 0;
        }
    }
}
