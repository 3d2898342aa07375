using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>Where a connection is before both halves are joined and all owned bytes are delivered.</summary>
public enum HandshakeState : byte
{
    /// <summary>The slot is not in use.</summary>
    Free,

    /// <summary>The client's handshake is complete; its request head is being collected.</summary>
    Head,

    /// <summary>The state was re-created from a data segment: all live peers are asked what they know first.</summary>
    AskingPeers,

    /// <summary>SYN sent to the backend.</summary>
    BackendSyn,

    /// <summary>The backend was established by a dead owner and has request bytes: its retransmission tells d.</summary>
    BackendData,

    /// <summary>The record is installed and announced; request bytes wait for a peer's confirmation.</summary>
    Confirming,

    /// <summary>Request bytes have left; bytes that are ours (PROXY header, early-acknowledged ones) are not acknowledged yet.</summary>
    Delivering,

    /// <summary>A peer's early-acknowledged bytes, kept for the case that it dies; becomes <see cref="Head"/> when the client's next segment comes here.</summary>
    Shadow,

    /// <summary>The client finished before it asked anything; its last acknowledgment is awaited.</summary>
    Closing,
}

/// <summary>
/// One connection between cookie and splice (delayed binding, SPLICE 4): soft state of the
/// flow's owner, preallocated and used again. Nothing in it needs to survive the owner: the client
/// still owns every byte that was not acknowledged.
/// </summary>
public sealed class Handshake(int index)
{
    /// <summary>Which slot; its keys in the handshake index carry it.</summary>
    public int Index { get; } = index;

    /// <summary>Grows with every use of the slot; part of the ticket.</summary>
    public uint Use;

    /// <summary>State.</summary>
    public HandshakeState State;

    /// <summary>Client to virtual; and real to source, valid from <see cref="HandshakeState.BackendSyn"/> on.</summary>
    public FlowKey ClientKey, ServerKey;

    /// <summary>Index entries of the two keys, or -1.</summary>
    public int ClientEntry, ServerEntry;

    /// <summary>The service, and the pool that its route chose.</summary>
    public Service Service = null!;

    /// <summary>The pool, once the head is complete.</summary>
    public Pool? Pool;

    /// <summary>The backend that is being tried, if any was yet.</summary>
    public Real Real;

    /// <summary>What the cookie says was agreed with the client.</summary>
    public CookieOptions Agreed;

    /// <summary>a, and our b.</summary>
    public TcpSeq A, B;

    /// <summary>True if the client sends timestamps.</summary>
    public bool Timestamps;

    /// <summary>Client's newest TSval and TSecr; the newest TSval that we sent it.</summary>
    public uint ClientTsVal, ClientTsEcr, SentTsVal;

    /// <summary>Client's newest window in bytes.</summary>
    public uint Window;

    /// <summary>Head buffer.</summary>
    public int Buffer;

    /// <summary>What of the request has arrived, from a+1.</summary>
    public ByteRanges Ranges;

    /// <summary>How far the head has been looked at.</summary>
    public HeadState HeadProgress;

    /// <summary>When the search for a backend is given up, ns.</summary>
    public long StepEnds;

    /// <summary>When that search began, and when the present backend was first asked, ns.</summary>
    public long StepStarted, TriedAt;

    /// <summary>Offset of the client's FIN, or -1.</summary>
    public int FinAt;

    /// <summary>Request bytes that we have acknowledged; that peers have confirmed to hold; that were offered to them.</summary>
    public int Acked, Confirmed, Offered;

    /// <summary>When bytes were last offered, ns.</summary>
    public long OfferedAt;

    /// <summary>When its client was last asked whether it meant a RST, ns.</summary>
    public long DoubtedAt;

    /// <summary>Set if the state was re-created, not started by a SYN that this box answered.</summary>
    public bool TakenOver;

    /// <summary>Set if the request's method may be repeated safely.</summary>
    public bool IsIdempotent;

    /// <summary>Set if a living peer did not answer who has this connection: it may have joined it.</summary>
    public bool PeersSilent;

    /// <summary>A peer announced this choice before; -1 if none.</summary>
    public int AnnouncedAttempt;

    /// <summary>Which try of the choice function; SYNs sent in this try; retransmissions in delivery.</summary>
    public int Attempt, Tries;

    /// <summary>Bytes that we put in front of the request.</summary>
    public int Prefix;

    /// <summary>Set once the client itself said, after the backend was seen to hold the request, that it has nothing of the response.</summary>
    public bool ClientHasNothing;

    /// <summary>Lowest data sequence seen of the backend, and its TSval, in <see cref="HandshakeState.BackendData"/>.</summary>
    public TcpSeq LowestSeq;

    /// <summary>TSval with it, and whether there is one.</summary>
    public uint LowestTsVal;

    /// <summary>Whether <see cref="LowestSeq"/> is set.</summary>
    public bool HasLowest;

    /// <summary>The splice record once installed, or -1.</summary>
    public int Record;

    /// <summary>Record id: hash of (client tuple, a, b).</summary>
    public ulong RecordId;

    /// <summary>Worker's clock, ns: start; last new byte; end of the current state; next action.</summary>
    public long Created, LastProgress, Deadline, Next;

    /// <summary>c, known as soon as <see cref="Prefix"/> is.</summary>
    public TcpSeq C => A - (uint)Prefix;

    /// <summary>Names this use of the slot to other threads.</summary>
    public ulong Ticket => ((ulong)Use << 32) | (uint)Index;

    /// <summary>True if nothing but the cookie is known: the connection may still be a stray packet.</summary>
    public bool HasBytes => Ranges.Contiguous > 0;

    /// <summary>Id of a connection's record, the same on every box: hash of (client tuple, a, b); never 0.</summary>
    public static ulong IdOf(in FlowKey key, TcpSeq a, TcpSeq b) => key.Hash(((ulong)a.Value << 32) | b.Value) | 1;

    /// <summary>Makes the slot ready for a new connection.</summary>
    public void Begin(in FlowKey key, Service service, CookieOptions agreed, TcpSeq a, TcpSeq b, long now)
    {
        Use++;
        State = HandshakeState.Head;
        ClientKey = key;
        ServerKey = default;
        ClientEntry = ServerEntry = Record = AnnouncedAttempt = FinAt = Buffer = -1;
        Service = service;
        Pool = null;
        Real = default;
        Agreed = agreed;
        A = a;
        B = b;
        Timestamps = TakenOver = PeersSilent = HasLowest = ClientHasNothing = false;
        IsIdempotent = true;
        ClientTsVal = ClientTsEcr = SentTsVal = Window = LowestTsVal = 0;
        Ranges = default;
        HeadProgress = default;
        StepEnds = StepStarted = TriedAt = 0;
        Acked = Confirmed = Offered = Attempt = Tries = Prefix = 0;
        RecordId = IdOf(key, a, b);
        Created = LastProgress = now;
        Deadline = Next = OfferedAt = DoubtedAt = 0;
    }
}
