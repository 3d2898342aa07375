using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>How the sharer spreads a service's packets.</summary>
public enum ShareMode : byte
{
    /// <summary>All packets of a flow to one proxy, by hash of the client's endpoint.</summary>
    ByFlow,

    /// <summary>Bursts of packets in turn, in proportion to workload factors.</summary>
    ByPacket,
}

/// <summary>What a route looks at in the first request.</summary>
public enum RouteKind : byte
{
    /// <summary>HTTP Host (or :authority of an absolute target), exact, without port, any case.</summary>
    Host,

    /// <summary>Prefix of the HTTP request target's path.</summary>
    Path,

    /// <summary>TLS server name of the (outer) ClientHello, exact, any case.</summary>
    Sni,
}

/// <summary>One backend. Immutable; a value, so that a handshake taken over from a peer's record makes one without allocating.</summary>
public readonly record struct Real(IpAddr Address, ushort Port, int Weight)
{
    /// <summary>True for the default value.</summary>
    public bool IsNone => Port == 0;
}

/// <summary>A set of backends. Immutable; <see cref="Version"/> is a hash of the contents, the same on every box with the same configuration.</summary>
public sealed record Pool(uint Id, string Name, uint Version, Real[] Reals, bool SendsProxyHeader);

/// <summary>Sends what matches to a pool. Values are lower-case ASCII for names; paths stand as written.</summary>
public sealed record Route(RouteKind Kind, byte[] Value, Pool Pool);

/// <summary>An advertised address and port whose connections are spliced. Immutable.</summary>
public sealed record Service(uint Id, string Name, IpAddr Address, ushort Port, bool Acked, ShareMode Share, int Burst, Route[] Routes, Pool[] Pools)
{
    /// <summary>Takes what no route takes; null if the service has no pool.</summary>
    public Pool? DefaultPool => Pools.Length == 0 ? null : Pools[0];

    /// <summary>True if a TLS route exists: the head is then a ClientHello; otherwise an HTTP request head.</summary>
    public bool IsTls => Array.Exists(Routes, r => r.Kind == RouteKind.Sni);
}

/// <summary>All services, immutable; swapped whole by a new configuration. Lookup neither locks nor allocates.</summary>
public sealed class ServiceTable
{
    private readonly EndpointMap _services, _reals;
    private readonly HashSet<IpAddr> _addresses;

    /// <summary>Builds the table; two services on one address and port are the caller's error.</summary>
    public ServiceTable(IReadOnlyList<Service> services)
    {
        Services = [.. services];
        _addresses = [.. services.Select(s => s.Address)];
        _services = new EndpointMap([.. services.Select(s => (s.Address, s.Port, s))]);
        _reals = new EndpointMap([.. services.SelectMany(s => s.Pools.SelectMany(p => p.Reals), (s, r) => (r.Address, r.Port, s))]);
    }

    /// <summary>All services, in the order of the configuration.</summary>
    public IReadOnlyList<Service> Services { get; }

    /// <summary>The TCP service at an address and port, or null.</summary>
    public Service? Find(IpAddr address, ushort port) => _services.Find(address, port);

    /// <summary>The first service that has a backend at an address and port, or null.</summary>
    public Service? FindByReal(IpAddr address, ushort port) => _reals.Find(address, port);

    /// <summary>True if any service stands on this address: the sharer answers ARP, ND and echo for it.</summary>
    public bool OwnsAddress(IpAddr address) => _addresses.Contains(address);

    /// <summary>Endpoints in one array, a quarter full at most: a hash, and mostly one comparison. Of equal ones the first counts.</summary>
    private sealed class EndpointMap
    {
        private readonly (IpAddr Address, ushort Port, Service? Service)[] _slots;

        public EndpointMap((IpAddr Address, ushort Port, Service Service)[] all)
        {
            int size = 4;
            while (size < all.Length * 4) size *= 2;
            _slots = new (IpAddr, ushort, Service?)[size];
            foreach ((IpAddr Address, ushort Port, Service Service) one in all)
            {
                if (Find(one.Address, one.Port) is not null) continue;
                int at = Slot(one.Address, one.Port);
                while (_slots[at].Service is not null) at = (at + 1) & (size - 1);
                _slots[at] = one;
            }
        }

        public Service? Find(IpAddr address, ushort port)
        {
            for (int at = Slot(address, port); ; at = (at + 1) & (_slots.Length - 1))
            {
                ref readonly (IpAddr Address, ushort Port, Service? Service) slot = ref _slots[at];
                if (slot.Service is null || (slot.Port == port && slot.Address == address)) return slot.Service;
            }
        }

        private int Slot(IpAddr address, ushort port) => (int)Flow.FlowKey.HashEndpoint(address, port, 0) & (_slots.Length - 1);
    }
}
