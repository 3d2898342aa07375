using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>What a box is.</summary>
[Flags]
public enum BoxRoles : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Answers for the services' addresses and spreads packets over the proxies.</summary>
    Sharer = 1,

    /// <summary>Splices.</summary>
    Proxy = 2,
}

/// <summary>Everything that a worker must know before it starts. Immutable.</summary>
public sealed record BoxConfig
{
    /// <summary>Names of all boxes, sorted; the index is the node number.</summary>
    public required string[] Nodes { get; init; }

    /// <summary>This box's number.</summary>
    public required byte Self { get; init; }

    /// <summary>Roles of this box.</summary>
    public required BoxRoles Roles { get; init; }

    /// <summary>External and internal link, in this order.</summary>
    public required BoxLink[] Links { get; init; }

    /// <summary>Default route of the backends, which the sharer answers for.</summary>
    public IpAddr InternalGateway4 { get; init; }

    /// <summary>The same, IPv6.</summary>
    public IpAddr InternalGateway6 { get; init; }

    /// <summary>Services.</summary>
    public required ServiceTable Services { get; init; }

    /// <summary>The cluster's key: cookies and the owner hash are the same on every box.</summary>
    public required byte[] ClusterKey { get; init; }

    /// <summary>Most splices at once.</summary>
    public int Splices { get; init; } = 262144;

    /// <summary>Most handshakes at once, and most of one source.</summary>
    public int Handshakes { get; init; } = 8192;

    /// <summary>Most handshakes of one source.</summary>
    public int HandshakesPerSource { get; init; } = 4096;

    /// <summary>How long a silent death may go unnoticed, ns: replay rings keep this much.</summary>
    public long DetectionNs { get; init; } = 15_000_000;

    /// <summary>Bytes of each replay ring (per peer and direction), a power of two.</summary>
    public int ReplayBytes { get; init; } = 16 << 20;
}
