using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>What a replicated record is. Numbers stand on the wire and are never reused.</summary>
public enum RecordKind : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>A splice: record and progress.</summary>
    Splice = 1,

    /// <summary>Progress of a splice alone.</summary>
    Progress = 2,

    /// <summary>A splice has ended; final, since an id never comes back.</summary>
    Remove = 3,

    /// <summary>A backend chosen in a handshake that is not the first of the pure function (SPLICE 5).</summary>
    Choice = 4,

    /// <summary>Request bytes that were acknowledged early (R2).</summary>
    OwnedBytes = 5,

    /// <summary>"Who holds this tuple?"</summary>
    Query = 6,

    /// <summary>The answer to a query.</summary>
    Answer = 7,

    /// <summary>A full transfer begins; ends.</summary>
    ResyncBegin = 8,
    ResyncEnd = 9,
}

/// <summary>A handshake's choice of backend that the pure function would not have made first; announced before its SYN leaves (SPLICE 5).</summary>
public struct ChoiceRecord
{
    /// <summary>Id of the record that will come: hash of (client tuple, a, b).</summary>
    public ulong Id;

    /// <summary>Client and service.</summary>
    public IpAddr Client, Virtual;

    /// <summary>What the backend sees as its client, and the backend.</summary>
    public IpAddr Source, Real;

    /// <summary>Ports of the above.</summary>
    public ushort ClientPort, VirtualPort, SourcePort, RealPort;

    /// <summary>Client's initial sequence number and ours to it.</summary>
    public uint A, B;

    /// <summary>Pool and the version of its contents that the choice was made from.</summary>
    public uint Pool, PoolVersion;

    /// <summary>How many backends were tried before this one.</summary>
    public byte Attempt;
}

/// <summary>"Who holds this connection?", asked by a new owner before it re-creates state (SPLICE 5).</summary>
public struct OwnerQuery
{
    /// <summary>Id that the record has if it exists: hash of (client tuple, a, b).</summary>
    public ulong Id;

    /// <summary>Client and service.</summary>
    public IpAddr Client, Virtual;

    /// <summary>Ports of the above.</summary>
    public ushort ClientPort, VirtualPort;

    /// <summary>Initial sequence numbers as the client's segment implies them.</summary>
    public uint A, B;
}

/// <summary>What a peer answers to an <see cref="OwnerQuery"/>.</summary>
public enum AnswerKind : byte
{
    /// <summary>I hold nothing.</summary>
    Nothing = 0,

    /// <summary>I hold the record; it came with the answer and is imported already.</summary>
    Splice = 1,

    /// <summary>I hold an announced choice; it came with the answer and is imported already.</summary>
    Choice = 2,
}

/// <summary>Why a full transfer runs.</summary>
public enum ResyncCause : byte
{
    /// <summary>The two boxes meet for the first time since either started.</summary>
    Join = 1,

    /// <summary>More changes waited than the link holds.</summary>
    Overflow = 2,

    /// <summary>The peer was counted dead and is back, without a restart.</summary>
    Return = 3,
}

/// <summary>
/// What replication does to the tables of this box. Called on the replication thread only, never
/// re-entered; implementations neither wait nor allocate. Calls of one peer come in the order in
/// which that peer sent them; calls of different peers in any order, so versions decide.
/// </summary>
public interface IRecordSink
{
    /// <summary>A peer's record: taken if its version is greater than the one held, its progress merged in any case.</summary>
    void Import(byte from, in SpliceRecord record, in SpliceProgress progress);

    /// <summary>A peer's progress; unknown ids are ignored.</summary>
    void Progress(byte from, ulong id, in SpliceProgress progress);

    /// <summary>The splice has ended.</summary>
    void Remove(byte from, ulong id, uint version);

    /// <summary>A choice, to be kept for the length of a handshake.</summary>
    void Choice(byte from, in ChoiceRecord choice);

    /// <summary>Request bytes at <paramref name="sequence"/> (C space) that the peer acknowledged, or is about to.</summary>
    void OwnedBytes(byte from, ulong id, uint sequence, ReadOnlySpan<byte> bytes);

    /// <summary>A peer asks; fill in what the answer names.</summary>
    AnswerKind Query(byte from, in OwnerQuery query, ref SpliceRecord record, ref SpliceProgress progress, ref ChoiceRecord choice);

    /// <summary>A peer has answered our query; what it holds has been imported before this call.</summary>
    void Answered(byte from, ulong id, AnswerKind answer);

    /// <summary>A live peer has acknowledged a record published with wantsConfirm: <paramref name="version"/> or a later one. May come again from another peer.</summary>
    void Confirmed(RecordKind kind, ulong id, uint version);

    /// <summary>A full transfer to a peer begins: what it does not carry, and the peer should have, is to be published again.</summary>
    void Filling(byte to);

    /// <summary>A full transfer of the peer's table has ended: everything that the peer held at its beginning has been imported. Removals that the peer still remembers came with it; nothing needs to be swept.</summary>
    void ResyncEnded(byte from, ResyncCause cause);
}

/// <summary>What one look into the tables gave.</summary>
public enum SourceResult
{
    /// <summary>A record.</summary>
    Record,

    /// <summary>Nothing among the slots looked at; go on later.</summary>
    Pause,

    /// <summary>The end of the table.</summary>
    End,
}

/// <summary>The tables of this box, read slice by slice for a full transfer. Called on the replication thread.</summary>
public interface IRecordSource
{
    /// <summary>
    /// The first record at or after <paramref name="cursor"/>, which moves on beyond it; looks at a
    /// bounded number of slots. A record keeps its place while it lives. Owned bytes stay valid until the next call.
    /// </summary>
    SourceResult Next(ref long cursor, ref SpliceRecord record, ref SpliceProgress progress, out uint ownedSequence, out ReadOnlySpan<byte> owned);
}
