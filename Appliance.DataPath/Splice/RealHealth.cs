using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Passive health of backends, learnt from their answers to our SYNs: after three unanswered or
/// refused ones a real rests for five seconds, then gets one trial (SPLICE 4.3). Shared by the workers of a
/// box; knows the reals that it was made for, calls others healthy. Any thread may look at a real by its index.
/// </summary>
public sealed class RealHealth
{
    private const int MaxFailures = 3;
    private const long RestNs = 5_000_000_000;

    private readonly Dictionary<(IpAddr, ushort), int> _index = [];
    private readonly int[] _failures;
    private readonly long[] _restUntil;
    private readonly int[] _rests;
    private readonly bool[] _wasSilent;

    /// <summary>All of them healthy.</summary>
    public RealHealth(ReadOnlySpan<(IpAddr Address, ushort Port)> reals)
    {
        foreach ((IpAddr, ushort) real in reals) _index.TryAdd(real, _index.Count);
        _failures = new int[_index.Count];
        _restUntil = new long[_index.Count];
        _rests = new int[_index.Count];
        _wasSilent = new bool[_index.Count];
    }

    /// <summary>How many reals there are; their indices are those of the list that this was made from.</summary>
    public int Count => _failures.Length;

    /// <summary>How often a real was found ill, whether it has not answered since, and whether its last failure was silence rather than a refusal.</summary>
    public (int Rests, bool IsIll, bool WasSilent) Look(int real) =>
        (Volatile.Read(ref _rests[real]), Volatile.Read(ref _failures[real]) >= MaxFailures, Volatile.Read(ref _wasSilent[real]));

    /// <summary>True while the real rests. When its rest ends, the caller that asks first makes the trial.</summary>
    public bool IsResting(IpAddr address, ushort port, long now)
    {
        if (!_index.TryGetValue((address, port), out int real) || Volatile.Read(ref _failures[real]) < MaxFailures) return false;
        long until = Volatile.Read(ref _restUntil[real]);
        return now < until || Interlocked.CompareExchange(ref _restUntil[real], now + RestNs, until) != until;
    }

    /// <summary>A SYN was refused or stayed unanswered; true if the real rests from now on.</summary>
    public bool Failed(IpAddr address, ushort port, long now, bool wasSilent)
    {
        if (!_index.TryGetValue((address, port), out int real)) return false;
        Volatile.Write(ref _wasSilent[real], wasSilent);
        int failures = Interlocked.Increment(ref _failures[real]);
        if (failures >= MaxFailures) Volatile.Write(ref _restUntil[real], now + RestNs);
        if (failures != MaxFailures) return false;
        Interlocked.Increment(ref _rests[real]);
        return true;
    }

    /// <summary>It answered.</summary>
    public void Answered(IpAddr address, ushort port)
    {
        // Read first: the line stays shared between the workers.
        if (_index.TryGetValue((address, port), out int real) && Volatile.Read(ref _failures[real]) != 0) Volatile.Write(ref _failures[real], 0);
    }
}
