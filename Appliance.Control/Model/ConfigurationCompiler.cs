using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>A configuration in the form that the data path and the threads of the control plane use.</summary>
public sealed record CompiledConfiguration(ServiceTable Services, BoxSettings Box);

/// <summary>
/// Turns a configuration into tables. Numbers of services and pools are FNV-1a hashes of their
/// names and versions are hashes of contents, so that boxes with the same configuration agree
/// without being told. Two names with one hash are a mistake that the parser reports.
/// </summary>
public static class ConfigurationCompiler
{
    /// <summary>Compiles.</summary>
    public static CompiledConfiguration Compile(Configuration configuration)
    {
        ServiceTable services = new([.. configuration.Services.Select(Service)]);
        BoxSettings box = Box(configuration);
        return new CompiledConfiguration(services, box with { Digest = ConfigurationDigest.Of(services.Services, box) });
    }

    /// <summary>FNV-1a, 32 bits, of the text's UTF-8.</summary>
    public static uint Hash(string text)
    {
        uint hash = 0x811c_9dc5;
        foreach (byte b in Encoding.UTF8.GetBytes(text)) hash = (hash ^ b) * 0x0100_0193;
        return hash;
    }

    private static Service Service(ServiceSettings s)
    {
        Pool[] pools = [.. s.Pools.Select(p => Pool(s, p))];
        Route[] routes = [.. s.Routes.Select(r => new Route(r.Kind, Encoding.ASCII.GetBytes(r.Value), Array.Find(pools, p => p.Name == r.Pool)!))];
        return new Service(Hash(s.Name), s.Name, s.Address, s.Port, s.Acked, s.Share, s.Burst, routes, pools);
    }

    private static Pool Pool(ServiceSettings service, PoolSettings p)
    {
        Real[] reals = [.. p.Reals.Select(r => new Real(r.Address, r.Port == 0 ? service.Port : r.Port, r.Weight))];
        string contents = string.Join(';', reals.Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Address}|{r.Port}|{r.Weight}")));
        return new Pool(Hash(p.Name), p.Name, Hash($"{p.SendsProxyHeader}:{contents}"), reals, p.SendsProxyHeader);
    }

    private static BoxSettings Box(Configuration c)
    {
        ImmutableArray<string> nodes = [.. c.Peers.Select(p => p.Name).Append(c.Hostname).Order(StringComparer.Ordinal)];
        InterfaceSettings external = c.Interface(LinkRole.External)!;
        InterfaceSettings inside = c.Interface(LinkRole.Internal)!;
        InterfaceSettings? sync = c.Interface(LinkRole.Sync);
        return new BoxSettings
        {
            Hostname = c.Hostname,
            Nodes = nodes,
            Node = (byte)nodes.IndexOf(c.Hostname),
            Peers = [.. c.Peers.Select(p => new PeerBox((byte)nodes.IndexOf(p.Name), p.Name, p.Address))],
            External = Link(external, c.Hostname, c.ExternalGateway4, c.ExternalGateway6),
            Internal = Link(inside, c.Hostname, default, default),
            Interfaces = c.Interfaces,
            SyncAddress = Sync(sync, c),
            InternalNets = c.InternalNets.Count > 0 ? [.. c.InternalNets] : [.. new[] { inside.Address4, inside.Address6 }.Where(a => !a.IsNone).Select(a => a.Network)],
            InternalGateway4 = c.InternalGateway4,
            InternalGateway6 = c.InternalGateway6,
            IsSharer = c.IsSharer,
            IsProxy = c.IsProxy,
            KeyFile = c.KeyFile,
            HeartbeatIntervalNs = c.HeartbeatInterval.Ticks * TimeSpan.NanosecondsPerTick,
            HeartbeatMisses = c.HeartbeatMisses,
            Workers = c.Workers,
            WorkersPinned = c.WorkersPinned,
            Splices = c.Splices,
            LogLevel = c.LogLevel,
        };
    }

    // A link may have both families; the peers decide which one is spoken.
    private static IpAddr Sync(InterfaceSettings? sync, Configuration c)
    {
        if (sync is null) return default;
        bool v4 = c.Peers.Count > 0 ? c.Peers[0].Address.IsV4 : !sync.Address4.IsNone;
        return v4 ? sync.Address4.Address : sync.Address6.Address;
    }

    private static BoxLink Link(InterfaceSettings link, string node, IpAddr gateway4, IpAddr gateway6) => new(link.Role, link.Name, node)
    {
        Address4 = link.Address4.Address,
        Prefix4 = link.Address4.Length,
        Address6 = link.Address6.Address,
        Prefix6 = link.Address6.Length,
        Gateway4 = gateway4,
        Gateway6 = gateway6,
    };
}
