using Appliance.Control.Runtime;
using Appliance.DataPath.Balance;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.Runtime;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using Appliance.Tests.Port;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>
/// One real box with its workers on two memory wires each in virtual time, between scripted ends. What the box
/// sends is sorted into <see cref="ToClient"/> and <see cref="ToServer"/>; its questions for MACs and its probes are
/// answered here and are not seen by tests. Every frame that leaves must have right checksums unless <see cref="JudgeChecksums"/> is off.
/// </summary>
internal sealed class BoxHarness : IDisposable
{
    public const ushort ServicePort = 80, RealPort = 8080;
    private const long StartWallMs = 1_700_000_000_000;

    private readonly MemoryWire[][] _wires;
    private readonly Worker[] _workers;
    private readonly SpscQueue<SpliceCommand>[] _commands;
    private readonly SpscQueue<SpliceEvent>[] _events;
    private readonly FrameBatch _batch = new(64);
    private readonly Membership[] _memberships;
    private readonly WorkerGroup _group;
    private readonly BpfInstruction[][] _fanout;
    private int _answers;
    private readonly byte[] _scratch = GC.AllocateArray<byte>(70_000, pinned: true);

    public BoxHarness(BoxOptions? options = null)
    {
        Options = options ?? new BoxOptions();
        bool v6 = Options.V6;
        Virtual = Ip(v6 ? "2001:db8:2::10" : "203.0.113.10");
        ClientAddress = Ip(Options.ClientOnLink ? "203.0.113.77" : v6 ? "2001:db8:1::7" : "198.51.100.7");
        Reals = [.. Enumerable.Range(11, Options.Reals).Select(n => Ip(v6 ? $"fd00::{n}" : $"192.168.1.{n}"))];
        Pool = new Pool(1, "pool", 1, [.. Reals.Select(r => new Real(r, RealPort, 1))], Options.SendsProxyHeader);
        Service = new Service(1, "WWW", Virtual, ServicePort, Options.Acked, Options.Share, 40, [], [Pool]);
        string[] nodes = [.. Enumerable.Range(1, Options.Nodes).Select(n => $"gw{n}")];
        Links =
        [
            new BoxLink(LinkRole.External, "ext", nodes[0])
            {
                Address4 = Ip("203.0.113.2"), Prefix4 = 24, Gateway4 = Ip("203.0.113.1"),
                Address6 = Ip("2001:db8:2::2"), Prefix6 = 64, Gateway6 = Ip("2001:db8:2::1"),
            },
            new BoxLink(LinkRole.Internal, "int", nodes[0]) { Address4 = Ip("192.168.1.2"), Prefix4 = 24, Address6 = Ip("fd00::2"), Prefix6 = 64 },
        ];
        BoxConfig config = new()
        {
            Nodes = nodes,
            Self = 0,
            Roles = Options.Roles,
            Links = Links,
            InternalGateway4 = Ip("192.168.1.1"),
            InternalGateway6 = Ip("fd00::1"),
            Services = new ServiceTable([Service]),
            ClusterKey = [.. Enumerable.Range(0, 32).Select(i => (byte)i)],
            Splices = Options.Splices,
            Handshakes = Options.Handshakes,
            HandshakesPerSource = Options.HandshakesPerSource,
            ReplayBytes = 1 << 20,
        };
        int count = Options.Workers;
        _fanout = [FanoutProgram.Build(ClientSide.Source, count), FanoutProgram.Build(ClientSide.Destination, count)];
        _group = new WorkerGroup(config, count, WallMs);
        _wires = Each(_ => new[] { new MemoryWire("ext", "client", 512, Options.Mtu), new MemoryWire("int", "server", 512, Options.Mtu) });
        _commands = Each(_ => new SpscQueue<SpliceCommand>(1024));
        _events = Each(_ => new SpscQueue<SpliceEvent>(1024));
        Membership first = new([.. nodes.Select(MaglevTable.NameHash)]);
        _memberships = Each(i => i == 0 ? first : new Membership(first));
        Boxes = Each(i => new Box(config, BoxMemory.Private(config.Splices, 77), [_wires[i][0].A, _wires[i][1].A], _memberships[i], _events[i], Now, WallMs, _group, i));
        _workers = Each(i => new Worker(Boxes[i], [_wires[i][0].A, _wires[i][1].A], [_commands[i]]));
        ulong all = (1ul << Options.Nodes) - 1;
        Post(all, Options.Live ?? all);
        Run();
        Assert.That(Box.IsProfiled, Is.EqualTo(Options.Backend is not null));
    }

    public BoxOptions Options { get; }

    /// <summary>Each worker's box; <see cref="Box"/> is that of the default client.</summary>
    public Box[] Boxes { get; }

    public Box Box => Boxes[WorkerOf(40001)];

    public BoxLink[] Links { get; }

    public Pool Pool { get; }

    public Service Service { get; }

    public IpAddr Virtual { get; }

    public IpAddr ClientAddress { get; }

    public IpAddr[] Reals { get; }

    public long Now { get; private set; } = 1_000_000_000;

    public long WallMs => StartWallMs + Now / 1_000_000;

    public Queue<Segment> ToClient { get; } = new();

    public Queue<Segment> ToServer { get; } = new();

    /// <summary>Bytes of the managed heap that the worker has taken.</summary>
    public long Allocated { get; private set; }

    public bool JudgeChecksums { get; set; } = true;

    /// <summary>Reals that answer neither ARP nor probes.</summary>
    public HashSet<IpAddr> Unreachable { get; } = [];

    public long Count(Counter counter) => Boxes.Sum(b => b.Statistics[counter]);

    public long Count(DropReason reason) => Boxes.Sum(b => b.Statistics[reason]);

    /// <summary>The worker of the client's flow from a port.</summary>
    public int WorkerOf(ushort port) => ClientShare.Of(ClientAddress, port, Options.Workers);

    public static IpAddr Ip(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text);

    /// <summary>The MAC under which the harness answers for an address.</summary>
    public static MacAddress MacOf(IpAddr address) => new(0x0600_0000_0000 | (address.Low & 0xffff_ffff));

    public static MacAddress MacOfNode(int node, LinkRole role, FrameMark mark = FrameMark.Handed) => BoxLink.MacOf($"gw{node + 1}", role, mark);

    public ClientEnd Client(ushort port = 40001, uint a = 1000, Offer? offer = null) => new(this, port, a, offer ?? new Offer());

    /// <summary>A client port whose flow node <paramref name="node"/> owns.</summary>
    public ushort PortOwnedBy(int node)
    {
        for (ushort port = 40001; ; port++)
        {
            if (Box.OwnerOf(Box.OwnerHash(ClientAddress, port)) == node) return port;
        }
    }

    /// <summary>Takes the box's SYN to a real and becomes that real.</summary>
    public ServerEnd Accept(uint d = 9_000_000, Offer? offer = null)
    {
        ServerEnd server = TakeSyn(d, offer);
        server.SynAck();
        return server;
    }

    /// <summary>The same, without answering.</summary>
    public ServerEnd TakeSyn(uint d = 9_000_000, Offer? offer = null)
    {
        Assert.That(ToServer, Is.Not.Empty, "a SYN to a real is expected");
        Segment syn = ToServer.Dequeue();
        Assert.That(syn.Flags & ~(TcpFlags.Ece | TcpFlags.Cwr), Is.EqualTo(TcpFlags.Syn), syn.ToString());
        return new ServerEnd(this, syn, d, offer ?? Options.Backend ?? new Offer());
    }

    /// <summary>Hands a frame to the box; returns all drop reasons that were counted meanwhile.</summary>
    public DropReason[] Inject(LinkRole role, byte[] frame, VnetHeader vnet = default)
    {
        long[] before = Reasons();
        _answers = 0;
        frame.CopyTo(_scratch, 0);
        FrameRef lent = new() { Address = MemoryNative.AddressOf(_scratch), Length = frame.Length, Vnet = vnet };
        MemoryPort port = _wires[Landing(role, frame)][(int)role].B;
        Assert.That(port.Send(lent), Is.True);
        port.Flush();
        Run();
        // An answer to a question of the box's is consumed too, and is not what was injected.
        if (_answers > 0) before[(int)DropReason.Consumed] += _answers;
        return [.. Reasons().Select((n, i) => (Reason: (DropReason)i, Count: n - before[i])).Where(x => x.Count > 0).Select(x => x.Reason)];
    }

    public void Tell(in SpliceCommand command)
    {
        bool ofClient = !command.Record.Client.IsNone;
        for (int i = 0; i < _commands.Length; i++)
        {
            if (!ofClient || ClientShare.Of(command.Record.Client, command.Record.ClientPort, _commands.Length) == i) _commands[i].TryEnqueue(command);
        }
        Run();
    }

    /// <summary>A membership as the engine's liveness posts it.</summary>
    public void Post(ulong usable, ulong live)
    {
        MembershipSlot slot = LivenessBridge.Prepare(_memberships, out byte number)!;
        slot.Use(usable);
        slot.Live = slot.Linked = live;
        foreach (Membership membership in _memberships) membership.Posted(number);
        Tell(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
    }

    /// <summary>What the worker told replication since the last call.</summary>
    public List<SpliceEvent> Events()
    {
        List<SpliceEvent> found = [];
        foreach (SpscQueue<SpliceEvent> queue in _events)
        {
            while (queue.TryDequeue(out SpliceEvent message)) found.Add(message);
        }
        return found;
    }

    /// <summary>Lets time pass, waking the worker when it asked to be.</summary>
    public void Advance(long ms)
    {
        long end = Now + ms * 1_000_000;
        while (Now < end)
        {
            // Timers may fire one tick late: a deadline in the past is tried again a little later.
            Now = Math.Min(end, Math.Max(_workers.Min(w => w.NextDeadline), Now + 100_000));
            Run();
        }
    }

    /// <summary>Bytes that all workers allocate while the same frame comes again and again, each time as it was.</summary>
    public long MeasureAllocation(LinkRole role, byte[] frame, int rounds)
    {
        int worker = Landing(role, frame);
        MemoryPort port = _wires[worker][(int)role].B;
        long before = 0;
        for (int i = -100; i < rounds; i++)
        {
            if (i == 0) before = GC.GetAllocatedBytesForCurrentThread();
            frame.CopyTo(_scratch, 0);
            port.Send(new FrameRef { Address = MemoryNative.AddressOf(_scratch), Length = frame.Length });
            port.Flush();
            foreach (Worker each in _workers) each.Cycle(Now, WallMs);
            foreach (Worker each in _workers) each.Cycle(Now, WallMs);
            foreach (MemoryWire[] wires in _wires)
            {
                foreach (MemoryWire wire in wires)
                {
                    wire.B.Receive(_batch);
                    wire.B.Release();
                }
            }
        }
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }

    public void ExpectSilence()
    {
        Assert.That(ToClient, Is.Empty, "nothing more to the client");
        Assert.That(ToServer, Is.Empty, "nothing more to the server");
    }

    /// <summary>Record and entries of all connections are gone, and no handshake is left.</summary>
    public void ExpectEmpty()
    {
        Assert.That(Boxes.Sum(b => b.Splices.Count), Is.Zero, "splices");
        Assert.That(Boxes.Sum(b => b.Handshakes.Count), Is.Zero, "handshakes");
        Assert.That(Count(Counter.HeadBuffersInUse), Is.Zero, "head buffers");
    }

    public void Dispose()
    {
        foreach (Box box in Boxes) box.Dispose();
        foreach (MemoryWire wire in _wires.SelectMany(w => w)) wire.Dispose();
        _group.Dispose();
    }

    private T[] Each<T>(Func<int, T> make) => [.. Enumerable.Range(0, Options.Workers).Select(make)];

    // Where the kernel puts it.
    private int Landing(LinkRole role, ReadOnlySpan<byte> frame) =>
        ((int)BpfMachine.Run(_fanout[(int)role], frame) + (Options.Astray ? 1 : 0)) % Options.Workers;

    private void Run()
    {
        Box.Cookies.Prepare(WallMs / 1000);
        bool more = true;
        while (more)
        {
            more = false;
            long before = GC.GetAllocatedBytesForCurrentThread();
            foreach (Worker worker in _workers) more |= worker.Cycle(Now, WallMs) > 0;
            Allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            for (int i = 0; i < _workers.Length; i++) more |= Collect(i, LinkRole.External) | Collect(i, LinkRole.Internal);
        }
    }

    private bool Collect(int worker, LinkRole role)
    {
        MemoryPort port = _wires[worker][(int)role].B;
        bool answered = false;
        List<Segment> taken = [];
        while (port.Receive(_batch) > 0)
        {
            for (int i = 0; i < _batch.Count; i++) taken.Add(new Segment(_batch[i].Bytes.ToArray(), _batch[i].Vnet));
            port.Release();
        }
        foreach (Segment segment in taken)
        {
            byte[]? answer = Answer(role, segment);
            if (answer is { Length: > 0 })
            {
                answer.CopyTo(_scratch, 0);
                MemoryPort back = _wires[Landing(role, answer)][(int)role].B;
                back.Send(new FrameRef { Address = MemoryNative.AddressOf(_scratch), Length = answer.Length });
                back.Flush();
                answered = true;
                _answers++;
            }
            if (answer is not null) continue;
            if (JudgeChecksums && !segment.IsFragment) Assert.That(segment.ChecksumRight, Is.True, $"checksum of {segment}");
            (role == LinkRole.External ? ToClient : ToServer).Enqueue(segment);
        }
        return answered;
    }

    // Null: a frame for the test. Empty: swallowed.
    private byte[]? Answer(LinkRole role, Segment segment)
    {
        if (!Packet.TryParse(segment.Frame, out Packet packet, out _)) return null;
        byte[] answer = new byte[128];
        if (packet.Layout.Kind == NetworkKind.Arp)
        {
            ArpView arp = packet.Arp;
            if (arp.Operation != ArpView.Request || Unreachable.Contains(arp.Target)) return [];
            return answer[..NeighborWriter.WriteArpReply(answer, MacOf(arp.Target), arp.Target, arp.SenderMac, arp.Sender)];
        }
        if (packet.IsIcmp && NeighborView.IsNeighbor(packet))
        {
            if (!NeighborView.TryParse(packet, false, out NeighborView asked, out _) || asked.Kind != NeighborKind.Solicitation || Unreachable.Contains(asked.Target)) return [];
            return answer[..NeighborWriter.WriteAdvertisement(answer, MacOf(asked.Target), asked.Target, packet.SourceMac, packet.Source, isRouter: false)];
        }
        bool isProbe = role == LinkRole.Internal && segment.IsTcp && Links[1].HasAddress(segment.Source);
        if (!isProbe) return null;
        if (!segment.Has(TcpFlags.Syn) || Options.Backend is not { } offer || Unreachable.Contains(segment.Destination)) return [];
        TcpSegmentSpec spec = TcpEnd.SynOf(offer);
        (spec.SourceMac, spec.DestinationMac) = (MacOf(segment.Destination), Links[1].OwnMac);
        (spec.Source, spec.Destination, spec.SourcePort, spec.DestinationPort) = (segment.Destination, segment.Source, segment.DestinationPort, segment.SourcePort);
        (spec.Seq, spec.Ack) = (new TcpSeq(1), new TcpSeq(segment.RawSeq) + 1u);
        spec.Flags = TcpFlags.Syn | TcpFlags.Ack | (offer.Ecn ? TcpFlags.Ece : TcpFlags.None);
        return answer[..FrameWriter.WriteTcp(answer, spec, default, offer.Raw)];
    }

    private long[] Reasons() => [.. Enumerable.Range(0, DropReasons.Count).Select(i => Count((DropReason)i))];
}
