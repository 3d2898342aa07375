using System.Collections.Immutable;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>Another box, with its number and its address on the sync link.</summary>
public sealed record PeerBox(byte Id, string Name, IpAddr Address);

/// <summary>What the box needs to know about itself to start: everything of the configuration except its services. Immutable.</summary>
public sealed record BoxSettings
{
    /// <summary>Name of this box.</summary>
    public required string Hostname { get; init; }

    /// <summary>Names of all boxes, sorted by ordinal value; the index is the box's number on every box.</summary>
    public required ImmutableArray<string> Nodes { get; init; }

    /// <summary>This box's number.</summary>
    public required byte Node { get; init; }

    /// <summary>The other boxes.</summary>
    public required ImmutableArray<PeerBox> Peers { get; init; }

    /// <summary>The link towards the clients, with its gateways.</summary>
    public required BoxLink External { get; init; }

    /// <summary>The link towards the servers; it has no gateway: servers are on it.</summary>
    public required BoxLink Internal { get; init; }

    /// <summary>The interfaces as configured (host MAC, promiscuous); external, internal, sync, the last may be missing.</summary>
    public required ValueList<InterfaceSettings> Interfaces { get; init; }

    /// <summary>This box's address on the sync link; none if there is no such link.</summary>
    public required IpAddr SyncAddress { get; init; }

    /// <summary>Networks of the servers; those of the internal interface if the file names none.</summary>
    public required ImmutableArray<Prefix> InternalNets { get; init; }

    /// <summary>The servers' default route, held by the sharer; none if there is none.</summary>
    public required IpAddr InternalGateway4 { get; init; }

    /// <summary>The same for IPv6.</summary>
    public required IpAddr InternalGateway6 { get; init; }

    /// <summary>The box spreads packets.</summary>
    public required bool IsSharer { get; init; }

    /// <summary>The box splices.</summary>
    public required bool IsProxy { get; init; }

    /// <summary>Where the cluster's key is; null if there is none.</summary>
    public required string? KeyFile { get; init; }

    /// <summary>Nanoseconds between heartbeats.</summary>
    public required long HeartbeatIntervalNs { get; init; }

    /// <summary>Heartbeats missed in a row that mean death.</summary>
    public required int HeartbeatMisses { get; init; }

    /// <summary>Threads of the data path.</summary>
    public required int Workers { get; init; }

    /// <summary>Each worker has a processor of its own.</summary>
    public required bool WorkersPinned { get; init; }

    /// <summary>Splices that the tables hold.</summary>
    public required int Splices { get; init; }

    /// <summary>What is logged.</summary>
    public required LogLevel LogLevel { get; init; }

    /// <summary>What must be the same on all boxes, as a number (<see cref="ConfigurationDigest"/>).</summary>
    public ulong Digest { get; init; }

    /// <summary>The detection bound: how long a peer may be silent, in nanoseconds.</summary>
    public long DetectionNs => HeartbeatIntervalNs * HeartbeatMisses;
}
