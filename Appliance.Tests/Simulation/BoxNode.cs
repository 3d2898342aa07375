using Appliance.DataPath.Balance;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.Runtime;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>What a cluster of boxes is made of in one seed.</summary>
internal sealed record BoxPlan
{
    /// <summary>Roles by node number.</summary>
    public required BoxRoles[] Roles { get; init; }

    public required ServiceTable Services { get; init; }

    public int Splices { get; init; } = 256;

    public int Handshakes { get; init; } = 64;

    /// <summary>Time between a frame's arrival and the cycle that treats it, ns.</summary>
    public long CycleDelayNs { get; init; } = 5_000;

    /// <summary>Time between beats, ns.</summary>
    public long BeatNs { get; init; } = 5 * SimWorld.Millisecond;

    /// <summary>Set of the proxies.</summary>
    public ulong Proxies => Enumerable.Range(0, Roles.Length).Where(i => (Roles[i] & BoxRoles.Proxy) != BoxRoles.None).Aggregate(0ul, (set, i) => set | 1ul << i);

    /// <summary>Beats and records are sealed, as in the engine; else only framed, to save time.</summary>
    public bool Sealed { get; init; }

    /// <summary>What the boxes' parts allocate.</summary>
    public AllocationMeter Meter { get; } = new();

    public string NameOf(int node) => $"box{node:d2}";
}

/// <summary>
/// A real box in the simulation: data path, and, with peers, liveness and replication, the same objects as in the
/// engine, on memory ports and virtual time. Dies with everything it knows.
/// </summary>
internal sealed class BoxNode : SimNode, IClusterWire
{
    public static readonly byte[] Key = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    private readonly Scenario _scenario;
    private readonly BoxPlan _plan;
    private readonly BoxPort[] _ports = new BoxPort[2];
    private readonly BoxStates _states;
    private bool _isMember;
    private long _stepAt, _stepsNow;
    private readonly byte[] _scratch = new byte[2048];
    private BoxCluster? _cluster;
    private long _cookiesAt, _dueAt;
    private int _beatKind, _life;
    private BoxMemory _memory = null!;
    private Membership _membership = null!;
    private SpscQueue<SpliceCommand> _fromLiveness = null!;

    public BoxNode(Scenario scenario, int number, BoxPlan plan)
        : base(scenario.World, plan.NameOf(number), number)
    {
        (_scenario, _plan) = (scenario, plan);
        Attach(scenario.External, scenario.ExternalProfile, scenario.Options.Offloads);
        Attach(scenario.Internal, scenario.InternalProfile, scenario.Options.Offloads);
        _states = new BoxStates(scenario, Report);
        Start();
    }

    public Box Box { get; private set; } = null!;

    public Worker Worker { get; private set; } = null!;

    private long WallMs => World.WallStartMs + (World.Now / SimWorld.Millisecond);

    /// <inheritdoc/>
    protected override long NextDeadline => Math.Min(Worker.NextDeadline, _cluster?.NextDeadline ?? long.MaxValue);

    /// <summary>Why frames were dropped so far.</summary>
    public string Drops() => string.Join(", ", Enum.GetValues<DropReason>().Where(r => r != DropReason.None && Box.Statistics[r] > 0).Select(r => $"{r} {Box.Statistics[r]}"));

    /// <summary>The world has ended: lets closed connections expire, then gives memory back. Returns what is left that should not be.</summary>
    public string? Finish()
    {
        if (!IsAlive) return null;
        _cluster?.Dispose();
        _cluster = null;
        long end = World.Now;
        foreach (long after in (ReadOnlySpan<long>)[1, 35, 62, 130, 260]) Worker.Cycle(end + (after * SimWorld.Second), WallMs + (after * 1000));
        for (int i = 0; i < 400; i++) Worker.Cycle(end + (261 * SimWorld.Second) + (i * 10 * SimWorld.Millisecond), WallMs + 261_000);
        string? left = null;
        if (Box.Handshakes.Count > 0) left = $"{Name}: {Box.Handshakes.Count} handshakes left";
        if (Box.Handshakes.Buffers.InUse > 0) left = $"{Name}: {Box.Handshakes.Buffers.InUse} head buffers left";
        int stale = 0;
        string what = "";
        for (int i = 0; i <= Box.Splices.Capacity; i++)
        {
            if (Box.Splices.IsLive(i) && !IsExplained(Box.Splices.Record(i)))
            {
                stale++;
                ref SpliceRecord r = ref Box.Splices.Record(i);
                what = $"{r.State} v{r.Version} imported {r.Imported} port {r.ClientPort} fins {Box.Splices.Entry(r.ToServer).FinSeen}{Box.Splices.Entry(r.ToClient).FinSeen}";
            }
        }
        if (stale > 0) left = $"{Name}: {stale} records left: {what}";
        World.Log?.WriteLine($"{Name}: {Drops()}");
        Stop();
        return left;
    }

    /// <summary>True if the box is alone, or knows all others alive and has their tables.</summary>
    public bool IsSettled => IsAlive && !IsPaused && (_cluster?.IsSettled(World.Now) ?? _isMember);

    /// <inheritdoc/>
    public override string ToString() => $"{Name} {(IsAlive ? IsPaused ? "paused" : "alive" : "dead")} {_cluster} handshakes {Box.Handshakes.Count} splices {Box.Splices.Count}";

    /// <inheritdoc/>
    public void SendBeatFrame(byte link, ReadOnlySpan<byte> datagram)
    {
        (Component, bool) before = _plan.Meter.Enter(Component.World);
        Span<byte> frame = _scratch.AsSpan(0, 14 + datagram.Length);
        new MacAddress(0x0300_0000_88b5).Write(frame);
        Box.Config.Links[link].Macs[_beatKind++ & 3].Write(frame[6..]);
        (frame[12], frame[13]) = (0x88, 0xb5);
        datagram.CopyTo(frame[14..]);
        Send(link, frame);
        _plan.Meter.Leave(before);
    }

    /// <inheritdoc/>
    public void SendSync(byte peer, byte kind, ReadOnlySpan<byte> datagram)
    {
        if (!IsAlive || IsPaused) return;
        (Component, bool) before = _plan.Meter.Enter(Component.World);
        Span<byte> message = _scratch.AsSpan(0, 1 + datagram.Length);
        message[0] = kind;
        datagram.CopyTo(message[1..]);
        _scenario.Sync.Send(Number, peer, message);
        _plan.Meter.Leave(before);
    }

    /// <inheritdoc/>
    protected override void OnFrame(int port, Span<byte> frame, in VnetHeader vnet, long now)
    {
        if (frame.Length > 14 && frame[12] == 0x88 && frame[13] == 0xb5)
        {
            _cluster?.TakeBeat((byte)port, frame[14..], now);
            RequestStep(_plan.CycleDelayNs);
            return;
        }
        _ports[port].Take(frame, vnet);
        _states.Touch(frame);
        RequestStep(_plan.CycleDelayNs);
    }

    /// <inheritdoc/>
    protected override void OnDatagram(int from, ReadOnlySpan<byte> datagram, long now)
    {
        if (datagram.Length < 2) return;
        if (datagram[0] == BoxCluster.KindBeat) _cluster?.TakeBeat(2, datagram[1..], now);
        else _cluster?.TakeRecords(datagram[1..], now);
        RequestStep(_plan.CycleDelayNs);
    }

    /// <inheritdoc/>
    protected override void OnBell(int node, long now)
    {
        _cluster?.Told(node, now);
        RequestStep(0);
    }

    /// <inheritdoc/>
    protected override void OnCarrier(int port, bool up, long now)
    {
        _cluster?.SetCarrier((byte)port, up, now);
        RequestStep(0);
    }

    /// <inheritdoc/>
    protected override void OnResumed(long now)
    {
        long away = now - _dueAt;
        if (_cluster is not null && away > Worker.DetectionNs && Worker.Hold(now)) _cluster.Paused(away, now);
    }

    /// <inheritdoc/>
    protected override void Step(long now)
    {
        if (now >= _cookiesAt)
        {
            _cookiesAt = now + SimWorld.Second;
            Box.Cookies.Prepare(WallMs / 1000);
        }
        bool more = true;
        for (int turns = 0; more && turns < 100; turns++)
        {
            more = Cycle(now) > 0;
            if (_cluster is not null) more |= _cluster.Turn(now, WallMs);
        }
        _dueAt = NextDeadline;
        if (_cluster is null && !_isMember && Box.IsProfiled) BeAlone();
        _states.Look(Box);
        // A deadline that is due after it was served would stop virtual time.
        _stepsNow = now == _stepAt ? _stepsNow + 1 : 0;
        _stepAt = now;
        if (_stepsNow > 10_000) throw new InvalidOperationException($"{Name} steps for ever at {now}: worker {Worker.NextDeadline}, handshakes {Box.Handshakes.NextDeadline}, neighbours {Box.Neighbors.NextDeadline()}");
    }

    /// <inheritdoc/>
    protected override void OnKilled() => Stop();

    /// <inheritdoc/>
    protected override void OnRestarted(long now)
    {
        _states.Clear();
        Start();
    }

    // A connection whose end the network swallowed, or a box that died with what it alone had seen, stays until it was idle
    // for two hours: that is its purpose.
    private bool IsExplained(in SpliceRecord record)
    {
        if (record.State == SpliceState.Established && _scenario.EndsMayBeLost) return true;
        foreach (ClientApp client in _scenario.Clients)
        {
            (IpAddr address, ushort port) = _scenario.Addresses.Client(client.Plan);
            if (address == record.Client && port == record.ClientPort) return client.Plan.Close is CloseKind.ClientAborts or CloseKind.ServerAborts || client.Outcome != Outcome.Complete;
        }
        return false;
    }

    private void Start()
    {
        for (int i = 0; i < 2; i++)
        {
            int port = i;
            _ports[i] = new BoxPort(i == 0 ? "ext" : "int", _scenario.Options.Mtu, _scenario.Options.Offloads, frame => Emit(port, frame));
        }
        ScenarioAddresses a = _scenario.Addresses;
        string[] names = [.. Enumerable.Range(0, _plan.Roles.Length).Select(_plan.NameOf)];
        var config = new BoxConfig
        {
            Nodes = names,
            Self = (byte)Number,
            Roles = _plan.Roles[Number],
            Links =
            [
                new BoxLink(LinkRole.External, "ext", Name)
                {
                    Address4 = a.BoxExternal(Number, false), Prefix4 = 24, Gateway4 = a.Router(false),
                    Address6 = a.BoxExternal(Number, true), Prefix6 = 64, Gateway6 = a.Router(true),
                },
                new BoxLink(LinkRole.Internal, "int", Name)
                {
                    Address4 = a.BoxInternal(Number, false), Prefix4 = 24,
                    Address6 = a.BoxInternal(Number, true), Prefix6 = 64,
                },
            ],
            InternalGateway4 = a.InternalGateway(false),
            InternalGateway6 = a.InternalGateway(true),
            Services = _plan.Services,
            ClusterKey = Key,
            Splices = _plan.Splices,
            Handshakes = _plan.Handshakes,
            HandshakesPerSource = _plan.Handshakes,
            ReplayBytes = 1 << 20,
            DetectionNs = _plan.BeatNs * 3,
        };
        _memory = BoxMemory.Private(_plan.Splices, SimRandom.Hash(World.Seed ^ (ulong)Number));
        _membership = new Membership([.. names.Select(MaglevTable.NameHash)]);
        _fromLiveness = new SpscQueue<SpliceCommand>(256);
        var events = new SpscQueue<SpliceEvent>(1024);
        var fromReplication = new SpscQueue<SpliceCommand>(1024);
        Box = new Box(config, _memory, _ports, _membership, events, World.Now, WallMs);
        Worker = new Worker(Box, _ports, [fromReplication, _fromLiveness]);
        _cluster = names.Length == 1 ? null : new BoxCluster(
            _plan, Worker, _membership, events, fromReplication, _fromLiveness, this, SimRandom.For(World.Seed, 1000 + (ulong)(Number * 100) + (ulong)_life++), World.Now, () => Cycle(World.Now));
        _isMember = false;
    }

    private void BeAlone()
    {
        _isMember = true;
        MembershipSlot slot = _membership.Prepare(out byte number)!;
        slot.Use(1);
        slot.Live = 1;
        _membership.Posted(number);
        _fromLiveness.TryEnqueue(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
        RequestStep(0);
    }

    private void Stop()
    {
        _cluster?.Dispose();
        Box.Dispose();
        foreach (BoxPort port in _ports) port.Dispose();
        MemoryNative.Unreserve(_memory.Flows, (nuint)SpliceTable.FlowBytes(_plan.Splices));
        MemoryNative.Unreserve(_memory.Records, (nuint)SpliceTable.RecordBytes(_plan.Splices));
    }

    private int Cycle(long now)
    {
        (Component, bool) before = _plan.Meter.Enter(Component.Worker);
        int work = Worker.Cycle(now, WallMs);
        _plan.Meter.Leave(before);
        return work;
    }

    private void Emit(int port, in FrameRef frame)
    {
        (Component, bool) before = _plan.Meter.Enter(Component.World);
        _states.Touch(frame.Bytes);
        Send(port, frame.Bytes, frame.Vnet);
        _plan.Meter.Leave(before);
    }
}
