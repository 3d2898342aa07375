using System.Runtime.InteropServices;
using Appliance.Control.Sealing;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>Where an engine is in its life.</summary>
public enum EnginePhase
{
    /// <summary>Opening ports, warming up.</summary>
    Starting = 0,

    /// <summary>Backends were asked, or a second has passed; carries packets. Whether peers have refilled it is said in beats.</summary>
    Running = 1,

    /// <summary>Has announced that it leaves; forwards what still comes.</summary>
    Leaving = 2,
}

/// <summary>The engine's own words about itself; every field is one aligned word.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct EngineHeader
{
    /// <summary>Layout number; 0 until the segment is complete.</summary>
    public long Magic;

    /// <summary>Incarnation: wall time of the start in milliseconds.</summary>
    public long Incarnation;

    /// <summary>Process id, phase (<see cref="EnginePhase"/>), wall time (ms) of the last status write.</summary>
    public long Pid, Phase, UpdatedWallMs;

    /// <summary>Membership version, usable proxies, live boxes.</summary>
    public long MembershipVersion, Usable, Live;

    /// <summary>Bytes of the managed heap that each thread has allocated since it started: liveness, replication (a worker's: <see cref="WorkerStatus.Allocated"/>).</summary>
    public long LivenessAllocated, ReplicationAllocated;

    /// <summary>What carries the traffic links (<see cref="Runtime.LinkState"/>).</summary>
    public long ExternalLink, InternalLink;
}

/// <summary>One port's counters, copied by its worker.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct PortStatus
{
    /// <summary>See <see cref="PortCounters"/>.</summary>
    public long ReceivedFrames, ReceivedBytes, SentFrames, SentBytes, SendDrops, SendErrors, ReceiveDrops, Truncated;

    /// <summary>Copies a port's counters.</summary>
    public void Set(PortCounters c)
    {
        (ReceivedFrames, ReceivedBytes, SentFrames, SentBytes) = (c.ReceivedFrames, c.ReceivedBytes, c.SentFrames, c.SentBytes);
        (SendDrops, SendErrors, ReceiveDrops, Truncated) = (c.SendDrops, c.SendErrors, c.ReceiveDrops, c.Truncated);
    }

    /// <summary>Adds what another worker's socket on the same port has counted.</summary>
    public void Add(in PortStatus other)
    {
        ReceivedFrames += other.ReceivedFrames;
        ReceivedBytes += other.ReceivedBytes;
        SentFrames += other.SentFrames;
        SentBytes += other.SentBytes;
        SendDrops += other.SendDrops;
        SendErrors += other.SendErrors;
        ReceiveDrops += other.ReceiveDrops;
        Truncated += other.Truncated;
    }
}

/// <summary>One worker's part of the segment.</summary>
public sealed class WorkerStatus(nint address)
{
    private const int PortsAt = 64, StatisticsAt = 256;

    /// <summary>Bytes of the part.</summary>
    public const int Bytes = (StatisticsAt + Statistics.BlockBytes + 4095) & -4096;

    /// <summary>The data path's counters.</summary>
    public Statistics Statistics { get; } = new(address + StatisticsAt);

    /// <summary>Bytes that the worker has allocated on the managed heap since it started.</summary>
    public ref long Allocated => ref MemoryNative.Ref<long>(address);

    /// <summary>A port by link role.</summary>
    public ref PortStatus Port(LinkRole role) => ref MemoryNative.Ref<PortStatus>(address + PortsAt + (int)role * Marshal.SizeOf<PortStatus>());
}

/// <summary>What this box knows of one peer, written by its liveness and replication threads.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct PeerStatus
{
    /// <summary>1 if it lives; 1 if it is in the table; bits of links on which its beats arrive; its workload factor; 1 if it says it is refilled.</summary>
    public long Live, Usable, Links, Factor, Refilled;

    /// <summary>When its last beat came, wall ms; its incarnation as seen.</summary>
    public long LastBeatWallMs, Incarnation;

    /// <summary>Oldest record that it has not acknowledged, µs; how many wait; what it says of the other direction, µs.</summary>
    public long LagOutUs, Waiting, LagInUs;

    /// <summary>Records sent, received, resent; datagrams sent, received; full transfers sent, received; rejected datagrams.</summary>
    public long RecordsSent, RecordsReceived, Retransmitted, DatagramsSent, DatagramsReceived, ResyncsSent, ResyncsReceived, Rejected, RejectedBeats;

    /// <summary>Digest of its configuration, as its last beat said; 0 before the first.</summary>
    public long Configuration;

    private readonly long _spare1, _spare2;
}

/// <summary>
/// The statistics segment: header, peers, then each worker's ports and <see cref="Statistics"/>, which readers add up. One
/// writer per part, no locks, anybody may map it read-only.
/// </summary>
public sealed class EngineStatus(nint address, int workers)
{
    /// <summary>Layout number.</summary>
    public const long CurrentMagic = 0x4150_504c_5354_4102;

    private const int PeersAt = 512, RejectedAt = 12288, WorkersAt = 16384;

    /// <summary>The header.</summary>
    public ref EngineHeader Header => ref MemoryNative.Ref<EngineHeader>(address);

    /// <summary>What carries a traffic link (<see cref="Runtime.LinkState"/>).</summary>
    public ref long LinkState(LinkRole role) => ref role == LinkRole.External ? ref Header.ExternalLink : ref Header.InternalLink;

    /// <summary>Peers' datagrams rejected, by <see cref="RejectReason"/>: beats, written by the liveness thread.</summary>
    public Span<long> RejectedBeats => MemoryMarshal.CreateSpan(ref MemoryNative.Ref<long>(address + RejectedAt), RejectReasons.Count);

    /// <summary>Peers' datagrams rejected, by <see cref="RejectReason"/>: records, written by the replication thread.</summary>
    public Span<long> RejectedRecords => MemoryMarshal.CreateSpan(ref MemoryNative.Ref<long>(address + RejectedAt + 256), RejectReasons.Count);

    /// <summary>The workers' parts.</summary>
    public IReadOnlyList<WorkerStatus> Workers { get; } = [.. Enumerable.Range(0, workers).Select(i => new WorkerStatus(address + WorkersAt + (nint)i * WorkerStatus.Bytes))];

    /// <summary>Bytes of the segment for so many workers.</summary>
    public static long BytesFor(int workers) => WorkersAt + (long)workers * WorkerStatus.Bytes;

    /// <summary>Adds the workers' counters up in <paramref name="sum"/>, which is cleared first.</summary>
    public void Sum(Statistics sum)
    {
        sum.Clear();
        foreach (WorkerStatus worker in Workers) sum.Add(worker.Statistics);
    }

    /// <summary>A port's counters, of all workers.</summary>
    public PortStatus Port(LinkRole role)
    {
        PortStatus sum = default;
        foreach (WorkerStatus worker in Workers) sum.Add(worker.Port(role));
        return sum;
    }

    /// <summary>A peer by node number.</summary>
    public ref PeerStatus Peer(int node) => ref MemoryNative.Ref<PeerStatus>(address + PeersAt + node * Marshal.SizeOf<PeerStatus>());
}
