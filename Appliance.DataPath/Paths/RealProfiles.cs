using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// What each backend was seen to offer (the pool profile of SPLICE 4.1). Written by the <see cref="Prober"/> of
/// worker 0, read by all workers: a profile is one word, so none is ever seen half.
/// </summary>
public sealed class RealProfiles
{
    private const ulong IsKnown = 1ul << 63;

    private readonly (IpAddr Address, ushort Port)[] _reals;
    private readonly Dictionary<(IpAddr, ushort), int> _index = [];
    private readonly ulong[] _profiles;
    private volatile bool _complete;

    /// <summary>For all reals of the services; nothing is known of them yet.</summary>
    public RealProfiles(ServiceTable services)
    {
        foreach (Service service in services.Services)
        {
            foreach (Pool pool in service.Pools)
            {
                foreach (Real real in pool.Reals) _index.TryAdd((real.Address, real.Port), _index.Count);
            }
        }
        _profiles = new ulong[_index.Count];
        _reals = new (IpAddr, ushort)[_index.Count];
        foreach (((IpAddr, ushort) real, int i) in _index) _reals[i] = real;
    }

    /// <summary>The backends, each once; a profile's index is its backend's here.</summary>
    public ReadOnlySpan<(IpAddr Address, ushort Port)> Reals => _reals;

    /// <summary>True once every backend has answered.</summary>
    public bool IsComplete
    {
        get
        {
            for (int i = 0; i < _profiles.Length && !_complete; i++)
            {
                if (!TryGet(i, out _)) return false;
            }
            // What was heard once is never forgotten.
            _complete = true;
            return true;
        }
    }

    /// <summary>A backend has answered.</summary>
    public void Set(int index, in PoolProfile profile) => Volatile.Write(ref _profiles[index], Pack(profile));

    /// <summary>What a backend offers; false if it never answered.</summary>
    public bool TryGet(int index, out PoolProfile profile)
    {
        ulong packed = Volatile.Read(ref _profiles[index]);
        profile = Unpack(packed);
        return packed != 0;
    }

    /// <summary>The same, by its address.</summary>
    public bool TryGet(IpAddr address, ushort port, out PoolProfile profile)
    {
        profile = default;
        return _index.TryGetValue((address, port), out int index) && TryGet(index, out profile);
    }

    /// <summary>What all known reals of a service keep.</summary>
    public PoolProfile Of(Service service)
    {
        PoolProfile profile = default;
        bool any = false;
        foreach (Pool pool in service.Pools)
        {
            foreach (Real real in pool.Reals)
            {
                if (!TryGet(real.Address, real.Port, out PoolProfile one)) continue;
                profile = any ? PoolProfile.And(profile, one) : one;
                any = true;
            }
        }
        return any ? profile : PoolProfile.Unknown;
    }

    private static ulong Pack(in PoolProfile p) =>
        IsKnown | p.Mss | ((ulong)p.FirstWindow << 16) | ((ulong)p.WindowScale << 32) | (p.Sack ? 1ul << 40 : 0) | (p.Timestamps ? 1ul << 41 : 0) | (p.Ecn ? 1ul << 42 : 0);

    private static PoolProfile Unpack(ulong packed) => new()
    {
        Mss = (ushort)packed,
        FirstWindow = (ushort)(packed >> 16),
        WindowScale = (byte)(packed >> 32),
        Sack = (packed >> 40 & 1) != 0,
        Timestamps = (packed >> 41 & 1) != 0,
        Ecn = (packed >> 42 & 1) != 0,
    };
}
