namespace Appliance.DataPath.Splice;

/// <summary>
/// Remembers which SYNs this box answered lately, in fixed memory: a direct-mapped table of
/// hashes. It only decides whether other boxes are asked before a handshake is re-created, so a
/// forgotten SYN costs a question and nothing else.
/// </summary>
public sealed class SynCache(int slots)
{
    private readonly ulong[] _hashes = new ulong[slots];
    private readonly long[] _times = new long[slots];

    /// <summary>Remembers an answered SYN.</summary>
    public void Add(ulong hash, long now)
    {
        int slot = (int)(hash % (ulong)_hashes.Length);
        _hashes[slot] = hash;
        _times[slot] = now;
    }

    /// <summary>True if this SYN was answered here at or after <paramref name="since"/>.</summary>
    public bool Contains(ulong hash, long since)
    {
        int slot = (int)(hash % (ulong)_hashes.Length);
        return _hashes[slot] == hash && _times[slot] >= since;
    }
}
