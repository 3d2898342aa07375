using System.Runtime.InteropServices;

namespace Appliance.DataPath.State;

/// <summary>What the data path tells replication.</summary>
public enum SpliceEventKind : byte
{
    /// <summary>A record is new or has a new version: <see cref="SpliceEvent.Record"/> and progress.</summary>
    Changed,

    /// <summary>A record is gone (by its end, not by forgetting): only the id counts.</summary>
    Removed,

    /// <summary>Progress of a record between versions.</summary>
    Progress,

    /// <summary>The owner chose a backend that is not the function's first (client tuple, a, b, pool version, attempt and real of the record count).</summary>
    Choice,

    /// <summary>Who holds a record, a choice or owned bytes of this client tuple? Answers come back by the ticket.</summary>
    Query,

    /// <summary>Request bytes that are about to be acknowledged early (client tuple, a, b count; bytes from <see cref="SpliceEvent.Offset"/> behind a+1). None, at -1: the connection is over, those offered before need not be kept.</summary>
    OwnedBytes,
}

/// <summary>
/// One message from a worker to replication, self-contained: replication reads no table to act on it,
/// save for <see cref="Bytes"/>, which stay untouched until the ticket is confirmed or the handshake ends.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct SpliceEvent
{
    /// <summary>What happened.</summary>
    public SpliceEventKind Kind;

    /// <summary>True if the worker waits for the first peer's confirmation (answered with the ticket).</summary>
    public bool WantsConfirm;

    /// <summary>Which try of the backend choice function was taken.</summary>
    public byte Attempt;

    /// <summary>For <see cref="SpliceEventKind.OwnedBytes"/> and queries: the cookie's options, so that a peer can go on.</summary>
    public byte CookieOptions;

    /// <summary>Length of <see cref="Bytes"/>.</summary>
    public int Length;

    /// <summary>Offset of the bytes from a+1.</summary>
    public int Offset;

    /// <summary>Where they are.</summary>
    public nint Bytes;

    /// <summary>Comes back in the answer.</summary>
    public ulong Ticket;

    /// <summary>The record, or those fields of it that the kind names.</summary>
    public SpliceRecord Record;

    /// <summary>Its progress.</summary>
    public SpliceProgress Progress;
}

/// <summary>What replication and liveness tell a worker.</summary>
public enum SpliceCommandKind : byte
{
    /// <summary>A peer's record (new or newer version), with progress.</summary>
    Import,

    /// <summary>A peer's progress for a record that is held.</summary>
    Progress,

    /// <summary>A peer removed its record.</summary>
    Remove,

    /// <summary>The first peer has what was published with this ticket.</summary>
    Confirmed,

    /// <summary>A peer's choice for a handshake.</summary>
    Choice,

    /// <summary>A peer's early-acknowledged request bytes (in <see cref="SpliceCommand.Bytes"/>, owned by the worker's slab from now on); none: it keeps none any more.</summary>
    OwnedBytes,

    /// <summary>All live peers have answered the query with this ticket; what they hold was delivered before.</summary>
    QueryDone,

    /// <summary>A membership was installed: <see cref="SpliceCommand.Node"/> is the slot of the tables.</summary>
    Membership,

    /// <summary>A node died: run its replay rings (from the time <see cref="SpliceCommand.Ticket"/> on, ns), take over its duties.</summary>
    NodeDied,

    /// <summary>After a pause: a peer counted this box as dead meanwhile (Node 1) or not (Node 0).</summary>
    PauseVerdict,

    /// <summary>No new connections from now on.</summary>
    Drain,

    /// <summary>A node lives but has lost a traffic link and left the table: run its replay rings (from the time <see cref="SpliceCommand.Ticket"/> on, ns).</summary>
    NodeCutOff,

    /// <summary>A node is being filled: what no table holds (early-acknowledged bytes) is to be offered again.</summary>
    NodeJoins,
}

/// <summary>One message to a worker.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct SpliceCommand
{
    /// <summary>What to do.</summary>
    public SpliceCommandKind Kind;

    /// <summary>Node or slot.</summary>
    public byte Node;

    /// <summary>See <see cref="SpliceEvent"/>.</summary>
    public byte Attempt, CookieOptions;

    /// <summary>Length and offset of owned bytes.</summary>
    public int Length, Offset;

    /// <summary>Where owned bytes stand until the worker has taken the command.</summary>
    public nint Bytes;

    /// <summary>The ticket that is answered, or a time.</summary>
    public ulong Ticket;

    /// <summary>The record, or the fields that the kind names.</summary>
    public SpliceRecord Record;

    /// <summary>Progress.</summary>
    public SpliceProgress Progress;
}
