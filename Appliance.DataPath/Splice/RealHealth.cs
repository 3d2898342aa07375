using Appliance.DataPath.Flow;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Passive health of backends, learnt from their answers to our SYNs: after three unanswered or
/// refused ones a real rests for five seconds, then gets one trial (SPLICE 4.3). Fixed memory,
/// open addressing; a table that is full forgets nothing and calls newcomers healthy.
/// </summary>
public sealed class RealHealth
{
    private const int Slots = 1024, MaxFailures = 3;
    private const long RestNs = 5_000_000_000;

    private readonly IpAddr[] _addresses = new IpAddr[Slots];
    private readonly ushort[] _ports = new ushort[Slots];
    private readonly int[] _failures = new int[Slots];
    private readonly long[] _restUntil = new long[Slots];

    /// <summary>True while the real rests. When its rest ends, the caller that asks first makes the trial.</summary>
    public bool IsResting(IpAddr address, ushort port, long now)
    {
        int slot = Slot(address, port);
        if (slot < 0 || _failures[slot] < MaxFailures) return false;
        if (now < _restUntil[slot]) return true;
        _restUntil[slot] = now + RestNs;
        return false;
    }

    /// <summary>A SYN was refused or stayed unanswered; true if the real rests from now on.</summary>
    public bool Failed(IpAddr address, ushort port, long now)
    {
        int slot = Slot(address, port);
        if (slot < 0) return false;
        bool rests = ++_failures[slot] == MaxFailures;
        if (_failures[slot] >= MaxFailures) _restUntil[slot] = now + RestNs;
        return rests;
    }

    /// <summary>It answered.</summary>
    public void Answered(IpAddr address, ushort port)
    {
        int slot = Slot(address, port);
        if (slot >= 0) _failures[slot] = 0;
    }

    private int Slot(IpAddr address, ushort port)
    {
        int at = (int)(FlowKey.HashEndpoint(address, port, 0x4ea1) & (Slots - 1));
        for (int i = 0; i < Slots; i++, at = (at + 1) & (Slots - 1))
        {
            if (_addresses[at].IsNone)
            {
                (_addresses[at], _ports[at]) = (address, port);
                return at;
            }
            if (_ports[at] == port && _addresses[at] == address) return at;
        }
        return -1;
    }
}
