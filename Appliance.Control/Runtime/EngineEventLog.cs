using System.Globalization;
using Appliance.Control.Failover;
using Appliance.Control.Model;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// Makes a log line of each event that the engine reports, with the names of boxes and links and the cause. What
/// happened while no manager ran is logged late, with the time at which it happened.
/// </summary>
public sealed class EngineEventLog(BoxSettings settings, StructuredLog log)
{
    private const string Component = "engine";
    private const long LateMs = 200;

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
            EngineEventKind.LinkGone => ("there is no interface of this name any more; it is opened again when there is one", [link, ("interface", Interface(e.Link))]),
            EngineEventKind.LinkReopened => (null, [link, ("interface", Interface(e.Link))]),
            _ => e.Node < settings.Nodes.Length && e.Node != settings.Node ? (null, [peer]) : ((string?)null, Array.Empty<(string, object?)>()),
        };
        if (nowWallMs - e.WallMs > LateMs)
            fields = [.. fields, ("at", DateTimeOffset.FromUnixTimeMilliseconds(e.WallMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture))];
        string what = ShowText.Spaced(e.Kind.ToString(), '-');
        if (cause is null) log.Info(Component, what, fields);
        else log.Warning(Component, what, cause, fields);
    }

    /// <summary>The event ring was full: what is shown comes from the tables, so only log lines are missing.</summary>
    public void WriteLost(ulong lost) => log.Warning(Component, "events-lost", "the manager was away or too slow; the tables are complete, the log is not", ("events", lost));

    private string Name(byte node) => node < settings.Nodes.Length ? settings.Nodes[node] : "none";

    private string Interface(byte link) => (link == (byte)LinkRole.External ? settings.External : settings.Internal).InterfaceName;

    private string Names(ulong set) => set == 0 ? "none" : string.Join(' ', Enumerable.Range(0, settings.Nodes.Length).Where(n => (set >> n & 1) != 0).Select(n => settings.Nodes[n]));
}
