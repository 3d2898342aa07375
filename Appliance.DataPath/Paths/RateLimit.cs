namespace Appliance.DataPath.Paths;

/// <summary>A token bucket for answers that strangers can provoke. One worker.</summary>
public sealed class RateLimit(int perSecond, int burst)
{
    private readonly long _cost = 1_000_000_000L / perSecond;
    private long _paidUntil = long.MinValue / 2;

    /// <summary>Takes a token; false if there is none now.</summary>
    public bool TryTake(long now)
    {
        long earliest = now - _cost * burst;
        if (_paidUntil < earliest) _paidUntil = earliest;
        if (_paidUntil >= now) return false;
        _paidUntil += _cost;
        return true;
    }
}
