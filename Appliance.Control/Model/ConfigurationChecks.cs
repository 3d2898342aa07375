using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>
/// What can only be judged when the whole text has been read: what is missing, what contradicts,
/// what is legal and surprising. Asks nothing of the host (<see cref="HostChecks"/> does).
/// </summary>
internal static class ConfigurationChecks
{
    private static readonly SourceSpan Beginning = new(1, 1, 0);

    public static void Run(ConfigurationBuilder c)
    {
        Required(c);
        Links(c);
        Cluster(c);
        Dictionary<IpAddr, string> taken = OwnAddresses(c);
        foreach (ServiceDraft service in c.Services)
        {
            ServiceChecks.Run(c, service, taken);
        }
        SameEndpoint(c);
        SameNumber(c, "service", c.Services.Select(s => (s.Name, s.Span)));
        SameNumber(c, "pool", c.Pools.Select(p => (p.Name, p.Span)));
    }

    private static void Required(ConfigurationBuilder c)
    {
        if (c.Hostname is null && !c.HasFailed("hostname")) c.Diagnostics.Error(Beginning, "the hostname is missing", "add: hostname NAME");
        if (c.Roles is null && !c.HasFailed("role")) c.Diagnostics.Error(Beginning, "the box has no role", "add: role sharer, role proxy, or role sharer proxy");
        if (c.HasFailed("interface")) return;
        foreach (LinkRole role in (LinkRole[])[LinkRole.External, LinkRole.Internal])
        {
            if (!c.Interfaces.ContainsKey(role))
                c.Diagnostics.Error(Beginning, $"the {BoxStatements.Name(role)} interface is missing", $"add: interface {BoxStatements.Name(role)} IFNAME ADDRESS/LEN");
        }
    }

    private static void Links(ConfigurationBuilder c)
    {
        var byName = new Dictionary<string, SourceSpan>(StringComparer.Ordinal);
        foreach (Located<InterfaceSettings> link in c.Interfaces.OrderBy(i => i.Value.Span.Line).Select(i => i.Value))
        {
            if (!byName.TryAdd(link.Value.Name, link.Span))
                c.Diagnostics.Error(link.Span, $"'{link.Value.Name}' is used for another link already", "use a VLAN interface if the box has too few", first: byName[link.Value.Name]);
        }
        Gateway(c, LinkRole.External, c.ExternalGateway4);
        Gateway(c, LinkRole.External, c.ExternalGateway6);
        Gateway(c, LinkRole.Internal, c.InternalGateway4);
        Gateway(c, LinkRole.Internal, c.InternalGateway6);
        bool gatewayless = c.InternalGateway4 is null && c.InternalGateway6 is null && !c.HasFailed("internal gw");
        if (c.Roles is { Value.Sharer: true } roles && gatewayless)
            c.Diagnostics.Warn(roles.Span, "a sharer without internal gw: answers of the servers do not come back through it", "add: internal gw ADDRESS, and make it the servers' default route");
    }

    private static void Gateway(ConfigurationBuilder c, LinkRole role, Located<IpAddr>? gateway)
    {
        if (gateway is not { } g || !c.Interfaces.TryGetValue(role, out Located<InterfaceSettings> link)) return;
        Prefix own = g.Value.IsV4 ? link.Value.Address4 : link.Value.Address6;
        string name = BoxStatements.Name(role);
        if (own.NotOfAHost(g.Value) is { } what)
            c.Diagnostics.Error(g.Span, $"{g.Value} is {what}", first: link.Span);
        else if (own.Address == g.Value && !own.IsNone)
            c.Diagnostics.Error(g.Span, $"{g.Value} is the box's own address on the {name} link", first: link.Span);
        else if (own.IsNone && !c.HasFailed("interface"))
            c.Diagnostics.Warn(g.Span, $"the {name} interface has no {Family(g.Value)} address, so this gateway cannot be used");
        else if (!own.IsNone && !own.Contains(g.Value) && !IsLinkLocal(g.Value) && !c.InternalNets.Exists(n => n.Value.Contains(g.Value)))
            c.Diagnostics.Warn(g.Span, $"{g.Value} is not on the {name} link ({own.Network})");
    }

    private static void Cluster(ConfigurationBuilder c)
    {
        if (c.Peers.Count == 0)
        {
            Alone(c);
            return;
        }
        SourceSpan first = c.Peers[0].Span;
        bool hasSync = c.Interfaces.TryGetValue(LinkRole.Sync, out Located<InterfaceSettings> sync);
        if (!hasSync && !c.HasFailed("interface")) c.Diagnostics.Error(first, "peers need a sync interface", "add: interface sync IFNAME ADDRESS/LEN");
        if (c.KeyFile is null && !c.HasFailed("key")) c.Diagnostics.Error(first, "peers need a key", "make one with `appliance key new FILE`, copy it to every box, and add: key file FILE");
        foreach (Located<PeerSettings> peer in c.Peers)
        {
            if (c.Hostname is { } own && own.Value == peer.Value.Name)
                c.Diagnostics.Error(peer.Span, $"'{own.Value}' is this box", "a box is no peer of its own", first: own.Span);
            if (peer.Value.Address.IsV4 != c.Peers[0].Value.Address.IsV4)
                c.Diagnostics.Error(peer.Span, "the peers' addresses are not of one family", first: first);
            if (!hasSync) continue;
            Prefix link = peer.Value.Address.IsV4 ? sync.Value.Address4 : sync.Value.Address6;
            if (link.NotOfAHost(peer.Value.Address) is { } what) c.Diagnostics.Error(peer.Span, $"{peer.Value.Address} is {what}", first: sync.Span);
            else if (link.Address == peer.Value.Address) c.Diagnostics.Error(peer.Span, $"{peer.Value.Address} is this box's own address", first: sync.Span);
            else if (!link.Contains(peer.Value.Address)) c.Diagnostics.Warn(peer.Span, $"peer '{peer.Value.Name}' at {peer.Value.Address} is not on the sync link");
        }
    }

    private static void Alone(ConfigurationBuilder c)
    {
        if (c.Roles is not { } roles || c.HasFailed("peer")) return;
        const string remedy = "add: peer NAME at ADDRESS, one for every other box; or, for a box that is alone: role sharer proxy";
        if (!roles.Value.Proxy) c.Diagnostics.Warn(roles.Span, "a sharer without peers: there is no proxy to hand packets to, so no connection is ever accepted", remedy);
        if (!roles.Value.Sharer) c.Diagnostics.Warn(roles.Span, "a proxy without peers: there is no sharer to hand it packets, and it does not answer for the services itself", remedy);
    }

    private static Dictionary<IpAddr, string> OwnAddresses(ConfigurationBuilder c)
    {
        var taken = new Dictionary<IpAddr, string>();
        foreach (Located<InterfaceSettings> link in c.Interfaces.Values)
        {
            string what = $"the box's own address on the {BoxStatements.Name(link.Value.Role)} link";
            if (!link.Value.Address4.IsNone) taken.TryAdd(link.Value.Address4.Address, what);
            if (!link.Value.Address6.IsNone) taken.TryAdd(link.Value.Address6.Address, what);
        }
        foreach (Located<IpAddr>? gateway in (Located<IpAddr>?[])[c.InternalGateway4, c.InternalGateway6])
        {
            if (gateway is { } g) taken.TryAdd(g.Value, "the internal gateway");
        }
        foreach (Located<IpAddr>? gateway in (Located<IpAddr>?[])[c.ExternalGateway4, c.ExternalGateway6])
        {
            if (gateway is { } g) taken.TryAdd(g.Value, "the external gateway");
        }
        return taken;
    }

    private static void SameEndpoint(ConfigurationBuilder c)
    {
        var endpoints = new Dictionary<(IpAddr, ushort), ServiceDraft>();
        foreach (ServiceDraft service in c.Services.Where(s => !s.Address.Value.IsNone && s.Port != 0))
        {
            if (endpoints.TryAdd((service.Address.Value, service.Port), service)) continue;
            ServiceDraft first = endpoints[(service.Address.Value, service.Port)];
            c.Diagnostics.Error(service.Address.Span, $"service '{first.Name}' has {service.Address.Value} port {service.Port} already", first: first.Address.Span);
        }
    }

    private static void SameNumber(ConfigurationBuilder c, string what, IEnumerable<(string Name, SourceSpan Span)> all)
    {
        var numbers = new Dictionary<uint, (string Name, SourceSpan Span)>();
        foreach ((string name, SourceSpan span) in all)
        {
            uint number = ConfigurationCompiler.Hash(name);
            if (numbers.TryAdd(number, (name, span))) continue;
            c.Diagnostics.Error(span, $"{what} '{name}' and {what} '{numbers[number].Name}' happen to have the same number", "give one of them another name", first: numbers[number].Span);
        }
    }

    public static string Family(IpAddr address) => address.IsV4 ? "IPv4" : "IPv6";

    private static bool IsLinkLocal(IpAddr address) => !address.IsV4 && address.High >> 54 == 0x3fa;
}
