using System.Text.Json;
using System.Text.Json.Nodes;
using Appliance.Control.Model;
using Appliance.Control.Sealing;
using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// The documents of `show`: everything it can say is in them, and its text is rendered from them (<see cref="ShowText"/>).
/// Names of counters, reasons and columns are public interface. Without an engine there is the configuration, and for
/// the rest an empty document that says so.
/// </summary>
public sealed class ShowService
{
    private readonly Configuration _configuration;
    private readonly CompiledConfiguration _compiled;
    private readonly Dictionary<uint, string> _services = [];
    private readonly Statistics _sum = Statistics.Private();

    /// <summary>For what runs.</summary>
    public ShowService(Configuration configuration, CompiledConfiguration compiled)
    {
        _configuration = configuration;
        _compiled = compiled;
        foreach (Service service in compiled.Services.Services) _services[service.Id] = service.Name;
    }

    /// <summary>Everything that can be shown.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["config", "services", "splices", "peers", "counters", "ports"];

    /// <summary>A document about an engine, or none, and the state of the standby.</summary>
    /// <exception cref="ShowException">The query makes no sense.</exception>
    public JsonObject Document(ShowQuery query, EngineView? engine, string standby)
    {
        if (!Kinds.Contains(query.Show, StringComparer.Ordinal)) throw new ShowException($"'{query.Show}' cannot be shown: {string.Join(", ", Kinds)} can");
        if (query.Page < 1) throw new ShowException("pages count from 1");
        if (query.Show == "config") return ConfigurationDocument.Of(_configuration);
        var document = new JsonObject { ["box"] = _compiled.Box.Hostname, ["engine"] = engine?.State ?? "away", ["standby"] = standby };
        SpliceFilter filter = query.Show == "splices" ? SpliceFilter.Parse(query.Filter) : SpliceFilter.All;
        if (filter.Service is { } name && !_services.ContainsValue(name)) throw new ShowException($"there is no service '{name}'");
        if (engine is null) return document;
        switch (query.Show)
        {
            case "services":
                Services(document, engine);
                break;
            case "splices":
                foreach ((string key, JsonNode? value) in Listing(engine).Page(filter, query.Page, Clock.Now)) document[key] = value?.DeepClone();
                return document;
            case "peers":
                Peers(document, engine);
                break;
            case "counters":
                engine.Status.Sum(_sum);
                Counters(document, _sum, query.All);
                break;
            default:
                Ports(document, engine.Status);
                break;
        }
        return query.Filter is { Length: > 0 } text ? Filtered(document, text) : document;
    }

    private SpliceListing Listing(EngineView engine) => new(engine.Tables, id => _services.GetValueOrDefault(id, "unknown"), Node);

    private string Node(byte node) => node < _compiled.Box.Nodes.Length ? _compiled.Box.Nodes[node] : "none";

    private void Services(JsonObject document, EngineView engine)
    {
        var perService = new Dictionary<uint, long>();
        var perReal = new Dictionary<(uint, IpAddr, ushort), long>();
        Listing(engine).Walk((in SpliceRecord record, TableReader<RewriteEntry> _) =>
        {
            perService[record.Service] = perService.GetValueOrDefault(record.Service) + 1;
            (uint, IpAddr, ushort) real = (record.Pool, record.Real, record.RealPort);
            perReal[real] = perReal.GetValueOrDefault(real) + 1;
        });
        var services = new JsonArray();
        var reals = new JsonArray();
        foreach (Service service in _compiled.Services.Services)
        {
            services.Add(new JsonObject
            {
                ["service"] = service.Name,
                ["address"] = SpliceListing.Endpoint(service.Address, service.Port),
                ["mode"] = "splice",
                ["durability"] = service.Acked ? "acked" : "async",
                ["share"] = service.Share == ShareMode.ByFlow ? "by flow" : $"by packet {service.Burst}",
                ["pools"] = service.Pools.Length,
                ["routes"] = service.Routes.Length,
                ["splices"] = perService.GetValueOrDefault(service.Id),
            });
            foreach (Pool pool in service.Pools)
            {
                foreach (Real real in pool.Reals)
                {
                    reals.Add(new JsonObject
                    {
                        ["service"] = service.Name,
                        ["pool"] = pool.Name,
                        ["real"] = SpliceListing.Endpoint(real.Address, real.Port),
                        ["weight"] = real.Weight,
                        ["splices"] = perReal.GetValueOrDefault((pool.Id, real.Address, real.Port)),
                    });
                }
            }
        }
        document["services"] = services;
        document["reals"] = reals;
    }

    private void Peers(JsonObject document, EngineView engine)
    {
        EngineHeader header = engine.Status.Header;
        document["membershipVersion"] = header.MembershipVersion;
        document["usableProxies"] = Names(header.Usable);
        document["liveBoxes"] = Names(header.Live);
        var held = new long[NodeIds.Max];
        Listing(engine).Walk((in SpliceRecord record, TableReader<RewriteEntry> _) => held[record.Origin % NodeIds.Max]++);
        document["configuration"] = ConfigurationDigest.Text(_compiled.Box.Digest);
        document["recordsOwn"] = held[_compiled.Box.Node];
        var peers = new JsonArray();
        foreach (PeerBox peer in _compiled.Box.Peers)
        {
            PeerStatus s = engine.Status.Peer(peer.Id);
            peers.Add(new JsonObject
            {
                ["peer"] = peer.Name,
                ["address"] = peer.Address.ToString(),
                ["live"] = s.Live != 0,
                ["usable"] = s.Usable != 0,
                ["links"] = Links(s.Links),
                ["refilled"] = s.Refilled != 0,
                ["configuration"] = Compared(s),
                ["factor"] = s.Factor,
                ["lagOutUs"] = s.LagOutUs,
                ["lagInUs"] = s.LagInUs,
                ["waiting"] = s.Waiting,
                ["held"] = held[peer.Id],
                ["resyncsSent"] = s.ResyncsSent,
                ["resyncsReceived"] = s.ResyncsReceived,
                ["rejected"] = s.Rejected + s.RejectedBeats,
                ["details"] = new JsonObject
                {
                    ["incarnation"] = s.Incarnation,
                    ["configuration"] = s.LastBeatWallMs == 0 ? null : ConfigurationDigest.Text((ulong)s.Configuration),
                    ["lastBeatWallMs"] = s.LastBeatWallMs,
                    ["recordsSent"] = s.RecordsSent,
                    ["recordsReceived"] = s.RecordsReceived,
                    ["retransmitted"] = s.Retransmitted,
                    ["datagramsSent"] = s.DatagramsSent,
                    ["datagramsReceived"] = s.DatagramsReceived,
                },
            });
        }
        document["peers"] = peers;
        var rejected = new JsonArray();
        foreach (RejectReason reason in Enum.GetValues<RejectReason>())
        {
            long count = engine.Status.RejectedBeats[(int)reason] + engine.Status.RejectedRecords[(int)reason];
            if (count == 0) continue;
            rejected.Add(new JsonObject { ["reason"] = JsonNamingPolicy.CamelCase.ConvertName(reason.ToString()), ["datagrams"] = count, ["sentence"] = RejectReasons.Sentence(reason) });
        }
        document["rejected"] = rejected;
    }

    private string? Compared(in PeerStatus peer)
    {
        if (peer.LastBeatWallMs == 0) return null;
        IReadOnlyList<string> differences = ConfigurationDigest.Differences(_compiled.Box.Digest, (ulong)peer.Configuration);
        return differences.Count == 0 ? "same" : $"other {string.Join(' ', differences)}";
    }

    private void Counters(JsonObject document, Statistics statistics, bool all)
    {
        var counters = new JsonObject();
        foreach (Counter counter in Enum.GetValues<Counter>())
        {
            if (all || statistics[counter] != 0) counters[JsonNamingPolicy.CamelCase.ConvertName(counter.ToString())] = statistics[counter];
        }
        var drops = new JsonArray();
        foreach (DropReason reason in Enum.GetValues<DropReason>())
        {
            if (reason == DropReason.None || (!all && statistics[reason] == 0)) continue;
            drops.Add(new JsonObject { ["reason"] = JsonNamingPolicy.CamelCase.ConvertName(reason.ToString()), ["frames"] = statistics[reason], ["sentence"] = DropReasons.Sentence(reason) });
        }
        var handed = new JsonArray();
        for (int node = 0; node < _compiled.Box.Nodes.Length; node++)
        {
            handed.Add(new JsonObject
            {
                ["box"] = Node((byte)node),
                ["framesHanded"] = statistics.Node(node, 0),
                ["bytesHanded"] = statistics.Node(node, 1),
                ["framesReplayed"] = statistics.Node(node, 2),
            });
        }
        document["counters"] = counters;
        document["drops"] = drops;
        document["handed"] = handed;
    }

    private void Ports(JsonObject document, EngineStatus status)
    {
        var ports = new JsonArray();
        foreach (BoxLink link in (BoxLink[])[_compiled.Box.External, _compiled.Box.Internal])
        {
            PortStatus s = status.Port(link.Role);
            ports.Add(new JsonObject
            {
                ["port"] = link.InterfaceName,
                ["link"] = BoxStatements.Name(link.Role),
                ["state"] = ((LinkState)status.LinkState(link.Role)).ToString().ToLowerInvariant(),
                ["mac"] = link.OwnMac.ToString(),
                ["receivedFrames"] = s.ReceivedFrames,
                ["receivedBytes"] = s.ReceivedBytes,
                ["receiveDrops"] = s.ReceiveDrops,
                ["truncated"] = s.Truncated,
                ["sentFrames"] = s.SentFrames,
                ["sentBytes"] = s.SentBytes,
                ["sendDrops"] = s.SendDrops,
                ["sendErrors"] = s.SendErrors,
            });
        }
        document["ports"] = ports;
    }

    private string Names(long set)
    {
        string[] names = [.. Enumerable.Range(0, _compiled.Box.Nodes.Length).Where(n => ((ulong)set >> n & 1) != 0).Select(n => _compiled.Box.Nodes[n])];
        return names.Length == 0 ? "none" : string.Join(' ', names);
    }

    private static string Links(long set)
    {
        string[] names = [.. Enum.GetValues<LinkRole>().Where(r => (set >> (int)r & 1) != 0).Select(BoxStatements.Name)];
        return names.Length == 0 ? "none" : string.Join(' ', names);
    }

    // Rows of a table in which some value contains the text, and values whose name does.
    private static JsonObject Filtered(JsonObject document, string text)
    {
        bool Has(string value) => value.Contains(text, StringComparison.OrdinalIgnoreCase);
        foreach (JsonNode? part in document.Select(p => p.Value).ToArray())
        {
            if (part is JsonArray rows)
            {
                foreach (JsonNode? row in rows.OfType<JsonObject>().Where(r => !r.Any(c => c.Value is JsonValue v && Has(v.ToString()))).ToArray()) rows.Remove(row);
            }
            if (part is not JsonObject group) continue;
            foreach (string name in group.Select(p => p.Key).Where(k => !Has(k)).ToArray()) group.Remove(name);
        }
        return document;
    }
}
