using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>How much a box says about itself.</summary>
public enum LogLevel : byte
{
    Error,
    Warning,
    Info,
    Debug,
}

/// <summary>One `interface` statement: a link and the box's address on it, one of each family at most.</summary>
public sealed record InterfaceSettings(LinkRole Role, string Name, Prefix Address4, Prefix Address6, bool UsesHostMac, bool Promiscuous);

/// <summary>Another box of the cluster and its address on the sync link.</summary>
public sealed record PeerSettings(string Name, IpAddr Address);

/// <summary>One backend of a pool. Port 0 means the service's own.</summary>
public sealed record RealSettings(IpAddr Address, ushort Port, int Weight);

/// <summary>The backends of a service, in the order of the file.</summary>
public sealed record PoolSettings(string Name, bool SendsProxyHeader, ValueList<RealSettings> Reals);

/// <summary>Sends first requests that match to a pool of the same service. Names stand in lower case.</summary>
public sealed record RouteSettings(RouteKind Kind, string Value, string Pool);

/// <summary>An advertised address and port with its pools and routes, both in the order of the file.</summary>
public sealed record ServiceSettings(
    string Name, IpAddr Address, ushort Port, bool Acked, ShareMode Share, int Burst, ValueList<PoolSettings> Pools, ValueList<RouteSettings> Routes);

/// <summary>
/// What a configuration file says, as a value: two files that say the same give equal
/// configurations. Only the parser makes one, so every reference in it is resolved and every
/// number in range. It holds no position in the text (<see cref="ParseResult.Places"/> does).
/// </summary>
public sealed record Configuration
{
    /// <summary>Interval of heartbeats if the file names none.</summary>
    public static readonly TimeSpan DefaultHeartbeatInterval = TimeSpan.FromMilliseconds(5);

    /// <summary>Missed heartbeats that make a peer dead if the file names no number.</summary>
    public const int DefaultHeartbeatMisses = 3;

    /// <summary>Splices that the tables hold if the file names no number.</summary>
    public const int DefaultSplices = 131_072;

    /// <summary>Packets of a burst in the thesis that this sharing comes from.</summary>
    public const int DefaultBurst = 40;

    /// <summary>Name of this box in the cluster.</summary>
    public string Hostname { get; init; } = "";

    /// <summary>External, internal and sync in this order; the last may be missing.</summary>
    public ValueList<InterfaceSettings> Interfaces { get; init; } = [];

    /// <summary>Next hop towards the clients; none if the file has none.</summary>
    public IpAddr ExternalGateway4 { get; init; }

    /// <summary>The same for IPv6.</summary>
    public IpAddr ExternalGateway6 { get; init; }

    /// <summary>Networks of the backends; if empty, those of the internal interface.</summary>
    public ValueList<Prefix> InternalNets { get; init; } = [];

    /// <summary>Address that the sharer holds as the backends' default route.</summary>
    public IpAddr InternalGateway4 { get; init; }

    /// <summary>The same for IPv6.</summary>
    public IpAddr InternalGateway6 { get; init; }

    /// <summary>The box spreads packets.</summary>
    public bool IsSharer { get; init; }

    /// <summary>The box splices.</summary>
    public bool IsProxy { get; init; }

    /// <summary>Where the cluster's key is; null if the box is alone and has none.</summary>
    public string? KeyFile { get; init; }

    /// <summary>The other boxes, in the order of the file.</summary>
    public ValueList<PeerSettings> Peers { get; init; } = [];

    /// <summary>Time between heartbeats.</summary>
    public TimeSpan HeartbeatInterval { get; init; } = DefaultHeartbeatInterval;

    /// <summary>Heartbeats missed in a row that mean death.</summary>
    public int HeartbeatMisses { get; init; } = DefaultHeartbeatMisses;

    /// <summary>Threads of the data path.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>Each worker has a processor of its own.</summary>
    public bool WorkersPinned { get; init; }

    /// <summary>Splices that the tables hold.</summary>
    public int Splices { get; init; } = DefaultSplices;

    /// <summary>What is logged.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Info;

    /// <summary>The services, in the order of the file.</summary>
    public ValueList<ServiceSettings> Services { get; init; } = [];

    /// <summary>The interface of a role, or null.</summary>
    public InterfaceSettings? Interface(LinkRole role) => Interfaces.FirstOrDefault(i => i.Role == role);
}
