using Appliance.DataPath.Balance;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.Runtime;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using BenchmarkDotNet.Attributes;

namespace Appliance.Bench;

/// <summary>
/// The whole way of a data segment through the engine's own cycle, ports without a wire: clock, receive, parse, sharer,
/// lookup, progress, rewrite, next hop, send. One operation is one packet (64 to a batch), in an order that no prefetcher
/// can guess. <see cref="Receive"/> is what the bench's port itself costs.
/// </summary>
public class ForwardBench
{
    internal const int Packets = 1 << 14;
    private const int FrameLength = 66 + 34, Headers = 66;

    private readonly LoopPort _external = new("ext", Headers), _internal = new("int", Headers);
    private readonly FrameBatch _batch = new(64);
    private Box _box = null!;
    private Worker _worker = null!;
    private long _now = 1_000_000_000;

    /// <summary>Splices in the table.</summary>
    [Params(1_000, 1_000_000)]
    public int Splices { get; set; }

    /// <summary>A box alone in its cluster, or a proxy to which a sharer hands.</summary>
    [Params(BoxRoles.Sharer | BoxRoles.Proxy, BoxRoles.Proxy)]
    public BoxRoles Roles { get; set; }

    /// <summary>Builds a box with its splices and checks what leaves.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _box = MakeBox();
        var random = new Random(1);
        for (int n = 0; n < Splices; n++) Install(n);
        int[] order = [.. Enumerable.Range(0, Packets).Select(_ => random.Next(Splices))];
        _external.Load(order.Select(n => FrameOf(n, toServer: true)));
        _internal.Load(order.Select(n => FrameOf(n, toServer: false)));
        if (ToServer() != Packets || !IsRight(_internal.LastSent, Real, 8080)) throw new InvalidOperationException("wrong frame to the server");
        if (ToClient() != Packets || !IsRight(_external.LastSent, ClientOf(order[^1]), PortOf(order[^1]))) throw new InvalidOperationException("wrong frame to the client");
    }

    /// <summary>Client to server.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public long ToServer() => Run(_external, _internal);

    /// <summary>Server to client.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public long ToClient() => Run(_internal, _external);

    /// <summary>Receiving alone.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int Receive()
    {
        _external.Arm(Packets);
        int sum = 0;
        for (int count = _external.Receive(_batch); count > 0; count = _external.Receive(_batch)) sum += count;
        return sum;
    }

    private static IpAddr Virtual => IpAddr.FromV4(0xcb00_710a);

    private static IpAddr Real => IpAddr.FromV4(0xc0a8_010b);

    private long Run(LoopPort from, LoopPort to)
    {
        long before = to.Counters.SentFrames;
        from.Arm(Packets);
        while (_worker.Cycle(_now += 20_000, 1) > 0)
        {
        }
        return to.Counters.SentFrames - before;
    }

    private Box MakeBox()
    {
        string[] nodes = ["gw1"];
        BoxLink[] links =
        [
            new(LinkRole.External, "ext", "gw1") { Address4 = IpAddr.FromV4(0xcb00_7102), Prefix4 = 24, Gateway4 = IpAddr.FromV4(0xcb00_7101) },
            new(LinkRole.Internal, "int", "gw1") { Address4 = IpAddr.FromV4(0xc0a8_0102), Prefix4 = 24 },
        ];
        Pool pool = new(1, "pool", 1, [new Real(Real, 8080, 1)], SendsProxyHeader: false);
        BoxConfig config = new()
        {
            Nodes = nodes,
            Self = 0,
            Roles = Roles,
            Links = links,
            InternalGateway4 = IpAddr.FromV4(0xc0a8_0101),
            Services = new ServiceTable([new Service(1, "WWW", Virtual, 80, Acked: false, ShareMode.ByFlow, 40, [], [pool])]),
            ClusterKey = new byte[32],
            Splices = Splices,
        };
        FramePort[] ports = [_external, _internal];
        Membership membership = new([MaglevTable.NameHash("gw1")]);
        var box = new Box(config, BoxMemory.Private(Splices, 77), ports, membership, new SpscQueue<SpliceEvent>(1024), _now, 1);
        SpscQueue<SpliceCommand> commands = new(16);
        _worker = new Worker(box, ports, [commands]);
        MembershipSlot slot = membership.Prepare(out byte number)!;
        slot.Use(1);
        slot.Live = 1;
        membership.Posted(number);
        commands.TryEnqueue(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
        _worker.Cycle(_now, 1);
        box.Egress.HopTo(LinkRole.External, links[0].Gateway4);
        box.Egress.HopTo(LinkRole.Internal, Real);
        box.Egress.Learn(LinkRole.External, links[0].Gateway4, new MacAddress(0x0200_0000_0001), solicited: true, overrides: true);
        box.Egress.Learn(LinkRole.Internal, Real, new MacAddress(0x0200_0000_0002), solicited: true, overrides: true);
        return box;
    }

    private void Install(int n)
    {
        SpliceRecord record = default;
        record.Id = (ulong)n + 1;
        (record.Client, record.Virtual, record.Source, record.Real) = (ClientOf(n), Virtual, ClientOf(n), Real);
        (record.ClientPort, record.VirtualPort, record.SourcePort, record.RealPort) = (PortOf(n), 80, PortOf(n), 8080);
        (record.X, record.Y, record.Ds, record.ScaleClient, record.ScaleOursServer) = (0, (uint)n * 977, 12345, 7, 7);
        record.Options = SpliceOptions.Timestamps | SpliceOptions.ScaleClient | SpliceOptions.ScaleServer | SpliceOptions.SackClient | SpliceOptions.SackServer;
        record.State = SpliceState.Established;
        ushort toServer = (ushort)_box.Egress.HopTo(LinkRole.Internal, Real), toClient = (ushort)_box.Egress.HopTo(LinkRole.External, ClientOf(n));
        if (_box.Splices.Install(record, toServer, toClient, _now, out _, out _) != InstallResult.Installed) throw new InvalidOperationException("not installed");
    }

    private byte[] FrameOf(int n, bool toServer)
    {
        byte[] frame = new byte[FrameLength];
        TcpSegmentSpec spec = default;
        (spec.Source, spec.SourcePort) = toServer ? (ClientOf(n), PortOf(n)) : (Real, (ushort)8080);
        (spec.Destination, spec.DestinationPort) = toServer ? (Virtual, (ushort)80) : (ClientOf(n), PortOf(n));
        (spec.Seq, spec.Ack, spec.Flags, spec.Window) = (new(1000), new(2000), TcpFlags.Ack, 501);
        (spec.HasTimestamps, spec.TsVal, spec.TsEcr) = (true, 1, 2);
        if (FrameWriter.WriteTcp(frame, in spec, new byte[34]) != FrameLength) throw new InvalidOperationException("frame");
        _box.Config.Links[toServer ? 0 : 1].OwnMac.Write(frame);
        new MacAddress(0x0200_0000_0009).Write(frame.AsSpan(6));
        return frame;
    }

    private static bool IsRight(FrameRef frame, IpAddr destination, ushort port) =>
        Packet.TryParse(frame.Bytes, out Packet packet, out _) && packet.Destination == destination && packet.DestinationPort == port
        && InternetChecksum.VerifyTransport(in packet) && InternetChecksum.VerifyIpv4Header(packet.Network[..20]);

    private static IpAddr ClientOf(int n) => IpAddr.FromV4(0x0a00_0000u + (uint)(n * 7));

    private static ushort PortOf(int n) => (ushort)(1024 + n % 60_000);
}
