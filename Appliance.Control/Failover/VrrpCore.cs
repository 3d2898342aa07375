using Appliance.DataPath.Wire;

namespace Appliance.Control.Failover;

/// <summary>State of a virtual router on this box (RFC 9568 6.4).</summary>
public enum VrrpState
{
    Initialize,
    Backup,
    Active,
}

/// <summary>Why a virtual router is in its state.</summary>
public enum VrrpCause
{
    /// <summary>It was started, or stopped.</summary>
    Started,
    Stopped,

    /// <summary>This box owns the addresses (priority 255).</summary>
    Owner,

    /// <summary>Nobody advertised for as long as the active one may be silent.</summary>
    Silence,

    /// <summary>The active one said that it stops (priority 0).</summary>
    Resigned,

    /// <summary>The active one's box is known to be dead.</summary>
    ActiveDied,

    /// <summary>Another one is active with a higher priority, or with the same and a higher address.</summary>
    Preempted,

    /// <summary>This box was away for so long that another one may have become active.</summary>
    Away,

    /// <summary>This box may not be active now: not in step with its peers, a link down, no lease.</summary>
    Unfit,
}

/// <summary>What a virtual router is on this box.</summary>
public sealed record VrrpOptions
{
    /// <summary>1 to 255.</summary>
    public required byte RouterId { get; init; }

    /// <summary>This box's primary address on the link (IPv6: its link-local one): source of its advertisements, and what decides between equals.</summary>
    public required IpAddr Source { get; init; }

    /// <summary>1 to 254; 255 if this box owns the addresses.</summary>
    public byte Priority { get; init; } = 100;

    /// <summary>Whether it takes over from an active one of lower priority.</summary>
    public bool Preempt { get; init; } = true;

    /// <summary>Time between its advertisements, ns: 10 ms to 40.95 s in steps of 10 ms.</summary>
    public long IntervalNs { get; init; } = 1_000_000_000;
}

/// <summary>Does what a virtual router wants done.</summary>
public interface IVrrpOutput
{
    /// <summary>Sends an advertisement of this priority.</summary>
    void SendAdvert(byte priority);

    /// <summary>The state changed. Comes before the advertisement and the announcement of a new active one: state before address.</summary>
    void Became(VrrpState state, VrrpCause cause);

    /// <summary>Tells the link where the addresses are (gratuitous ARP, unsolicited NA).</summary>
    void Announce();
}

/// <summary>
/// A virtual router on one link and family (RFC 9568 6), and what the RFC leaves to others: one that is not fit does not volunteer; one whose own
/// timer fired late listens before it claims anything; one that was away while active does not transmit before it has listened. Give it everything
/// that waits in the socket before <see cref="Step"/>. Single-threaded, no I/O, no clock, nothing allocated.
/// </summary>
public sealed class VrrpCore(VrrpOptions options, IVrrpOutput output)
{
    // After the first announcement: caches and switches miss some.
    private static readonly long[] AnnounceAgainNs = [100_000_000, 1_000_000_000, 5_000_000_000];

    // Of answers to lower ones: two boxes that contradict each other make no storm.
    private const long LeastGapNs = 1_000_000;

    private long _deadline = long.MaxValue, _announceAt = long.MaxValue, _sentAt = long.MinValue / 2, _activeInterval = options.IntervalNs;
    private int _announced;
    private bool _listened;
    private byte _priority = options.Priority;
    private VrrpCause _why;

    public VrrpState State { get; private set; }

    /// <summary>Why, and since when (ns).</summary>
    public VrrpCause Cause { get; private set; }

    public long Since { get; private set; }

    /// <summary>The active one, as last heard; none if this box is it or nobody was heard.</summary>
    public IpAddr ActiveSource { get; private set; }

    public byte ActivePriority { get; private set; }

    /// <summary>The priority that is advertised and compared, at least 1; health may lower it.</summary>
    public byte Priority { get => _priority; set => _priority = Math.Max(value, (byte)1); }

    /// <summary>This box may be active: in step with its peers, links up, lease held. An active one that is not resigns at the next <see cref="Step"/>.</summary>
    public bool IsFit { get; set; } = true;

    /// <summary>False while it is to stay a backup of lower ones, too (it was told to give way).</summary>
    public bool MayPreempt { get; set; } = true;

    /// <summary>Advertisements with this box's own source address: its own, come back, or another box of the same address.</summary>
    public long OwnSource { get; private set; }

    /// <summary>How often this box stayed a backup although nobody was active, because it was not fit.</summary>
    public long Withheld { get; private set; }

    /// <summary>When <see cref="Step"/> is due, ns.</summary>
    public long NextDeadline => Math.Min(_deadline, _announceAt);

    // 6.1: the higher the priority, the shorter.
    private long SkewNs => (256 - Priority) * _activeInterval / 256;

    // 6.1: the owner of the addresses preempts always.
    private bool Preempts => Priority == 255 || (options.Preempt && MayPreempt);

    private long ActiveDownNs => (3 * _activeInterval) + SkewNs;

    /// <summary>Begins (6.4.1). The owner of the addresses is active at once, others listen first.</summary>
    public void Start(long now)
    {
        if (State != VrrpState.Initialize) return;
        _activeInterval = options.IntervalNs;
        (ActiveSource, ActivePriority) = (default, 0);
        if (Priority == 255 && IsFit) BecomeActive(VrrpCause.Owner, now);
        else BecomeBackup(VrrpCause.Started, now, ActiveDownNs);
    }

    /// <summary>Ends; an active one says so.</summary>
    public void Stop(long now) => Leave(VrrpState.Initialize, VrrpCause.Stopped, long.MaxValue, now);

    /// <summary>An active one gives way (planned: see <see cref="MayPreempt"/>) and says so.</summary>
    public void Resign(VrrpCause cause, long now) => Leave(VrrpState.Backup, cause, now + ActiveDownNs, now);

    /// <summary>A valid advertisement came.</summary>
    public void Receive(in VrrpView advert, IpAddr source, long now)
    {
        if (source == options.Source)
        {
            OwnSource++;
            return;
        }
        YieldIfAway(now);
        switch (State)
        {
            case VrrpState.Backup:
                ReceiveAsBackup(advert, source, now);
                break;
            case VrrpState.Active:
                ReceiveAsActive(advert, source, now);
                break;
        }
    }

    /// <summary>The box of this address is known to be dead: if it was the active one, only the skew is waited for.</summary>
    public void Died(IpAddr source, long now)
    {
        if (State != VrrpState.Backup || source != ActiveSource) return;
        (ActiveSource, ActivePriority) = (default, 0);
        Await(VrrpCause.ActiveDied, now + SkewNs);
    }

    /// <summary>This box was away for long enough to be thought dead: an active one listens before it transmits again. (Of absences longer than two intervals it knows itself.)</summary>
    public void Away(long now)
    {
        if (State == VrrpState.Active) BecomeBackup(VrrpCause.Away, now, options.IntervalNs + SkewNs);
    }

    /// <summary>Does what is due.</summary>
    public void Step(long now)
    {
        YieldIfAway(now);
        if (State == VrrpState.Active && !IsFit) Resign(VrrpCause.Unfit, now);
        if (now >= _deadline)
        {
            if (State == VrrpState.Backup) ActiveIsDown(now);
            else if (State == VrrpState.Active) SendAdvert(now);
        }
        if (State == VrrpState.Active && now >= _announceAt) Announce(now);
    }

    private void ReceiveAsBackup(in VrrpView advert, IpAddr source, long now)
    {
        if (advert.Priority == 0)
        {
            // Of the active one, or of one that we never heard.
            if (!ActiveSource.IsNone && source != ActiveSource) return;
            (ActiveSource, ActivePriority) = (default, 0);
            Await(VrrpCause.Resigned, now + SkewNs);
            return;
        }
        if (Preempts && advert.Priority < Priority) return;
        Follow(advert, source, now);
    }

    private void ReceiveAsActive(in VrrpView advert, IpAddr source, long now)
    {
        bool yields = advert.Priority > Priority || (advert.Priority == Priority && IsHigher(source, options.Source));
        if (!yields)
        {
            // 6.4.3: tells the other, and the switches between.
            if (IsFit && now - _sentAt >= LeastGapNs) SendAdvert(now);
            return;
        }
        Enter(VrrpState.Backup, VrrpCause.Preempted, now);
        Follow(advert, source, now);
    }

    private void Follow(in VrrpView advert, IpAddr source, long now)
    {
        (ActiveSource, ActivePriority) = (source, advert.Priority);
        _activeInterval = Math.Max(advert.IntervalNs, 10_000_000);
        Await(VrrpCause.Silence, now + ActiveDownNs);
    }

    private void Await(VrrpCause why, long deadline)
    {
        _why = why;
        _deadline = deadline;
        _listened = false;
    }

    private void ActiveIsDown(long now)
    {
        if (!IsFit)
        {
            Withheld++;
            _deadline = now + _activeInterval;
            return;
        }
        if (now - _deadline > _activeInterval / 2 && !_listened)
        {
            // We were late: what the active one said meanwhile may not have come in yet.
            _listened = true;
            _deadline = now + _activeInterval + SkewNs;
            return;
        }
        BecomeActive(_why, now);
    }

    // Others waited for three intervals and their skew: one of them may be active now.
    private void YieldIfAway(long now)
    {
        if (now - _deadline > 2 * options.IntervalNs) Away(now);
    }

    private void BecomeActive(VrrpCause cause, long now)
    {
        _activeInterval = options.IntervalNs;
        (ActiveSource, ActivePriority) = (default, 0);
        Enter(VrrpState.Active, cause, now);
        SendAdvert(now);
        _announced = 0;
        Announce(now);
    }

    private void BecomeBackup(VrrpCause cause, long now, long silence)
    {
        Enter(VrrpState.Backup, cause, now);
        Await(VrrpCause.Silence, now + silence);
    }

    private void Leave(VrrpState to, VrrpCause cause, long deadline, long now)
    {
        YieldIfAway(now);
        if (State == VrrpState.Active) output.SendAdvert(0);
        else if (to == VrrpState.Backup) return;
        if (State == to) return;
        Enter(to, cause, now);
        Await(VrrpCause.Silence, deadline);
    }

    private void Enter(VrrpState state, VrrpCause cause, long now)
    {
        (State, Cause, Since) = (state, cause, now);
        _announceAt = long.MaxValue;
        output.Became(state, cause);
    }

    private void SendAdvert(long now)
    {
        output.SendAdvert(Priority);
        _sentAt = now;
        _deadline = now + options.IntervalNs;
    }

    private void Announce(long now)
    {
        output.Announce();
        _announceAt = _announced < AnnounceAgainNs.Length ? now + AnnounceAgainNs[_announced++] : long.MaxValue;
    }

    // As unsigned numbers in network order (6.4.3).
    private static bool IsHigher(IpAddr x, IpAddr y) => x.High != y.High ? x.High > y.High : x.Low > y.Low;
}
