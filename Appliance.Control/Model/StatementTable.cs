using System.Collections.Immutable;

namespace Appliance.Control.Model;

/// <summary>All statements of the language, in the order in which help and docs show them.</summary>
public static class StatementTable
{
    /// <summary>Commands of the interactive shell, which change or show a running box and so make no sense in a file.</summary>
    public static readonly ImmutableArray<string> ShellCommands = ["remove", "status", "save", "show", "help", "exit"];

    /// <summary>The statements.</summary>
    public static readonly ImmutableArray<Statement> All =
    [
        new("hostname NAME", "Names this box in the cluster.", "hostname gw1", BoxStatements.Hostname)
        {
            Details = "Every box of a cluster has a name of its own; boxes are numbered in the order of all names.",
        },
        new("interface external|internal|sync IFNAME ADDRESS/LEN [ADDRESS2/LEN] [~mac own] [promiscuous]",
            "Gives the box a link and its own address there.", "interface external eth0 203.0.113.2/24 2001:db8::2/64", BoxStatements.Interface)
        {
            Details = "On the external and the internal link the address belongs to the data path and must not be configured on the host; " +
                "on the sync link it is the host's. " +
                "`promiscuous` is for drivers that deliver frames for further MACs in no other way.",
        },
        new("external gw ADDRESS", "Next hop towards the clients; one for each family.", "external gw 203.0.113.1", BoxStatements.ExternalGateway),
        new("internal net CIDR", "A network of the servers; may be given several times.", "internal net 192.168.1.0/24", BoxStatements.InternalNet)
        {
            Details = "Without it, the networks of the internal interface.",
        },
        new("internal gw ADDRESS", "The servers' default route, which the sharer answers for; one for each family.", "internal gw 192.168.1.1", BoxStatements.InternalGateway),
        new("role (sharer [proxy] | proxy [sharer])", "What the box does: spread packets, splice connections, or both.", "role sharer proxy", BoxStatements.Role),
        new("key file FILE", "File with the cluster's key, made by `appliance key new`.", "key file /etc/appliance/cluster.key", BoxStatements.KeyFile),
        new("peer NAME at ADDRESS", "Another box of the cluster, at its address on the sync link.", "peer gw2 at 10.255.0.2", BoxStatements.Peer)
        {
            Defines = SymbolKind.Peer,
            Details = "A cluster has at most 64 boxes.",
        },
        new("heartbeat interval DURATION misses MISSES", "How soon a silent peer counts as dead: interval times misses.", "heartbeat interval 5ms misses 3", BoxStatements.Heartbeat)
        {
            Details = "The interval is 1ms to 10s. Default: 5ms, 3 misses.",
        },
        new("workers WORKERS [pinned]", "Threads of the data path, if wanted each on a processor of its own.", "workers 2 pinned", BoxStatements.Workers)
        {
            Details = "Clients are spread over them by address and port. Default: 1.",
        },
        new("table splices SPLICES", "How many splices the tables hold; the memory is taken at start.", "table splices 131072", BoxStatements.TableSplices)
        {
            Details = "Default: 131072.",
        },
        new("log level error|warning|info|debug", "What is logged.", "log level info", BoxStatements.Log)
        {
            Details = "Default: info.",
        },
        new("service NAME is ADDRESS tcp|~udp PORT splice|~nat|~direct [durability async|acked] [~sticky] [~reflect] [~snat]",
            "Advertises an address and port.", "service WWW is 203.0.113.10 tcp 80 splice durability acked", ServiceStatements.Service)
        {
            Defines = SymbolKind.Service,
            Details = "`splice` joins the client's and the server's TCP connection packet by packet. `durability acked` lets a byte pass only once " +
                "another box holds what is needed to carry the connection on; `async` (the default) does not wait.",
        },
        new("pool NAME for SERVICE [proxy]", "A set of servers of a service.", "pool www_pool for WWW", ServiceStatements.Pool)
        {
            Defines = SymbolKind.Pool,
            Details = "A service's first pool takes what no route takes. `proxy` sends the servers a PROXY protocol header, version 2.",
        },
        new("add ADDRESS to POOL [port PORT] [weight WEIGHT]", "Adds a server to a pool.", "add 192.168.1.11 to www_pool weight 2", ServiceStatements.Add)
        {
            Details = "The port is the service's unless given. Servers get connections in proportion to their weights (default 1).",
        },
        new("route SERVICE host|path|sni VALUE to POOL", "Sends what matches to a pool.", "route WWW host static.example to static_pool", ServiceStatements.Route)
        {
            Details = "Routes are tried in the order of the file; the first that matches is taken. `host` and `sni` compare whole names, in any case; " +
                "`path` compares the beginning of the path. A connection stays with the pool that its first request chose. One service has either `sni` routes or `host` and `path` routes.",
        },
        new("share SERVICE by (flow | packet BURST)", "How the sharer spreads a service's packets over the proxies.", "share WWW by packet 40", ServiceStatements.Share)
        {
            Details = "`flow` (the default) sends all packets of a connection to one proxy; `packet N` sends bursts of N packets in turn, in proportion to the proxies' free capacity.",
        },
        Later("virtual", "An address that the boxes take over from each other."),
        Later("check", "Health checks of a pool's servers."),
        Later("stealth", "Backups that receive what the active box receives."),
        Later("nat", "Address translation."),
        Later("snat", "Source address translation."),
        Later("direct", "Direct return from the servers."),
        Later("reflect", "Services that servers themselves use."),
        Later("sticky", "Clients that stay with a server."),
        Later("tap", "Recording of connections."),
        Later("filter", "Packet filtering."),
    ];

    private static readonly Dictionary<string, Statement[]> ByFirstWord = All.GroupBy(s => s.Words[0], StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.ToArray(), StringComparer.Ordinal);

    /// <summary>The statements that begin with a word; mostly one, none if there is no such statement.</summary>
    public static IReadOnlyList<Statement> Starting(string word) => ByFirstWord.TryGetValue(word, out Statement[]? found) ? found : [];

    /// <summary>The statements whose first words are the beginning of, or begin with, <paramref name="words"/>.</summary>
    public static IEnumerable<Statement> Find(IReadOnlyList<string> words) =>
        All.Where(s => s.Words.Take(words.Count).SequenceEqual(words.Take(s.Words.Length), StringComparer.Ordinal));

    private static Statement Later(string word, string summary) => new(word, summary, "", (_, _) => { }) { IsLater = true };
}
