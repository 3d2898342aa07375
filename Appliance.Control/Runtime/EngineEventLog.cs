using System.Globalization;
using Appliance.Control.Failover;
using Appliance.Control.Model;
using Appliance.DataPath.Paths;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// Makes a log line of each event that the engine reports, with the names of boxes and links and the cause. What
/// happened while no manager ran is logged late, with the time at which it happened. Of many events about one thing (a peer's
/// life, a link) a few are written at once and then one every ten seconds, the last (<see cref="LineLimiter{TKey, TLine}"/>).
/// </summary>
public sealed class EngineEventLog
{
    private const string Component = "engine";
    private const long LateMs = 200;

    private readonly BoxSettings _settings;
    private readonly StructuredLog _log;

    // In the engine's order, which the same configuration gives.
    private readonly (string Real, string Pools)[] _backends;
    private readonly LineLimiter<(EngineEventKind, byte, byte, ulong), EngineEvent> _limiter;
    private long _now;

    /// <summary>For the names of a box, its links and its backends.</summary>
    public EngineEventLog(CompiledConfiguration configuration, StructuredLog log)
    {
        (_settings, _log, _backends) = (configuration.Box, log, Backends(configuration.Services));
        _limiter = new LineLimiter<(EngineEventKind, byte, byte, ulong), EngineEvent>(WriteLine);
    }

    /// <summary>Takes an event; its line is written now or kept.</summary>
    public void Write(in EngineEvent e, long nowWallMs)
    {
        _now = nowWallMs;
        EngineEventKind subject = Subject(e.Kind);
        _limiter.Add((subject, e.Node, e.Link, subject == EngineEventKind.BackendRests ? e.Value : 0), e, nowWallMs);
    }

    /// <summary>Writes lines that were kept and are due; now and then.</summary>
    public void Flush(long nowWallMs)
    {
        _now = nowWallMs;
        _limiter.Flush(nowWallMs);
    }

    /// <summary>Writes all lines that were kept.</summary>
    public void Flush() => _limiter.FlushAll();

    // What undoes something is about the same thing, so that the last line tells how it stands.
    private static EngineEventKind Subject(EngineEventKind kind) => kind switch
    {
        EngineEventKind.PeerDied => EngineEventKind.PeerUp,
        EngineEventKind.LinkUnusable => EngineEventKind.LinkUsable,
        EngineEventKind.ClockAgrees => EngineEventKind.ClockSkew,
        EngineEventKind.NodeListAgrees => EngineEventKind.NodeListDiffers,
        EngineEventKind.ConfigurationAgrees => EngineEventKind.ConfigurationDiffers,
        EngineEventKind.CarrierDown => EngineEventKind.CarrierUp,
        EngineEventKind.LinkReopened => EngineEventKind.LinkGone,
        EngineEventKind.ResyncEnded => EngineEventKind.ResyncBegan,
        EngineEventKind.BackendReturned => EngineEventKind.BackendRests,
        _ => kind,
    };

    private void WriteLine(EngineEvent e, int more)
    {
        string own = ConfigurationDigest.Text(_settings.Digest), theirs = ConfigurationDigest.Text(e.Value);
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
            EngineEventKind.NodeListDiffers when e.Node == _settings.Node => ("somebody beats with our key, another list of boxes and a number that is ours in our list: give all boxes the same list, and each a name of its own", [("name", _settings.Hostname)]),
            EngineEventKind.NodeListDiffers => ("the peer has another list of boxes and is not used: give all boxes the same list", [peer]),
            EngineEventKind.ConfigurationDiffers => ("the peer is used all the same, but treats connections by another configuration than this box: give all boxes the same",
                [peer, ("parts", string.Join(' ', ConfigurationDigest.Differences(_settings.Digest, e.Value))), ("own", own), ("theirs", theirs)]),
            EngineEventKind.ConfigurationAgrees => (null, [peer, ("own", own)]),
            EngineEventKind.NameTaken => ("somebody beats in this box's name with our key: two boxes have one hostname and take each other's frames; give each a name of its own", [("name", _settings.Hostname)]),
            EngineEventKind.CarrierDown => ("the interface is down or has lost its carrier", [link]),
            EngineEventKind.CarrierUp => (null, [link]),
            EngineEventKind.LinkGone => ("there is no interface of this name any more; it is opened again when there is one", [link, ("interface", Interface(e.Link))]),
            EngineEventKind.LinkReopened => (null, [link, ("interface", Interface(e.Link))]),
            EngineEventKind.BackendRests => (RestCause(e.Cause != 0), Backend(e.Value)),
            EngineEventKind.BackendReturned => (null, Backend(e.Value)),
            _ => e.Node < _settings.Nodes.Length && e.Node != _settings.Node ? (null, [peer]) : ((string?)null, Array.Empty<(string, object?)>()),
        };
        if (more > 0) fields = [.. fields, ("more", string.Create(CultureInfo.InvariantCulture, $"{more} in the last {LineLimiter<int, int>.WindowMs / 1000} s"))];
        if (_now - e.WallMs > LateMs)
            fields = [.. fields, ("at", DateTimeOffset.FromUnixTimeMilliseconds(e.WallMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture))];
        string what = ShowText.Spaced(e.Kind.ToString(), '-');
        if (cause is null) _log.Info(Component, what, fields);
        else _log.Warning(Component, what, cause, fields);
    }

    /// <summary>The event ring was full: what is shown comes from the tables, so only log lines are missing.</summary>
    public void WriteLost(ulong lost) => _log.Warning(Component, "events-lost", "the manager was away or too slow; the tables are complete, the log is not", ("events", lost));

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

    private string Interface(byte link) => (link == (byte)LinkRole.External ? _settings.External : _settings.Internal).InterfaceName;

    private string Names(ulong set) => set == 0 ? "none" : string.Join(' ', Enumerable.Range(0, _settings.Nodes.Length).Where(n => (set >> n & 1) != 0).Select(n => _settings.Nodes[n]));
}
