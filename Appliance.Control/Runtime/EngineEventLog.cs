using System.Globalization;
using Appliance.Control.Failover;
using Appliance.Control.Model;
using Appliance.DataPath.Paths;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// Makes a log line of each event that the engine reports, with the names of boxes and links and the cause. What
/// happened while no manager ran is logged late, with the time at which it happened.
/// </summary>
public sealed class EngineEventLog(CompiledConfiguration configuration, StructuredLog log)
{
    private const string Component = "engine";
    private const long LateMs = 200;

    private readonly BoxSettings _settings = configuration.Box;

    // In the engine's order, which the same configuration gives.
    private readonly (string Real, string Pools)[] _backends = Backends(configuration.Services);

    /// <summary>Writes one event.</summary>
    public void Write(in EngineEvent e, long nowWallMs)
    {
        (string, object?) peer = ("peer", Name(e.Node)), link = ("link", BoxStatements.Name((LinkRole)e.Link)), ms = ("ms", e.Value);
        (string? cause, (string, object?)[] fields) = e.Kind switch
        {
            EngineEventKind.PeerDied => (LivenessSentences.Sentence((DeathCause)e.Cause), [peer]),
            EngineEventKind.LinkUsable => (null, [peer, link]),
            EngineEventKind.LinkUnusable => ("its beats are missing there, or it reports that one of its traffic links is down", [peer, link]),
            EngineEventKind.MembershipChanged => (null, [("proxies", Names(e.Value))]),
            EngineEventKind.OwnPause => ("this box was stopped or starved; it asks its peers before it goes on", [("ms", e.Value / 1_000_000)]),
            EngineEventKind.PauseResolved when e.Value != 0 => ("a peer counted this box as dead meanwhile: what waited is dropped", [peer]),
            EngineEventKind.CountedDead => ("a peer has counted this box as dead", [peer]),
            EngineEventKind.ClockSkew => ("the clocks differ and handshakes may fail: synchronise them", [peer, ms]),
            EngineEventKind.WrongKey => ("datagrams in its name do not fit our key and are not believed: it has another key file, or somebody forges them", [peer]),
            EngineEventKind.NodeListDiffers => ("the peer has another list of boxes and is not used: give all boxes the same list", [peer]),
            EngineEventKind.CarrierDown => ("the interface is down or has lost its carrier", [link]),
            EngineEventKind.CarrierUp => (null, [link]),
            EngineEventKind.BackendRests => (RestCause(e.Cause != 0), Backend(e.Value)),
            EngineEventKind.BackendReturned => (null, Backend(e.Value)),
            _ => e.Node < _settings.Nodes.Length && e.Node != _settings.Node ? (null, [peer]) : ((string?)null, Array.Empty<(string, object?)>()),
        };
        if (nowWallMs - e.WallMs > LateMs)
            fields = [.. fields, ("at", DateTimeOffset.FromUnixTimeMilliseconds(e.WallMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture))];
        string what = ShowText.Spaced(e.Kind.ToString(), '-');
        if (cause is null) log.Info(Component, what, fields);
        else log.Warning(Component, what, cause, fields);
    }

    /// <summary>The event ring was full: what is shown comes from the tables, so only log lines are missing.</summary>
    public void WriteLost(ulong lost) => log.Warning(Component, "events-lost", "the manager was away or too slow; the tables are complete, the log is not", ("events", lost));

    private static string RestCause(bool wasSilent) =>
        $"three connections to it failed one after the other, the last {(wasSilent ? "unanswered" : "refused")}: others are preferred, and every 5 s one connection tries it";

    private (string, object?)[] Backend(ulong index)
    {
        (string real, string pools) = index < (ulong)_backends.Length ? _backends[index] : ("unknown", "unknown");
        return [("real", real), ("pool", pools)];
    }

    private static (string Real, string Pools)[] Backends(ServiceTable services)
    {
        List<(string, string)> all = [];
        foreach ((IpAddr address, ushort port) in new RealProfiles(services).Reals)
        {
            IEnumerable<string> pools = services.Services.SelectMany(s => s.Pools).Where(p => p.Reals.Any(r => r.Address == address && r.Port == port)).Select(p => p.Name);
            all.Add((SpliceListing.Endpoint(address, port), string.Join(' ', pools)));
        }
        return [.. all];
    }

    private string Name(byte node) => node < _settings.Nodes.Length ? _settings.Nodes[node] : "none";

    private string Names(ulong set) => set == 0 ? "none" : string.Join(' ', Enumerable.Range(0, _settings.Nodes.Length).Where(n => (set >> n & 1) != 0).Select(n => _settings.Nodes[n]));
}
