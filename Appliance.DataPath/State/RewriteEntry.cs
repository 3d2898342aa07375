using System.Runtime.InteropServices;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>Which way a directed entry goes.</summary>
public enum FlowDirection : byte
{
    /// <summary>From the client to the server.</summary>
    ToServer = 0,

    /// <summary>From the server to the client.</summary>
    ToClient = 1,
}

/// <summary>What a directed entry asks for beside the plain rewrite.</summary>
[Flags]
public enum RewriteFlags : ushort
{
    /// <summary>Plain rewrite.</summary>
    None = 0,

    /// <summary>A breakpoint is open: <see cref="RewriteEntry.AckFloor"/> holds (SPLICE: ack' = max_serial(ack', floor)).</summary>
    AckFloor = 1,

    /// <summary>A breakpoint is open: <see cref="RewriteEntry.TsEcrFloor"/> holds.</summary>
    TsEcrFloor = 2,

    /// <summary>The receiver was not promised SACK: blank the blocks to NOPs.</summary>
    BlankSack = 4,

    /// <summary>Timestamps are translated (both ends use them).</summary>
    Timestamps = 8,

    /// <summary>The entry does not forward: its packets go to the slow path (suspended, closing, time-wait).</summary>
    SlowPath = 16,

    /// <summary>An end has finished: every packet may move the record on.</summary>
    Watch = 64,

    /// <summary>Sequence, ack, SACK and timestamps are unchanged: only addresses and ports (layer-4 translation).</summary>
    AddressesOnly = 32,
}

/// <summary>
/// One direction of a splice (or, later, of a translation): key, the values of the rewrite
/// function, and what the sender of this direction was last seen to say. 192 bytes: one line
/// that is compared, one that is applied, one that is written by the worker which receives the
/// direction. The first two are immutable within a version: <see cref="Version"/> is a seqlock
/// (odd while being written). Blittable, in unmanaged memory that the manager maps read-only.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 192)]
public struct RewriteEntry
{
    // Line 0: who.
    /// <summary>The packets that this entry is for.</summary>
    public FlowKey Key;

    /// <summary>Seqlock: odd while the entry is being written.</summary>
    public uint Version;

    /// <summary>Index of the splice record in its table.</summary>
    public int Record;

    /// <summary>Which way.</summary>
    public FlowDirection Direction;

    /// <summary>Shift of the sender's window scale, and of the scale that we promised the receiver: win' = (win &lt;&lt; In) &gt;&gt; Out.</summary>
    public byte WindowShiftIn, WindowShiftOut;

    private readonly byte _pad0;

    /// <summary>What to do beside the plain rewrite.</summary>
    public RewriteFlags Flags;

    /// <summary>Next hop: index in the neighbour table (which names the link).</summary>
    public ushort NextHop;

    private readonly ulong _pad1;

    // Line 1: what.
    /// <summary>New source.</summary>
    public IpAddr NewSource;

    /// <summary>New destination.</summary>
    public IpAddr NewDestination;

    /// <summary>New ports.</summary>
    public ushort NewSourcePort, NewDestinationPort;

    /// <summary>seq' = seq + SeqDelta; ack' = ack + AckDelta (and SACK edges likewise), modulo 2^32.</summary>
    public uint SeqDelta, AckDelta;

    /// <summary>TSval' = TSval + TsValDelta; TSecr' = TSecr + TsEcrDelta, modulo 2^32.</summary>
    public uint TsValDelta, TsEcrDelta;

    /// <summary>While a breakpoint is open (see the flags): lowest ack and lowest TSecr to send, in the receiver's space.</summary>
    public uint AckFloor, TsEcrFloor;

    /// <summary>RFC 1624 delta (16-bit one's complement sum of ~old and new words) for the address words: of the IPv4 header, and of the pseudo-header in partial checksums.</summary>
    public ushort AddressDelta;

    /// <summary>RFC 1624 delta for addresses and ports together: of complete transport checksums.</summary>
    public ushort TupleDelta;

    // Line 2: progress, as said by the sender of this direction, in its own (untranslated) space.
    /// <summary>One past the highest sequence number seen.</summary>
    public uint SeqNext;

    /// <summary>Highest acknowledgment seen, and highest right edge (ack + scaled window).</summary>
    public uint AckSeen, RightEdge;

    /// <summary>Last TSval seen.</summary>
    public uint TsVal;

    /// <summary>Lowest path MTU learnt for this direction, in bytes; 0 if none.</summary>
    public ushort PathMtu;

    /// <summary>Empty segments that repeated without progress in a row (ack storm guard).</summary>
    public ushort Repeats;

    /// <summary>1 once a sequence number has been seen.</summary>
    public byte Seen;

    /// <summary>1 once this direction's FIN has been seen; its sequence number is <see cref="FinSeq"/>.</summary>
    public byte FinSeen;

    /// <summary>1 once an echo above <see cref="TsEcrFloor"/> has been seen: the sender knows the receiver's clock.</summary>
    public byte EchoSeen;

    /// <summary>Local: how often the receiver is still to be asked whether it took this direction's RST; 0 without doubt.</summary>
    public byte Doubts;

    /// <summary>Sequence number of the FIN (the byte after the last data byte).</summary>
    public uint FinSeq;

    private readonly uint _pad3;

    /// <summary>When the last packet of this direction passed here: nanoseconds of the worker's clock.</summary>
    public long LastSeen;

    /// <summary>Packets and bytes (of IP) that this box has rewritten in this direction.</summary>
    public long Packets, Bytes;
}
