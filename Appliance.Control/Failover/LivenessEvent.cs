namespace Appliance.Control.Failover;

/// <summary>Why a node counts as dead.</summary>
public enum DeathCause : byte
{
    None = 0,

    /// <summary>Missed on every link.</summary>
    Silence,

    /// <summary>The idle connection to its engine closed.</summary>
    ConnectionClosed,

    /// <summary>Its supervisor said so.</summary>
    Supervisor,

    /// <summary>Its kernel says that nobody listens on its port.</summary>
    PortUnreachable,

    /// <summary>It has started anew.</summary>
    Restarted,

    /// <summary>It had said that it leaves, then it ended.</summary>
    Left,
}

/// <summary>What a <see cref="LivenessCore"/> reports.</summary>
public enum LivenessEventKind : byte
{
    None = 0,

    /// <summary>Node is alive; Value is its incarnation.</summary>
    NodeUp,

    /// <summary>Node is dead of Cause; Value is its incarnation.</summary>
    NodeDied,

    /// <summary>Node became usable on Link; stopped being usable on Link.</summary>
    LinkUsable,
    LinkUnusable,

    /// <summary>The table of proxies is Membership now, version Value.</summary>
    MembershipChanged,

    /// <summary>This box was away for Value nanoseconds; hold what is to be transmitted until <see cref="PauseResolved"/>.</summary>
    OwnPause,

    /// <summary>The peers were asked. Value is 1 if Node counted this box dead meanwhile: drop what waits; 0: go on.</summary>
    PauseResolved,

    /// <summary>Node counted this box dead since we last heard from it.</summary>
    CountedDead,

    /// <summary>Node's clock and ours differ by Value milliseconds, more than cookies bear; they agree again.</summary>
    ClockSkew,
    ClockAgrees,

    /// <summary>Node has another list of names: it is not used; it has the same list again.</summary>
    NodeListDiffers,
    NodeListAgrees,

    /// <summary>Node has another configuration, Value (once for each other one): it is used all the same; it has the same again.</summary>
    ConfigurationDiffers,
    ConfigurationAgrees,

    /// <summary>Somebody with our key beats in this box's name; Value is that incarnation.</summary>
    NameTaken,
}

/// <summary>One report of a <see cref="LivenessCore"/>.</summary>
public readonly record struct LivenessEvent(LivenessEventKind Kind, byte Node, byte Link, DeathCause Cause, ulong Value, ulong Membership);

/// <summary>The operator's sentence for each event.</summary>
public static class LivenessSentences
{
    /// <summary>One plain sentence; the caller knows the names. Allocates.</summary>
    public static string Sentence(in LivenessEvent e, Func<byte, string> name) => e.Kind switch
    {
        LivenessEventKind.NodeUp => $"{name(e.Node)} is alive",
        LivenessEventKind.NodeDied => $"{name(e.Node)} is dead: {Sentence(e.Cause)}",
        LivenessEventKind.LinkUsable => $"{name(e.Node)} is usable on the {LinkName(e.Link)} link",
        LivenessEventKind.LinkUnusable => $"{name(e.Node)} is not usable on the {LinkName(e.Link)} link",
        LivenessEventKind.MembershipChanged => $"the table of proxies has version {e.Value}, set {e.Membership:x}",
        LivenessEventKind.OwnPause => $"this box was away for {e.Value / 1_000_000} ms and asks its peers",
        LivenessEventKind.PauseResolved => e.Value == 0 ? "no peer counted this box dead: it goes on" : $"{name(e.Node)} counted this box dead: what waited is dropped",
        LivenessEventKind.CountedDead => $"{name(e.Node)} has counted this box dead",
        LivenessEventKind.ClockSkew => $"the clocks of {name(e.Node)} and this box differ by {e.Value} ms: handshakes may fail; synchronise them",
        LivenessEventKind.ClockAgrees => $"the clocks of {name(e.Node)} and this box agree again",
        LivenessEventKind.NodeListDiffers => $"{name(e.Node)} has another list of peers: it is not used; give all boxes the same list",
        LivenessEventKind.NodeListAgrees => $"{name(e.Node)} has the same list of peers again",
        LivenessEventKind.ConfigurationDiffers => $"{name(e.Node)} has another configuration: {e.Value:x16}",
        LivenessEventKind.ConfigurationAgrees => $"{name(e.Node)} has the same configuration again",
        LivenessEventKind.NameTaken => "another box has this one's name",
        _ => e.Kind.ToString(),
    };

    /// <summary>One plain sentence.</summary>
    public static string Sentence(DeathCause cause) => cause switch
    {
        DeathCause.Silence => "its beats are missing on every link",
        DeathCause.ConnectionClosed => "the connection to its engine closed",
        DeathCause.Supervisor => "its supervisor announced the exit",
        DeathCause.PortUnreachable => "its host says that nobody listens on its port",
        DeathCause.Restarted => "it has started anew",
        DeathCause.Left => "it had announced that it leaves",
        _ => cause.ToString(),
    };

    /// <summary>Name of a link.</summary>
    public static string LinkName(byte link) => link switch
    {
        Links.External => "external",
        Links.Internal => "internal",
        _ => "sync",
    };
}
