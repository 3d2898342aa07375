using Appliance.Control.Sealing;

namespace Appliance.Control.Failover;

/// <summary>Takes the beats that a core wants sent.</summary>
public interface IBeatOutput
{
    /// <summary>Sends on a link: to every box there (<see cref="SealedChannel.Everybody"/>), or on the sync link to one.</summary>
    void SendBeat(byte link, byte receiver, ReadOnlySpan<byte> datagram);
}

/// <summary>What a core is told once.</summary>
public sealed record LivenessOptions
{
    /// <summary>This box, and the set of its peers.</summary>
    public required byte Self { get; init; }

    public required ulong Peers { get; init; }

    /// <summary>Hash of the sorted list of names.</summary>
    public required ulong NodeListHash { get; init; }

    /// <summary>What must be the same on all boxes of this one's configuration, as a number.</summary>
    public ulong Configuration { get; init; }

    /// <summary>Bit per link that this cluster carries traffic on.</summary>
    public byte TrafficLinks { get; init; } = 1 << Links.External | 1 << Links.Internal;

    /// <summary>Time between beats, ns, and how many may be missed.</summary>
    public long IntervalNs { get; init; } = 5_000_000;

    public int Misses { get; init; } = 3;

    /// <summary>Clock difference that raises an alarm, ms: half of a cookie window.</summary>
    public long SkewMs { get; init; } = 32_000;
}

/// <summary>What a box says of itself; set by its other parts.</summary>
public struct LocalState
{
    public NodeFlags Flags;
    public ushort Workload;
    public uint LagMicros;
    public BeatMacs Macs;
}
