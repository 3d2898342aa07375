using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>What the statements about the box itself do: links, gateways, roles, peers, limits.</summary>
internal static class BoxStatements
{
    public static void Hostname(BoundStatement s, ConfigurationBuilder c)
    {
        if (s.TryGet("NAME", out string name)) c.Hostname = c.Once(c.Hostname, name, s.SpanOf("NAME"), "the hostname");
    }

    public static void Interface(BoundStatement s, ConfigurationBuilder c)
    {
        LinkRole role = s.Has("external") ? LinkRole.External : s.Has("internal") ? LinkRole.Internal : LinkRole.Sync;
        if (c.Interfaces.TryGetValue(role, out Located<InterfaceSettings> first))
        {
            c.Diagnostics.Error(s.Span, $"the {Name(role)} interface is given twice", first: first.Span);
            return;
        }
        if (!s.TryGet("IFNAME", out string name) || !s.TryGet("ADDRESS/LEN", out Prefix address))
        {
            c.Failed("interface");
            return;
        }
        Prefix v4 = address.Address.IsV4 ? address : default;
        Prefix v6 = address.Address.IsV4 ? default : address;
        if (s.TryGet("ADDRESS2/LEN", out Prefix second))
        {
            if (second.Address.IsV4 == address.Address.IsV4)
                c.Diagnostics.Error(s.SpanOf("ADDRESS2/LEN"), "a link has one address of each family at most");
            else if (second.Address.IsV4) v4 = second;
            else v6 = second;
        }
        c.Interfaces[role] = new Located<InterfaceSettings>(new InterfaceSettings(role, name, v4, v6, s.Has("own"), s.Has("promiscuous")), s.SpanOf("IFNAME"));
    }

    public static void ExternalGateway(BoundStatement s, ConfigurationBuilder c)
    {
        if (!s.TryGet("ADDRESS", out IpAddr address)) return;
        if (address.IsV4) c.ExternalGateway4 = c.Once(c.ExternalGateway4, address, s.SpanOf("ADDRESS"), "the IPv4 gateway of the external link");
        else c.ExternalGateway6 = c.Once(c.ExternalGateway6, address, s.SpanOf("ADDRESS"), "the IPv6 gateway of the external link");
    }

    public static void InternalGateway(BoundStatement s, ConfigurationBuilder c)
    {
        if (!s.TryGet("ADDRESS", out IpAddr address)) c.Failed("internal gw");
        else if (address.IsV4) c.InternalGateway4 = c.Once(c.InternalGateway4, address, s.SpanOf("ADDRESS"), "the IPv4 gateway of the servers");
        else c.InternalGateway6 = c.Once(c.InternalGateway6, address, s.SpanOf("ADDRESS"), "the IPv6 gateway of the servers");
    }

    public static void InternalNet(BoundStatement s, ConfigurationBuilder c)
    {
        if (!s.TryGet("CIDR", out Prefix net)) c.Failed("internal net");
        else if (c.InternalNets.Count >= 64) c.Diagnostics.Error(s.Span, "more than 64 internal nets");
        else if (c.InternalNets.FindIndex(n => n.Value == net) is int at and >= 0) c.Diagnostics.Error(s.SpanOf("CIDR"), $"internal net {net} is given twice", first: c.InternalNets[at].Span);
        else c.InternalNets.Add(new Located<Prefix>(net, s.SpanOf("CIDR")));
    }

    public static void Role(BoundStatement s, ConfigurationBuilder c) =>
        c.Roles = c.Once(c.Roles, (s.Has("sharer"), s.Has("proxy")), s.Span, "the role");

    public static void KeyFile(BoundStatement s, ConfigurationBuilder c)
    {
        if (s.TryGet("FILE", out string path)) c.KeyFile = c.Once(c.KeyFile, path, s.SpanOf("FILE"), "the key file");
        else c.Failed("key");
    }

    public static void Peer(BoundStatement s, ConfigurationBuilder c)
    {
        if (!s.TryGet("NAME", out string name) || !s.TryGet("ADDRESS", out IpAddr address) || !c.IsDefinition(SymbolKind.Peer, name, s.SpanOf("NAME"))) return;
        if (c.Peers.Count == NodeIds.Max - 1)
        {
            c.Diagnostics.Error(s.Span, "a cluster has at most 64 boxes");
            return;
        }
        int same = c.Peers.FindIndex(p => p.Value.Address == address);
        if (same >= 0) c.Diagnostics.Error(s.SpanOf("ADDRESS"), $"peer '{c.Peers[same].Value.Name}' is at {address} already", first: c.Peers[same].Span);
        c.Peers.Add(new Located<PeerSettings>(new PeerSettings(name, address), s.SpanOf("NAME")));
    }

    public static void Heartbeat(BoundStatement s, ConfigurationBuilder c)
    {
        if (!s.TryGet("DURATION", out TimeSpan interval) || !s.TryGet("MISSES", out int misses)) return;
        if (interval < TimeSpan.FromMilliseconds(1) || interval > TimeSpan.FromSeconds(10))
            c.Diagnostics.Error(s.SpanOf("DURATION"), "a heartbeat interval is 1ms to 10s");
        else
            c.Heartbeat = c.Once(c.Heartbeat, (interval, misses), s.Span, "the heartbeat");
    }

    public static void Workers(BoundStatement s, ConfigurationBuilder c)
    {
        if (!s.TryGet("WORKERS", out int count)) return;
        c.Workers = c.Once(c.Workers, (count, s.Has("pinned")), s.Span, "the number of workers");
    }

    public static void TableSplices(BoundStatement s, ConfigurationBuilder c)
    {
        if (s.TryGet("SPLICES", out int count)) c.Splices = c.Once(c.Splices, count, s.Span, "the number of splices");
    }

    public static void Log(BoundStatement s, ConfigurationBuilder c)
    {
        LogLevel level = Enum.GetValues<LogLevel>().First(l => s.Has(Name(l)));
        c.LogLevel = c.Once(c.LogLevel, level, s.Span, "the log level");
    }

    public static string Name(LinkRole role) => role switch { LinkRole.External => "external", LinkRole.Internal => "internal", _ => "sync" };

    public static string Name(LogLevel level) => level switch { LogLevel.Error => "error", LogLevel.Warning => "warning", LogLevel.Info => "info", _ => "debug" };
}
