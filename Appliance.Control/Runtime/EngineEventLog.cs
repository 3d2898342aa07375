using Appliance.Control.Failover;
using Appliance.Control.Model;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>Makes a log line of each event that the engine reports, with the names of boxes and links and the cause.</summary>
public sealed class EngineEventLog(BoxSettings settings, StructuredLog log)
{
    private const string Component = "engine";

    /// <summary>Writes one event.</summary>
    public void Write(in EngineEvent e)
    {
        (string, object?) peer = ("peer", Name(e.Node)), link = ("link", BoxStatements.Name((LinkRole)e.Link));
        switch (e.Kind)
        {
            case EngineEventKind.Started:
            case EngineEventKind.Running:
            case EngineEventKind.Leaving:
                log.Info(Component, Word(e.Kind));
                break;
            case EngineEventKind.PeerDied:
                log.Warning(Component, Word(e.Kind), LivenessSentences.Sentence((DeathCause)e.Cause), peer);
                break;
            case EngineEventKind.LinkUnusable:
                log.Warning(Component, Word(e.Kind), "its beats are missing there, or it reports that one of its traffic links is down", peer, link);
                break;
            case EngineEventKind.LinkUsable:
                log.Info(Component, Word(e.Kind), peer, link);
                break;
            case EngineEventKind.MembershipChanged:
                log.Info(Component, Word(e.Kind), ("proxies", Names(e.Value)));
                break;
            case EngineEventKind.OwnPause:
                log.Warning(Component, Word(e.Kind), "this box was stopped or starved; it asks its peers before it goes on", ("ms", e.Value / 1_000_000));
                break;
            case EngineEventKind.PauseResolved when e.Value != 0:
                log.Warning(Component, Word(e.Kind), "a peer counted this box as dead meanwhile: what waited is dropped", peer);
                break;
            case EngineEventKind.CountedDead:
                log.Warning(Component, Word(e.Kind), "a peer has counted this box as dead", peer);
                break;
            case EngineEventKind.ClockSkew:
                log.Warning(Component, Word(e.Kind), "the clocks differ and handshakes may fail: synchronise them", peer, ("ms", e.Value));
                break;
            case EngineEventKind.NodeListDiffers:
                log.Warning(Component, Word(e.Kind), "the peer has another list of boxes and is not used: give all boxes the same list", peer);
                break;
            case EngineEventKind.CarrierDown:
                log.Warning(Component, Word(e.Kind), "the interface has lost its carrier", link);
                break;
            case EngineEventKind.CarrierUp:
                log.Info(Component, Word(e.Kind), link);
                break;
            case EngineEventKind.PauseResolved:
            case EngineEventKind.Refilled:
                log.Info(Component, Word(e.Kind));
                break;
            default:
                log.Info(Component, Word(e.Kind), peer);
                break;
        }
    }

    /// <summary>The event ring was full: what is shown comes from the tables, so only log lines are missing.</summary>
    public void WriteLost(ulong lost) => log.Warning(Component, "events-lost", "the manager was away or too slow; the tables are complete, the log is not", ("events", lost));

    private static string Word(EngineEventKind kind) => ShowText.Spaced(kind.ToString(), '-');

    private string Name(byte node) => node < settings.Nodes.Length ? settings.Nodes[node] : "none";

    private string Names(ulong set) => set == 0 ? "none" : string.Join(' ', Enumerable.Range(0, settings.Nodes.Length).Where(n => (set >> n & 1) != 0).Select(n => settings.Nodes[n]));
}
