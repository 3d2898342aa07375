using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>Named counters and gauges of the data path; public interface, never renumbered.</summary>
public enum Counter
{
    Cycles = 0,
    Received,
    ReceivedBytes,
    Transmitted,
    TransmittedBytes,
    Rewritten,
    RewrittenBytes,
    HandedToSelf,
    HandedToPeers,
    Relayed,
    RelayedOn,
    RelayedAfterRecord,
    Replayed,
    ReplayedReceived,
    SynReceived,
    CookiesSent,
    CookiesAccepted,
    HandshakesStarted,
    HeadsComplete,
    BackendSyns,
    BackendSynAcks,
    BackendRefused,
    BackendTimeouts,
    BackendRested,
    SplicesCreated,
    SplicesImported,
    SplicesClosed,
    SplicesReset,
    ResetsDoubted,
    SplicesExpired,
    SplicesActive,
    HandshakesActive,
    HeadBuffersInUse,
    EarlyAcks,
    EarlyAcksWithoutPeer,
    OwnedRetransmissions,
    ConfirmationsAwaited,
    ConfirmationsReceived,
    ReleasedWithoutPeer,
    QueriesSent,
    HandshakesTakenOver,
    ResetsSent,
    IcmpTranslated,
    ArpAnswered,
    NeighborRequests,
    Reassembled,
    Refragmented,
    Probes,
    ProbesAnswered,
    EventsLost,
    TimersFired,
    NewsRepeated,
    HandedOver,
    JoinsWithdrawn,
    NeighborsEvicted,
}

/// <summary>
/// Counters of one worker in one block of memory that anybody may map read-only: a header, one
/// counter per drop reason, one per <see cref="Counter"/>, a block per node and per port. Written by workers without
/// locks (each worker has its own block; readers add them up), read torn-free because every cell
/// is one aligned 64-bit word.
/// </summary>
public sealed class Statistics
{
    /// <summary>Number of named counters that the layout has room for.</summary>
    public const int CounterRoom = 128;

    /// <summary>Cells per node (frames handed, bytes handed, frames replayed, spare).</summary>
    public const int NodeCells = 4;

    private const int NodeStart = DropReasons.Count + CounterRoom;

    /// <summary>Bytes that a block takes.</summary>
    public const int BlockBytes = (NodeStart + NodeIds.Max * NodeCells) * sizeof(long);

    private readonly nint _base;

    /// <summary>Uses <see cref="BlockBytes"/> zeroed bytes at <paramref name="address"/>.</summary>
    public Statistics(nint address) => _base = address;

    /// <summary>A block in memory of its own (tests, offline runs).</summary>
    public static Statistics Private() => new(MemoryNative.Allocate(BlockBytes));

    /// <summary>The cell of a named counter.</summary>
    public ref long this[Counter counter] => ref MemoryNative.Ref<long>(_base + (DropReasons.Count + (int)counter) * sizeof(long));

    /// <summary>The cell of a drop reason.</summary>
    public ref long this[DropReason reason] => ref MemoryNative.Ref<long>(_base + (int)reason * sizeof(long));

    /// <summary>A cell of a node: 0 frames handed to it, 1 bytes handed to it, 2 frames replayed because of it.</summary>
    public ref long Node(int node, int cell) => ref MemoryNative.Ref<long>(_base + (NodeStart + node * NodeCells + cell) * sizeof(long));

    /// <summary>Adds all cells of another block.</summary>
    public void Add(Statistics other)
    {
        for (int offset = 0; offset < BlockBytes; offset += sizeof(long)) MemoryNative.Ref<long>(_base + offset) += MemoryNative.Ref<long>(other._base + offset);
    }

    /// <summary>Sets all cells to zero.</summary>
    public void Clear() => MemoryNative.Span(_base, BlockBytes).Clear();

    /// <summary>Counts a drop.</summary>
    public void Drop(DropReason reason) => this[reason]++;
}
