using System.Text;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Splice;

/// <summary>What the router says of the first bytes of a connection.</summary>
public enum RouteResult : byte
{
    /// <summary>More bytes decide.</summary>
    Incomplete,

    /// <summary>The head cannot be read: <see cref="RouteDecision.Error"/>.</summary>
    Malformed,

    /// <summary>No route takes it and the service has no pool.</summary>
    NoRoute,

    /// <summary>Goes to <see cref="RouteDecision.Pool"/>.</summary>
    Route,
}

/// <summary>Where a connection goes; fields are set as far as the result says.</summary>
public struct RouteDecision
{
    /// <summary>The pool.</summary>
    public Pool? Pool;

    /// <summary>Bytes of the head.</summary>
    public int HeadLength;

    /// <summary>True if the head may reach a second backend without harm (SPLICE 4.6); for TLS, if no early data follows it.</summary>
    public bool IsIdempotent;

    /// <summary>Why it is malformed.</summary>
    public HeadError Error;
}

/// <summary>What parsing remembers between segments of one connection; blittable, zero at the start.</summary>
public struct HeadState
{
    /// <summary>For services without TLS routes.</summary>
    public RequestHead Request;

    /// <summary>For services with TLS routes.</summary>
    public ClientHello Hello;
}

/// <summary>
/// Chooses the pool of a connection by its first request or ClientHello: routes in the order of
/// the configuration, the first match wins, the service's first pool takes the rest. Pure: a function
/// of service and bytes; the state only saves work. The choice binds the whole connection.
/// </summary>
public static class Router
{
    /// <summary>Decides with all in-order bytes so far; <paramref name="state"/> belongs to the connection.</summary>
    public static RouteResult Decide(Service service, ReadOnlySpan<byte> bytes, ref HeadState state, out RouteDecision decision)
    {
        decision = default;
        return service.IsTls ? DecideTls(service, bytes, ref state.Hello, ref decision) : DecideHttp(service, bytes, ref state.Request, ref decision);
    }

    /// <summary>True if two names are the same: any case, with or without a final dot.</summary>
    public static bool SameName(ReadOnlySpan<byte> x, ReadOnlySpan<byte> y) => Ascii.EqualsIgnoreCase(Undotted(x), Undotted(y));

    private static RouteResult DecideHttp(Service service, ReadOnlySpan<byte> bytes, ref RequestHead head, ref RouteDecision decision)
    {
        HeadResult result = head.Parse(bytes);
        decision.Error = head.Error;
        if (result != HeadResult.Complete) return result == HeadResult.Malformed ? RouteResult.Malformed : RouteResult.Incomplete;
        decision.HeadLength = head.HeadLength;
        decision.IsIdempotent = head.IsIdempotent;
        ReadOnlySpan<byte> host = head.Host.Of(bytes), path = head.Path.Of(bytes);
        // An absolute target without a path asks for "/" (RFC 9110 4.2.3).
        if (path.Length == 0 && host.Length != 0 && head.Method != RequestMethod.Connect) path = "/"u8;
        foreach (Route route in service.Routes)
        {
            bool takes = route.Kind switch
            {
                RouteKind.Host => host.Length != 0 && SameName(host, route.Value),
                RouteKind.Path => path.StartsWith(route.Value),
                _ => false,
            };
            if (takes) return Take(route.Pool, ref decision);
        }
        return Take(service.DefaultPool, ref decision);
    }

    private static RouteResult DecideTls(Service service, ReadOnlySpan<byte> bytes, ref ClientHello hello, ref RouteDecision decision)
    {
        HeadResult result = hello.Parse(bytes);
        decision.Error = hello.Error;
        if (result != HeadResult.Complete) return result == HeadResult.Malformed ? RouteResult.Malformed : RouteResult.Incomplete;
        decision.HeadLength = hello.HeadLength;
        decision.IsIdempotent = !hello.HasEarlyData;
        ReadOnlySpan<byte> name = hello.CopyName(bytes, stackalloc byte[ClientHello.MaxName]);
        foreach (Route route in service.Routes)
        {
            if (route.Kind == RouteKind.Sni && name.Length != 0 && SameName(name, route.Value)) return Take(route.Pool, ref decision);
        }
        return Take(service.DefaultPool, ref decision);
    }

    private static RouteResult Take(Pool? pool, ref RouteDecision decision)
    {
        decision.Pool = pool;
        return pool is null ? RouteResult.NoRoute : RouteResult.Route;
    }

    private static ReadOnlySpan<byte> Undotted(ReadOnlySpan<byte> name) => name.Length > 1 && name[^1] == (byte)'.' ? name[..^1] : name;
}
