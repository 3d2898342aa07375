using Appliance.Lab.Net;

namespace Appliance.Lab.Topology;

/// <summary>What stands between clients and backends.</summary>
public enum BoxKind
{
    /// <summary>Boxes for the appliance: external and internal interface have no address of the host's.</summary>
    Appliance,

    /// <summary>A kernel that routes: the direct path, clients speak to the backends' own addresses.</summary>
    Router,

    /// <summary>A kernel that translates the service address to the backends (nftables, round robin).</summary>
    Dnat,

    HaproxyHttp,
    HaproxyHttpSplice,
    HaproxyTcpSplice,
    NginxStream,

    /// <summary>The engine's ports and nothing else: frames go from port to port with new MACs ("appliance-lab bare"); clients speak to backend 1's own address.</summary>
    Bare,
}

/// <summary>Size and properties of the standard topology.</summary>
public sealed record ClusterOptions
{
    public BoxKind Kind { get; init; } = BoxKind.Appliance;

    public int Clients { get; init; } = 1;

    public int Boxes { get; init; } = 2;

    public int Backends { get; init; } = 2;

    /// <summary>Rate of each client's link, e.g. "1gbit"; null for unshaped.</summary>
    public string? ClientRate { get; init; }

    /// <summary>Rate of the boxes' external and internal links.</summary>
    public string? BoxRate { get; init; }

    /// <summary>Rate of each backend's link.</summary>
    public string? BackendRate { get; init; }

    /// <summary>Offloads of the clients' and backends' links.</summary>
    public Offloads EndOffloads { get; init; } = Offloads.Default;

    /// <summary>Offloads of the boxes' links.</summary>
    public Offloads BoxOffloads { get; init; } = Offloads.Default;

    public int Mtu { get; init; } = 1500;

    /// <summary>Whether links keep the order of a flow's frames (<see cref="Net.LinkOptions.InOrder"/>).</summary>
    public bool InOrder { get; init; }

    /// <summary>TCP port of the service, for the kinds that the lab configures itself.</summary>
    public int Port { get; init; } = 80;

    /// <summary>Whether the box's program runs before all others on the machine (SCHED_FIFO), as it does on a box that is one.</summary>
    public bool BoxFirst { get; init; }

    /// <summary>TCP congestion control of all hosts, or null for the machine's; see <see cref="Net.CongestionControl"/>.</summary>
    public string? CongestionControl { get; init; }

    /// <summary>Settings below net. of clients and backends, e.g. ("ipv4.tcp_timestamps", "0").</summary>
    public IReadOnlyList<(string Name, string Value)> EndSettings { get; init; } = [];
}
