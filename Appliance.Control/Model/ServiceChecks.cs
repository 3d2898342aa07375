using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>What can be judged of one service when all of it is known.</summary>
internal static class ServiceChecks
{
    public static void Run(ConfigurationBuilder c, ServiceDraft service, Dictionary<IpAddr, string> taken)
    {
        Address(c, service, taken);
        if (service.Pools.Count == 0 && !c.HasFailed("pool"))
            c.Diagnostics.Warn(service.Span, $"service '{service.Name}' has no pool: its connections are refused", $"add: pool NAME for {service.Name}");
        foreach (PoolDraft pool in service.Pools)
        {
            if (pool.Reals.Count == 0 && !c.HasFailed("add"))
                c.Diagnostics.Warn(pool.Span, $"pool '{pool.Name}' has no servers: its connections are refused", $"add: add ADDRESS to {pool.Name}");
            foreach (Located<RealSettings> real in pool.Reals) Real(c, service, real, taken);
        }
        Kinds(c, service);
        NeverMatching(c, service);
    }

    private static void Address(ConfigurationBuilder c, ServiceDraft service, Dictionary<IpAddr, string> taken)
    {
        IpAddr address = service.Address.Value;
        if (address.IsNone) return;
        if (taken.TryGetValue(address, out string? what))
            c.Diagnostics.Error(service.Address.Span, $"{address} is {what}", "a service needs an address of its own");
        foreach (LinkRole role in (LinkRole[])[LinkRole.External, LinkRole.Internal])
        {
            if (!c.Interfaces.TryGetValue(role, out Located<InterfaceSettings> link)) continue;
            Prefix own = address.IsV4 ? link.Value.Address4 : link.Value.Address6;
            if (own.NotOfAHost(address) is { } reserved)
                c.Diagnostics.Error(service.Address.Span, $"{address} is {reserved}", first: link.Span);
            if (own.IsNone && !c.HasFailed("interface"))
                c.Diagnostics.Warn(service.Address.Span, $"the {BoxStatements.Name(role)} interface has no {ConfigurationChecks.Family(address)} address, so this service cannot be reached", first: link.Span);
        }
        if (service.Acked && c.Peers.Count == 0 && !c.HasFailed("peer"))
            c.Diagnostics.Warn(service.Span, $"service '{service.Name}' is acked, but there is no peer that could acknowledge");
    }

    private static void Real(ConfigurationBuilder c, ServiceDraft service, Located<RealSettings> real, Dictionary<IpAddr, string> taken)
    {
        IpAddr address = real.Value.Address;
        if (!service.Address.Value.IsNone && address.IsV4 != service.Address.Value.IsV4)
        {
            c.Diagnostics.Error(real.Span, $"{address} is {ConfigurationChecks.Family(address)}, but service '{service.Name}' is {ConfigurationChecks.Family(service.Address.Value)}",
                "servers see the clients' addresses, so both sides are of one family", first: service.Address.Span);
            return;
        }
        if (taken.TryGetValue(address, out string? what))
        {
            c.Diagnostics.Error(real.Span, $"{address} is {what}, not a server");
            return;
        }
        if (!c.Interfaces.TryGetValue(LinkRole.Internal, out Located<InterfaceSettings> link)) return;
        Prefix own = address.IsV4 ? link.Value.Address4 : link.Value.Address6;
        if (own.NotOfAHost(address) is { } reserved)
        {
            c.Diagnostics.Error(real.Span, $"{address} is {reserved}, not a server", first: link.Span);
            return;
        }
        bool inside = c.InternalNets.Count == 0 ? own.Contains(address) : c.InternalNets.Exists(n => n.Value.Contains(address));
        if (!inside && !c.HasFailed("internal net")) c.Diagnostics.Warn(real.Span, $"{address} is outside of the internal net", "add: internal net CIDR");
        else if (!own.IsNone && !own.Contains(address)) c.Diagnostics.Warn(real.Span, $"{address} is not on the internal link ({own.Network}), so there is no next hop to it", first: link.Span);
    }

    private static void Kinds(ConfigurationBuilder c, ServiceDraft service)
    {
        if (service.Routes.Count == 0) return;
        bool tls = service.Routes[0].Kind == RouteKind.Sni;
        RouteDraft? other = service.Routes.Find(r => r.Kind == RouteKind.Sni != tls);
        if (other is not null)
        {
            c.Diagnostics.Error(other.KindSpan, $"service '{service.Name}' has both sni routes and host or path routes",
                "what is encrypted shows no host or path: make two services", first: service.Routes[0].KindSpan);
        }
        else if (!tls)
        {
            RouteDraft first = service.Routes[0];
            c.Diagnostics.Warn(first.KindSpan, "a connection stays with the pool that its first request chose, also for later requests that another route would match",
                "browsers keep connections open; give what must not mix a name and an address of its own");
        }
    }

    private static void NeverMatching(ConfigurationBuilder c, ServiceDraft service)
    {
        var exact = new Dictionary<(RouteKind, string), RouteDraft>();
        foreach (RouteDraft route in service.Routes)
        {
            string value = route.Value.Value;
            RouteDraft? earlier = exact.GetValueOrDefault((route.Kind, value));
            for (int length = value.Length - 1; earlier is null && route.Kind == RouteKind.Path && length > 0; length--)
            {
                earlier = exact.GetValueOrDefault((RouteKind.Path, value[..length]));
            }
            if (earlier is not null)
            {
                string all = earlier.Value.Value == value ? "repeats an earlier one" : $"comes after one for '{earlier.Value.Value}', which takes all that it would match";
                c.Diagnostics.Warn(route.Value.Span, $"this route never matches: it {all}", first: earlier.Value.Span);
                continue;
            }
            exact[(route.Kind, value)] = route;
            if (route.Kind == RouteKind.Path && value.AsSpan().IndexOfAny('?', '#') >= 0)
                c.Diagnostics.Warn(route.Value.Span, "this route never matches: a path ends before '?' and '#'");
            if (route.Kind == RouteKind.Sni && (IpAddr.TryParse(value, out _) || value[^1] == '.'))
                c.Diagnostics.Warn(route.Value.Span, "this route never matches: a TLS server name is no address and has no dot at its end");
        }
    }
}
