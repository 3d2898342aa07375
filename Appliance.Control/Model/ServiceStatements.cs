using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>What the statements about services, pools and routes do.</summary>
internal static class ServiceStatements
{
    private const int MaxServices = 1024;
    private const int MaxPools = 64;
    private const int MaxReals = 1024;
    private const int MaxRoutes = 1024;

    public static void Service(BoundStatement s, ConfigurationBuilder c)
    {
        if (!s.TryGet("NAME", out string name) || !c.IsDefinition(SymbolKind.Service, name, s.SpanOf("NAME"))) return;
        if (c.Services.Count >= MaxServices)
        {
            c.Diagnostics.Error(s.Span, "more than 1,024 services");
            return;
        }
        var service = new ServiceDraft(name, s.SpanOf("NAME")) { Acked = s.Has("acked") };
        if (s.TryGet("ADDRESS", out IpAddr address)) service.Address = new Located<IpAddr>(address, s.SpanOf("ADDRESS"));
        if (s.TryGet("PORT", out int port)) service.Port = (ushort)port;
        c.Services.Add(service);
        c.Attach(SymbolKind.Service, name, service);
    }

    public static void Pool(BoundStatement s, ConfigurationBuilder c)
    {
        ServiceDraft? service = c.Resolve<ServiceDraft>(s, "SERVICE");
        if (!s.TryGet("NAME", out string name) || !c.IsDefinition(SymbolKind.Pool, name, s.SpanOf("NAME"))) return;
        var pool = new PoolDraft(name, s.SpanOf("NAME")) { Service = service, Proxy = s.Has("proxy") };
        c.Attach(SymbolKind.Pool, name, pool);
        if (service is null)
        {
            c.Failed("pool");
            return;
        }
        if (service.Pools.Count >= MaxPools)
        {
            c.Diagnostics.Error(s.Span, $"more than {MaxPools} pools for service '{service.Name}'");
            return;
        }
        service.Pools.Add(pool);
        c.Pools.Add(pool);
    }

    public static void Add(BoundStatement s, ConfigurationBuilder c)
    {
        PoolDraft? pool = c.Resolve<PoolDraft>(s, "POOL");
        if (pool is null || !s.TryGet("ADDRESS", out IpAddr address))
        {
            c.Failed("add");
            return;
        }
        ushort port = s.TryGet("PORT", out int given) ? (ushort)given : (ushort)0;
        int weight = s.TryGet("WEIGHT", out int w) ? w : 1;
        ushort own = pool.Service?.Port ?? 0;
        // A port that is the service's own is not kept: saying it and leaving it out mean the same.
        var real = new RealSettings(address, port == own ? (ushort)0 : port, weight);
        int same = pool.Reals.FindIndex(r => r.Value.Address == address && r.Value.Port == real.Port);
        if (same >= 0) c.Diagnostics.Error(s.SpanOf("ADDRESS"), $"{address} is in pool '{pool.Name}' already", first: pool.Reals[same].Span);
        else if (pool.Reals.Count >= MaxReals) c.Diagnostics.Error(s.Span, $"more than 1,024 servers in pool '{pool.Name}'");
        else pool.Reals.Add(new Located<RealSettings>(real, s.SpanOf("ADDRESS")));
    }

    public static void Route(BoundStatement s, ConfigurationBuilder c)
    {
        ServiceDraft? service = c.Resolve<ServiceDraft>(s, "SERVICE");
        PoolDraft? pool = c.Resolve<PoolDraft>(s, "POOL");
        if (!s.TryGet("VALUE", out string value)) return;
        RouteKind kind = s.Has("host") ? RouteKind.Host : s.Has("path") ? RouteKind.Path : RouteKind.Sni;
        SourceSpan at = s.SpanOf("VALUE");
        if (kind != RouteKind.Path) value = value.ToLowerInvariant();
        (string Problem, string? Hint)? wrong = kind == RouteKind.Path ? PathProblem(value) : NameProblem(value, kind);
        if (wrong is { } w)
        {
            c.Diagnostics.Error(at, w.Problem, w.Hint);
            return;
        }
        if (service is null || pool?.Service is null) return;
        if (pool.Service != service)
        {
            c.Diagnostics.Error(s.SpanOf("POOL"), $"pool '{pool.Name}' belongs to service '{pool.Service.Name}', not to '{service.Name}'", first: pool.Span);
            return;
        }
        if (service.Routes.Count >= MaxRoutes)
        {
            c.Diagnostics.Error(s.Span, $"more than 1,024 routes for service '{service.Name}'");
            return;
        }
        string kindWord = kind == RouteKind.Host ? "host" : kind == RouteKind.Path ? "path" : "sni";
        service.Routes.Add(new RouteDraft(kind, new Located<string>(value, at), s.SpanOf(kindWord), pool));
    }

    public static void Share(BoundStatement s, ConfigurationBuilder c)
    {
        ServiceDraft? service = c.Resolve<ServiceDraft>(s, "SERVICE");
        if (service is null) return;
        if (s.Has("flow")) service.Share = c.Once(service.Share, (ShareMode.ByFlow, Configuration.DefaultBurst), s.Span, $"the sharing of '{service.Name}'");
        else if (s.TryGet("BURST", out int burst)) service.Share = c.Once(service.Share, (ShareMode.ByPacket, burst), s.Span, $"the sharing of '{service.Name}'");
    }

    private static (string Problem, string? Hint)? NameProblem(string value, RouteKind kind)
    {
        string what = kind == RouteKind.Host ? "host" : "server";
        if (value.Length > 253) return ("the name is longer than 253 characters", null);
        if (value.Contains('*', StringComparison.Ordinal)) return ("names are compared whole; '*' stands for nothing", $"give every {what} name a route of its own");
        if (kind == RouteKind.Host && value[0] == '[' && value[^1] == ']' && IpAddr.TryParse(value[1..^1], out _)) return null;
        if (value.Contains(':', StringComparison.Ordinal)) return ($"a {what} name is compared without its port", value[0] != '[' && value.Count(c => c == ':') == 1 ? $"write {value[..value.IndexOf(':', StringComparison.Ordinal)]}" : null);
        if (!value.All(char.IsAscii)) return ($"a {what} name is ASCII", "use its form that starts with xn--");
        return value.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.') ? null : ($"'{value}' is not a {what} name", null);
    }

    private static (string Problem, string? Hint)? PathProblem(string value)
    {
        if (value[0] != '/') return ("a path starts with '/'", $"write /{value}");
        if (value.Length > 255) return ("the path is longer than 255 characters", null);
        return value.All(c => c is > ' ' and < (char)127) ? null
            : ("a path holds only printable ASCII characters without blanks", "requests carry anything else percent-encoded: write it so");
    }
}
