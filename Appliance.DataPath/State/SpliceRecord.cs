using System.Runtime.InteropServices;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>Where a splice is in its life.</summary>
public enum SpliceState : byte
{
    /// <summary>No record.</summary>
    Free = 0,

    /// <summary>Both halves are joined; packets pass.</summary>
    Established = 1,

    /// <summary>One end has finished; the other may still send (4 min without a packet).</summary>
    HalfClosed = 2,

    /// <summary>Both ends have finished, the last acknowledgments are outstanding or passed (60 s).</summary>
    TimeWait = 3,

    /// <summary>One end reset the connection (10 s).</summary>
    Reset = 4,
}

/// <summary>What the two halves agreed on.</summary>
[Flags]
public enum SpliceOptions : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>SACK towards the client; towards the server.</summary>
    SackClient = 1,
    SackServer = 2,

    /// <summary>Timestamps on both halves.</summary>
    Timestamps = 4,

    /// <summary>ECN on both halves.</summary>
    Ecn = 8,

    /// <summary>Window scaling towards the client; towards the server.</summary>
    ScaleClient = 16,
    ScaleServer = 32,

    /// <summary>The record must be confirmed by a peer before request bytes are released.</summary>
    Acked = 64,

    /// <summary>It has not been yet: another join of the same connection, whose request has left, goes first.</summary>
    Held = 128,
}

/// <summary>
/// The replicated truth about one splice (splice equations: see docs/splice.md): any box that
/// holds it can carry any packet of the connection. Immutable within <see cref="Version"/>
/// except for progress, which lives in the two <see cref="RewriteEntry"/>s and only grows.
/// Blittable, in unmanaged memory.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 256)]
public struct SpliceRecord
{
    /// <summary>Same on every box: hash of (client tuple, a, b). Never 0 for a live record.</summary>
    public ulong Id;

    /// <summary>Grows with every change that is not mere progress; 0 in a free slot.</summary>
    public uint Version;

    /// <summary>Seqlock of this copy: odd while being written.</summary>
    public uint Guard;

    /// <summary>C half: the client and the virtual service.</summary>
    public IpAddr Client, Virtual;

    /// <summary>S half: what the backend sees as its client (the client itself when transparent), and the backend.</summary>
    public IpAddr Source, Real;

    /// <summary>Ports of the above.</summary>
    public ushort ClientPort, VirtualPort, SourcePort, RealPort;

    /// <summary>Configuration: service and pool by hash of their names, and the hash of the pool's contents at the time.</summary>
    public uint Service, Pool, PoolVersion;

    /// <summary>Node that owned the flow and created the record, and its incarnation.</summary>
    public byte Origin;

    /// <summary>Life.</summary>
    public SpliceState State;

    /// <summary>Agreed options.</summary>
    public SpliceOptions Options;

    /// <summary>Counts reuses of the client tuple.</summary>
    public byte Generation;

    /// <summary>Initial sequence numbers: client's a, ours to the client b, ours to the backend c, backend's d.</summary>
    public uint A, B, C, D;

    /// <summary>S_seq = C_seq + X; C_seq = S_seq + Y.</summary>
    public uint X, Y;

    /// <summary>Timestamp offsets: server to client, client to server.</summary>
    public uint Ds, Dc;

    /// <summary>TSval of the backend's SYN-ACK.</summary>
    public uint TsFirst;

    /// <summary>C space: highest acknowledgment that we sent to the client before the splice (a+1, more after an early one). Bytes below it and above a are ours to deliver.</summary>
    public uint AckFloor;

    /// <summary>Bytes that we put in front of the request.</summary>
    public ushort P;

    /// <summary>Maximum segment sizes: offered by the client, by the backend.</summary>
    public ushort MssClient, MssServer;

    /// <summary>Window scales: client's, backend's, ours to the client, ours to the backend.</summary>
    public byte ScaleClient, ScaleServer, ScaleOursClient, ScaleOursServer;

    /// <summary>1 while the floor of the first breakpoint is still needed (backend has not acknowledged up to AckFloor).</summary>
    public byte FloorOpen;

    /// <summary>1 if this copy came from a peer.</summary>
    public byte Imported;

    /// <summary>Local: indices of the two directed entries.</summary>
    public int ToServer, ToClient;

    /// <summary>Local: worker's clock, ns: when created or imported; when the state ends without further packets; when progress was last gossiped.</summary>
    public long Created, Deadline, Gossiped;

    /// <summary>Local: when a peer last said that the connection moved, ns.</summary>
    public long Heard;

    /// <summary>Local: when what a peer had said of it was last passed on to the others, ns.</summary>
    public long Repeated;

    /// <summary>True if both join the same two halves: boxes that did not hear of each other may have joined a client to two backends.</summary>
    public readonly bool IsSameJoin(in SpliceRecord other) =>
        Id == other.Id && C == other.C && D == other.D && RealPort == other.RealPort && SourcePort == other.SourcePort && Real == other.Real && Source == other.Source;
}
