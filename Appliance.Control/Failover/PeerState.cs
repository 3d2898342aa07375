namespace Appliance.Control.Failover;

/// <summary>What is known of one peer; times are in waking nanoseconds (see <see cref="LivenessCore"/>).</summary>
public sealed class PeerState
{
    /// <summary>Beats in a row after which a link is trusted again.</summary>
    internal const int TrustAfter = 3;

    private readonly long[] _heard = [long.MinValue, long.MinValue, long.MinValue];
    private readonly int[] _inRow = new int[Links.Count];
    private readonly long[] _heardAt = new long[Links.Count];

    /// <summary>Its last beat.</summary>
    public Beat Last;

    /// <summary>True if it is not dead.</summary>
    public bool Alive { get; internal set; }

    /// <summary>Incarnation that its beats proved; 0 if none has yet.</summary>
    public ulong Incarnation { get; internal set; }

    /// <summary>Bit per link: its beats arrive there and it reports its traffic links up.</summary>
    public byte UsableOn { get; internal set; }

    /// <summary>How often this box has counted its present incarnation dead.</summary>
    public ushort Deaths { get; internal set; }

    /// <summary>What it said last of how often it counted us dead; -1 before its first word.</summary>
    internal int DeathsOfUs { get; set; } = -1;

    /// <summary>Number of the newest beat: one that was overtaken on another link proves life, no more.</summary>
    internal ulong Newest { get; set; }

    internal long DeafUntil { get; set; } = long.MinValue;

    /// <summary>When it counts as dead, as its last beat has said.</summary>
    internal long EndsAt { get; set; } = long.MaxValue;

    internal bool SkewAlarm { get; set; }

    internal bool ListAlarm { get; set; }

    /// <summary>The configuration that it was last reported to have; our own while it has none other.</summary>
    internal ulong Configuration { get; set; }

    internal bool AnyHeard(long awake, long bound)
    {
        for (int l = 0; l < Links.Count; l++) if (HeardLately(l, awake, bound)) return true;
        return false;
    }

    internal bool HeardLately(int link, long awake, long bound) => _heard[link] != long.MinValue && awake - _heard[link] <= bound;

    internal bool Hears(int link, long awake, long bound) => HeardLately(link, awake, bound) && _inRow[link] >= TrustAfter;

    /// <summary>Since when a frame sent to it may have been lost: its last beat on whichever traffic link is silent longer (ns, the caller's clock).</summary>
    public long SoundUntil => Math.Min(_heardAt[Links.External], _heardAt[Links.Internal]);

    internal void Heard(int link, long awake, long bound, long nowNs)
    {
        _heardAt[link] = nowNs;
        _inRow[link] = HeardLately(link, awake, bound) ? Math.Min(_inRow[link] + 1, TrustAfter) : 1;
        _heard[link] = awake;
    }

    /// <summary>When the next link falls silent.</summary>
    internal long NextSilence(long awake, long bound)
    {
        long next = long.MaxValue;
        for (int l = 0; l < Links.Count; l++) if (_heard[l] != long.MinValue && awake - _heard[l] <= bound) next = Math.Min(next, _heard[l] + bound);
        return next;
    }

    internal void Forget()
    {
        EndsAt = long.MaxValue;
        for (int l = 0; l < Links.Count; l++) (_heard[l], _inRow[l]) = (long.MinValue, 0);
    }
}
