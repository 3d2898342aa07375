namespace Appliance.Tests.Simulation;

/// <summary>
/// The simulation's only source of chance: xoshiro256** seeded by splitmix64 (Blackman, Vigna),
/// so that a seed means the same run on every machine and runtime.
/// </summary>
internal sealed class SimRandom
{
    private ulong _a, _b, _c, _d;

    public SimRandom(ulong seed)
    {
        _a = Mix(ref seed);
        _b = Mix(ref seed);
        _c = Mix(ref seed);
        _d = Mix(ref seed);
    }

    /// <summary>One step of splitmix64: advances <paramref name="state"/> and gives a well mixed value.</summary>
    public static ulong Mix(ref ulong state)
    {
        state += 0x9e3779b97f4a7c15;
        return Hash(state);
    }

    /// <summary>The finaliser of splitmix64: a bijection that mixes all bits.</summary>
    public static ulong Hash(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    /// <summary>64 random bits.</summary>
    public ulong Next()
    {
        ulong result = ulong.RotateLeft(_b * 5, 7) * 9;
        ulong t = _b << 17;
        _c ^= _a;
        _d ^= _b;
        _b ^= _c;
        _a ^= _d;
        _c ^= t;
        _d = ulong.RotateLeft(_d, 45);
        return result;
    }

    /// <summary>A number in [0, <paramref name="n"/>).</summary>
    public int Below(int n) => (int)(((Next() >> 32) * (uint)n) >> 32);

    /// <summary>A number in [<paramref name="low"/>, <paramref name="high"/>], both included.</summary>
    public int Between(int low, int high) => low + Below(high - low + 1);

    /// <summary>A time in [<paramref name="low"/>, <paramref name="high"/>] ns.</summary>
    public long Between(long low, long high) => low + (long)(Next() % (ulong)(high - low + 1));

    /// <summary>True with a probability of <paramref name="partsPerMillion"/>; draws nothing if it is 0.</summary>
    public bool Chance(int partsPerMillion) => partsPerMillion > 0 && Below(1_000_000) < partsPerMillion;

    /// <summary>A generator of its own for one purpose, so that purposes don't disturb each other.</summary>
    public static SimRandom For(ulong seed, ulong purpose) => new(Hash(seed) ^ Hash(purpose * 0x9e3779b97f4a7c15 + 1));
}
