using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>Makes the value and the table of places out of what was read without an error.</summary>
internal static class ConfigurationAssembly
{
    public static Configuration Assemble(ConfigurationBuilder c) => new()
    {
        Hostname = c.Hostname!.Value.Value,
        Interfaces = [.. c.Interfaces.OrderBy(i => i.Key).Select(i => i.Value.Value)],
        ExternalGateway4 = Value(c.ExternalGateway4),
        ExternalGateway6 = Value(c.ExternalGateway6),
        InternalNets = [.. c.InternalNets.Select(n => n.Value)],
        InternalGateway4 = Value(c.InternalGateway4),
        InternalGateway6 = Value(c.InternalGateway6),
        IsSharer = c.Roles!.Value.Value.Sharer,
        IsProxy = c.Roles.Value.Value.Proxy,
        KeyFile = c.KeyFile?.Value,
        Peers = [.. c.Peers.Select(p => p.Value)],
        HeartbeatInterval = c.Heartbeat?.Value.Interval ?? Configuration.DefaultHeartbeatInterval,
        HeartbeatMisses = c.Heartbeat?.Value.Misses ?? Configuration.DefaultHeartbeatMisses,
        Workers = c.Workers?.Value.Count ?? 1,
        WorkersPinned = c.Workers?.Value.Pinned ?? false,
        Splices = c.Splices?.Value ?? Configuration.DefaultSplices,
        LogLevel = c.LogLevel?.Value ?? LogLevel.Info,
        Services = [.. c.Services.Select(Assemble)],
    };

    public static IReadOnlyDictionary<string, SourceSpan> Places(ConfigurationBuilder c)
    {
        var places = new Dictionary<string, SourceSpan>(StringComparer.Ordinal);
        foreach ((LinkRole role, Located<InterfaceSettings> link) in c.Interfaces) places[$"interface {BoxStatements.Name(role)}"] = link.Span;
        foreach (ServiceDraft service in c.Services) places[$"service {service.Name}"] = service.Address.Span.Line > 0 ? service.Address.Span : service.Span;
        foreach (Located<PeerSettings> peer in c.Peers) places[$"peer {peer.Value.Name}"] = peer.Span;
        if (c.KeyFile is { } key) places["key file"] = key.Span;
        if ((c.InternalGateway4 ?? c.InternalGateway6) is { } gateway) places["internal gw"] = gateway.Span;
        if (c.Workers is { } workers) places["workers"] = workers.Span;
        return places;
    }

    private static ServiceSettings Assemble(ServiceDraft s)
    {
        (ShareMode mode, int burst) = s.Share?.Value ?? (ShareMode.ByFlow, Configuration.DefaultBurst);
        return new ServiceSettings(s.Name, s.Address.Value, s.Port, s.Acked, mode, burst,
            [.. s.Pools.Select(p => new PoolSettings(p.Name, p.Proxy, [.. p.Reals.Select(r => r.Value)]))],
            [.. s.Routes.Select(r => new RouteSettings(r.Kind, r.Value.Value, r.Pool!.Name))]);
    }

    private static IpAddr Value(Located<IpAddr>? address) => address?.Value ?? default;
}
