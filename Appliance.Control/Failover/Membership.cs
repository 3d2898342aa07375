namespace Appliance.Control.Failover;

/// <summary>
/// The table of proxies: a set and a version. The active sharer decides it, everyone else takes it
/// from the sharer's beats and keeps the last one when there is no sharer. Versions only grow: a
/// sharer that hears a version not smaller than its own goes beyond it.
/// </summary>
internal sealed class Membership(long listenUntilNs)
{
    private ulong _sharer, _highestSeen, _setOfHighest;

    public ulong Version { get; private set; }

    public ulong Set { get; private set; }

    /// <summary>The active sharer's decision; true if the table changed. A sharer that has just started listens first.</summary>
    public bool Decide(ulong set, long nowNs)
    {
        if (nowNs < listenUntilNs) return false;
        bool overtaken = _highestSeen > Version || (_highestSeen == Version && _setOfHighest != Set);
        if (set == Set && Version != 0 && !overtaken) return false;
        Version = Math.Max(Version, _highestSeen) + 1;
        Set = set;
        return true;
    }

    /// <summary>A beat says what its sender goes by. Returns true if we should beat at once (a sharer that was overtaken); <paramref name="adopted"/>: the table changed.</summary>
    public bool Hear(in Beat beat, ulong incarnation, bool weDecide, out bool adopted)
    {
        adopted = false;
        if (beat.MembershipVersion > _highestSeen) (_highestSeen, _setOfHighest) = (beat.MembershipVersion, beat.Membership);
        if (weDecide) return _highestSeen > Version;
        if ((beat.Flags & NodeFlags.ActiveSharer) == NodeFlags.None || beat.MembershipVersion == 0) return false;
        if (beat.MembershipVersion <= Version && (incarnation == _sharer || beat.MembershipVersion == Version)) return false;
        (_sharer, Version, Set) = (incarnation, beat.MembershipVersion, beat.Membership);
        adopted = true;
        return false;
    }
}
