using System.Globalization;
using System.Text;
using Appliance.DataPath.State;

namespace Appliance.Control.Model;

/// <summary>Prints a configuration as text that is read back to an equal one; what has its default value is left out, except the heartbeat.</summary>
public static class ConfigurationPrinter
{
    /// <summary>The whole text, each line ended by a line feed.</summary>
    public static string Print(Configuration c)
    {
        var text = new StringBuilder();
        foreach (string line in Lines(c)) text.Append(line).Append('\n');
        return text.ToString();
    }

    /// <summary>The statements: the box first, then its services.</summary>
    public static IEnumerable<string> Lines(Configuration c) => [.. BoxLines(c), .. c.Services.SelectMany(ServiceLines)];

    /// <summary>The statements about the box itself.</summary>
    public static IEnumerable<string> BoxLines(Configuration c)
    {
        yield return $"hostname {c.Hostname}";
        foreach (InterfaceSettings link in c.Interfaces) yield return Interface(link);
        if (!c.ExternalGateway4.IsNone) yield return $"external gw {c.ExternalGateway4}";
        if (!c.ExternalGateway6.IsNone) yield return $"external gw {c.ExternalGateway6}";
        foreach (Prefix net in c.InternalNets) yield return $"internal net {net}";
        if (!c.InternalGateway4.IsNone) yield return $"internal gw {c.InternalGateway4}";
        if (!c.InternalGateway6.IsNone) yield return $"internal gw {c.InternalGateway6}";
        yield return "role" + (c.IsSharer ? " sharer" : "") + (c.IsProxy ? " proxy" : "");
        if (c.KeyFile is not null) yield return $"key file {Tokenizer.Quote(c.KeyFile)}";
        foreach (PeerSettings peer in c.Peers) yield return $"peer {peer.Name} at {peer.Address}";
        yield return Text($"heartbeat interval {Slots.Print(c.HeartbeatInterval)} misses {c.HeartbeatMisses}");
        if (c.Workers != 1 || c.WorkersPinned) yield return Text($"workers {c.Workers}{(c.WorkersPinned ? " pinned" : "")}");
        if (c.Splices != Configuration.DefaultSplices) yield return Text($"table splices {c.Splices}");
        if (c.LogLevel != LogLevel.Info) yield return $"log level {BoxStatements.Name(c.LogLevel)}";
    }

    /// <summary>The statements about one service.</summary>
    public static IEnumerable<string> ServiceLines(ServiceSettings s)
    {
        yield return Text($"service {s.Name} is {s.Address} tcp {s.Port} splice{(s.Acked ? " durability acked" : "")}");
        if (s.Share == ShareMode.ByPacket) yield return Text($"share {s.Name} by packet {s.Burst}");
        foreach (PoolSettings pool in s.Pools)
        {
            yield return $"pool {pool.Name} for {s.Name}{(pool.SendsProxyHeader ? " proxy" : "")}";
            foreach (RealSettings real in pool.Reals)
            {
                string port = real.Port == 0 ? "" : Text($" port {real.Port}");
                string weight = real.Weight == 1 ? "" : Text($" weight {real.Weight}");
                yield return $"add {real.Address} to {pool.Name}{port}{weight}";
            }
        }
        foreach (RouteSettings route in s.Routes)
        {
            string kind = route.Kind switch { RouteKind.Host => "host", RouteKind.Path => "path", _ => "sni" };
            yield return $"route {s.Name} {kind} {Tokenizer.Quote(route.Value)} to {route.Pool}";
        }
    }

    private static string Interface(InterfaceSettings link)
    {
        var text = new StringBuilder($"interface {BoxStatements.Name(link.Role)} {Tokenizer.Quote(link.Name)}");
        if (!link.Address4.IsNone) text.Append(' ').Append(link.Address4);
        if (!link.Address6.IsNone) text.Append(' ').Append(link.Address6);
        if (link.UsesHostMac) text.Append(" mac own");
        if (link.Promiscuous) text.Append(" promiscuous");
        return text.ToString();
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
