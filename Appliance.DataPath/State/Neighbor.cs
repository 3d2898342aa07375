using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>What is known about a next hop (RFC 4861 7.3.2; for ARP alike).</summary>
public enum NeighborState : byte
{
    /// <summary>Known by address only; nobody has asked for it yet, or it did not answer lately.</summary>
    Failed = 0,

    /// <summary>Asked for by broadcast (multicast), no answer yet; frames wait.</summary>
    Incomplete,

    /// <summary>Its MAC was confirmed within the last 30 s.</summary>
    Reachable,

    /// <summary>Its MAC is older, or was said without being asked for; still used.</summary>
    Stale,

    /// <summary>Asked directly, no answer yet; still used.</summary>
    Probe,
}

/// <summary>What the caller is to send.</summary>
public enum NeighborActionKind : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>An ARP request to broadcast, or a neighbour solicitation to the solicited-node group.</summary>
    Request,

    /// <summary>The same, to the MAC that is known.</summary>
    Probe,
}

/// <summary>A question to send on a link.</summary>
public readonly record struct NeighborAction(NeighborActionKind Kind, byte Link, IpAddr Address, MacAddress Mac);

/// <summary>What became of a frame for a next hop without MAC.</summary>
public enum NeighborVerdict : byte
{
    /// <summary>Kept until the answer comes.</summary>
    Queued,

    /// <summary>The MAC has just become known: send it.</summary>
    Resolved,

    /// <summary>Drop: <see cref="DropReason.NeighborQueueFull"/>.</summary>
    QueueFull,

    /// <summary>Drop: <see cref="DropReason.NeighborUnresolved"/>.</summary>
    Unresolved,
}
