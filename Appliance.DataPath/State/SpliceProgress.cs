using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>
/// How far one direction of a splice has come, as its sender said it: the third line of a
/// <see cref="RewriteEntry"/> without what is only this box's (counters, clock). Every field is a
/// serial maximum (PathMtu: minimum), so copies of several boxes merge in any order (R4).
/// </summary>
public struct DirectionProgress
{
    /// <summary>As in <see cref="RewriteEntry"/>.</summary>
    public uint SeqNext, AckSeen, RightEdge, TsVal, FinSeq;

    /// <summary>As in <see cref="RewriteEntry"/>.</summary>
    public ushort PathMtu;

    /// <summary>As in <see cref="RewriteEntry"/>.</summary>
    public byte Seen, FinSeen;

    /// <summary>Copies the progress of an entry.</summary>
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

    /// <summary>Takes over what is further along in <paramref name="other"/>; true if anything was.</summary>
    public bool Merge(in DirectionProgress other)
    {
        if (other.Seen == 0) return MergeMtu(other.PathMtu);
        if (Seen == 0)
        {
            ushort mtu = PathMtu;
            this = other;
            MergeMtu(mtu);
            return true;
        }
        bool changed = Later(ref SeqNext, other.SeqNext) | Later(ref AckSeen, other.AckSeen) | Later(ref RightEdge, other.RightEdge)
            | Later(ref TsVal, other.TsVal) | MergeMtu(other.PathMtu);
        if (other.FinSeen == 0 || FinSeen != 0) return changed;
        (FinSeen, FinSeq) = (1, other.FinSeq);
        return true;
    }

    /// <summary>Merges this progress into an entry, whose own counters and clock stay.</summary>
    public readonly void MergeInto(ref RewriteEntry entry)
    {
        DirectionProgress mine = Of(entry);
        if (!mine.Merge(this)) return;
        (entry.SeqNext, entry.AckSeen, entry.RightEdge, entry.TsVal) = (mine.SeqNext, mine.AckSeen, mine.RightEdge, mine.TsVal);
        (entry.FinSeq, entry.PathMtu, entry.Seen, entry.FinSeen) = (mine.FinSeq, mine.PathMtu, mine.Seen, mine.FinSeen);
    }

    private static bool Later(ref uint mine, uint other)
    {
        if (new TcpSeq(other) <= new TcpSeq(mine)) return false;
        mine = other;
        return true;
    }

    private bool MergeMtu(ushort other)
    {
        if (other == 0 || (PathMtu != 0 && PathMtu <= other)) return false;
        PathMtu = other;
        return true;
    }
}

/// <summary>Progress of both directions of a splice.</summary>
public struct SpliceProgress
{
    /// <summary>What the client said; what the server said.</summary>
    public DirectionProgress ToServer, ToClient;

    /// <summary>Copies the progress of a splice's two entries.</summary>
    public static SpliceProgress Of(in RewriteEntry toServer, in RewriteEntry toClient) =>
        new() { ToServer = DirectionProgress.Of(toServer), ToClient = DirectionProgress.Of(toClient) };

    /// <summary>Takes over what is further along in <paramref name="other"/>; true if anything was.</summary>
    public bool Merge(in SpliceProgress other) => ToServer.Merge(other.ToServer) | ToClient.Merge(other.ToClient);
}
