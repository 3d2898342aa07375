using System.Runtime.InteropServices;

namespace Appliance.DataPath.State;

/// <summary>What one end of a connection was last seen to say, in its own sequence space; every field only grows (serially).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct DirectionProgress
{
    /// <summary>One past the highest sequence number; highest acknowledgment; highest right edge; last TSval; the FIN's sequence number.</summary>
    public uint SeqNext, AckSeen, RightEdge, TsVal, FinSeq;

    /// <summary>Lowest path MTU learnt, or 0.</summary>
    public ushort PathMtu;

    /// <summary>1 once anything was seen; 1 once its FIN was seen.</summary>
    public byte Seen, FinSeen;

    /// <summary>Reads the progress line of a directed entry.</summary>
    public static DirectionProgress Of(in RewriteEntry entry) => new()
    {
        SeqNext = entry.SeqNext,
        AckSeen = entry.AckSeen,
        RightEdge = entry.RightEdge,
        TsVal = entry.TsVal,
        FinSeq = entry.FinSeq,
        PathMtu = entry.PathMtu,
        Seen = entry.Seen,
        FinSeen = entry.FinSeen,
    };
}

/// <summary>Progress of both directions: what is gossiped about a splice between its versions.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct SpliceProgress
{
    /// <summary>What the client said.</summary>
    public DirectionProgress ToServer;

    /// <summary>What the server said.</summary>
    public DirectionProgress ToClient;
}
