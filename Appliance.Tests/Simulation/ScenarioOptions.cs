using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>What a scenario is made of; everything else comes from the seed.</summary>
internal sealed record ScenarioOptions
{
    public int Connections { get; init; } = 20;

    public int Servers { get; init; } = 2;

    public int Mtu { get; init; } = 1500;

    /// <summary>Links; null: drawn from the seed, from clean to very bad.</summary>
    public LinkProfile? External { get; init; }

    public LinkProfile? Internal { get; init; }

    /// <summary>Longest delay that is drawn.</summary>
    public long MaxExternalDelayNs { get; init; } = 60 * SimWorld.Millisecond;

    public long MaxInternalDelayNs { get; init; } = 60 * SimWorld.Millisecond;

    public DatagramProfile Sync { get; init; } = new();

    /// <summary>False if several boxes share the path, so that judges must not rely on order without timestamps.</summary>
    public bool SinglePath { get; init; } = true;

    /// <summary>Drawn links may flip bits.</summary>
    public bool Corruption { get; init; } = true;

    public int Ipv6Percent { get; init; } = 25;

    /// <summary>In half of the seeds the clients of one address family begin with a ClientHello.</summary>
    public bool Tls { get; init; }

    public int MaxBody { get; init; } = 60_000;

    public int MaxResponse { get; init; } = 200_000;

    public long MaxThinkNs { get; init; } = 200 * SimWorld.Millisecond;

    public long StartSpreadNs { get; init; } = SimWorld.Second;

    /// <summary>Some connections abort by plan.</summary>
    public bool Aborts { get; init; } = true;

    /// <summary>Hosts send super-frames with partial checksums.</summary>
    public bool Offloads { get; init; }

    public TcpProfile? ClientProfile { get; init; }

    /// <summary>Changes a drawn client profile, for example to what a box can promise.</summary>
    public Func<TcpProfile, TcpProfile> Adjust { get; init; } = profile => profile;

    /// <summary>Changes a drawn server profile (all reals of a pool alike).</summary>
    public Func<TcpProfile, TcpProfile> AdjustServer { get; init; } = profile => profile;

    /// <summary>What a server's machine offers on all its connections: from (seed, server, drawn profile); a backend that changes its mind breaks its promise.</summary>
    public Func<ulong, int, TcpProfile, TcpProfile> ServerOffers { get; init; } = (_, _, profile) => profile;

    /// <summary>Called when the run is over, before it is judged: boxes are asked what they hold.</summary>
    public Action<Scenario>? Finish { get; init; }

    /// <summary>Virtual time after which what is not over counts as stuck.</summary>
    public long LimitNs { get; init; } = 300 * SimWorld.Second;

    /// <summary>How long the run goes on after the last client is done, for servers to see the end.</summary>
    public long LingerNs { get; init; } = 60 * SimWorld.Second;

    /// <summary>More events than this are a storm, and a violation.</summary>
    public long MaxEvents { get; init; } = 5_000_000;

    /// <summary>Number of faults, which kinds, and the named states that may trigger them.</summary>
    public int Faults { get; init; }

    public FaultKind[] FaultKinds { get; init; } = Enum.GetValues<FaultKind>();

    public string[] FaultStates { get; init; } = [];

    /// <summary>A fault that would leave no undisturbed box is skipped.</summary>
    public bool KeepOneHealthy { get; init; } = true;

    /// <summary>Asked before a fault hits a box; false spares it.</summary>
    public Func<Scenario, SimNode, bool>? MayHit { get; init; }

    /// <inheritdoc cref="SimWorld.JudgesEdges"/>
    public bool JudgesEdges { get; init; } = true;

    /// <inheritdoc cref="SimWorld.JudgesAcks"/>
    public bool JudgesAcks { get; init; } = true;

    /// <summary>Attaches boxes to the scenario's networks; null: clients talk to the first server directly.</summary>
    public Action<Scenario>? Boxes { get; init; }

    /// <summary>A name for the replay line.</summary>
    public string Name { get; init; } = "direct";
}

/// <summary>Who has which address: documentation prefixes on both links.</summary>
internal sealed class ScenarioAddresses(ScenarioOptions options)
{
    private const ulong External6 = 0x2001_0db8_0001_0000, Internal6 = 0x2001_0db8_0002_0000, Clients6 = 0x2001_0db8_0100_0000;

    public ushort ServicePort => 80;

    public int ClientCount => Math.Min(options.Connections, 50);

    public IpAddr Service(bool v6) => v6 ? new(External6, 0x10) : IpAddr.FromV4(0xcb00710a);

    /// <summary>The router in front of the clients: default gateway of the external link.</summary>
    public IpAddr Router(bool v6) => v6 ? new(External6, 1) : IpAddr.FromV4(0xcb007101);

    /// <summary>A box's own address on the external link.</summary>
    public IpAddr BoxExternal(int box, bool v6) => v6 ? new(External6, 0x20 + (ulong)box) : IpAddr.FromV4(0xcb007114 + (uint)box);

    public IpAddr BoxInternal(int box, bool v6) => v6 ? new(Internal6, 0x20 + (ulong)box) : IpAddr.FromV4(0xc0a80114 + (uint)box);

    /// <summary>The servers' default gateway.</summary>
    public IpAddr InternalGateway(bool v6) => v6 ? new(Internal6, 1) : IpAddr.FromV4(0xc0a80101);

    public IpAddr Server(int server, bool v6) => v6 ? new(Internal6, 0x100 + (ulong)server) : IpAddr.FromV4(0xc0a80165 + (uint)server);

    public IpAddr ClientAddress(int client, bool v6) => v6 ? new(Clients6, 1 + (ulong)client) : IpAddr.FromV4(0xc6336401 + (uint)client);

    public (IpAddr Address, ushort Port) Client(ConnectionPlan plan) => (ClientAddress(plan.Index % ClientCount, plan.IsV6), (ushort)(20_000 + (plan.Index * 37 % 40_000)));
}
