using Appliance.DataPath.State;

namespace Appliance.DataPath.Splice;

/// <summary>
/// What we promise a client before its backend answers: a right edge that never shrinks and never passes what
/// every backend of the service will offer (SPLICE 4.1). A scaled window says edges only in steps, so an early ACK
/// moves the edge with it: the SYN-ACK keeps some of the backend's first window back for that. A pure
/// function of what every box knows, so that boxes agree. Source: RFC 7323 2.4.
/// </summary>
public readonly struct ClientWindow
{
    private const int MostKeptBack = 16384;

    private readonly int _limit, _unit;

    /// <summary>Bytes from a+1 that can ever be promised before the splice.</summary>
    public int Limit => _limit;

    /// <summary>The window towards clients of <paramref name="service"/>; scaled if both sides agreed to scale.</summary>
    public ClientWindow(Service service, in PoolProfile profile, bool scales)
    {
        int prefix = 0;
        foreach (Pool pool in service.Pools)
        {
            if (pool.SendsProxyHeader) prefix = service.Address.IsV4 ? ProxyV2.Length4 : ProxyV2.Length6;
        }
        _limit = Math.Max(1, profile.FirstWindow - prefix);
        _unit = scales && profile.WindowScale != PoolProfile.NoScale ? 1 << profile.WindowScale : 1;
        int kept = Math.Min(_limit / 2, MostKeptBack);
        Promised = (ushort)((_limit - kept) / _unit * _unit);
        if (Promised == 0) Promised = (ushort)_limit;
    }

    /// <summary>Bytes from a+1 that the SYN-ACK promises.</summary>
    public ushort Promised { get; }

    /// <summary>Up to where an early ACK may acknowledge <paramref name="held"/> bytes, and the window field that goes with it.</summary>
    public int Acknowledge(int held, out ushort window)
    {
        window = (ushort)((Promised + _unit - 1) / _unit);
        if (held + window * _unit <= _limit) return held;
        // The edge stands at its limit: only what keeps it there can be acknowledged.
        int steps = Math.Max(0, (_limit - held + _unit - 1) / _unit);
        window = (ushort)steps;
        return Math.Min(held, _limit - steps * _unit);
    }
}
