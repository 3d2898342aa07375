using Appliance.DataPath.Port;

namespace Appliance.Control.Runtime;

/// <summary>What carries a traffic link; numbers stand in the statistics segment.</summary>
public enum LinkState
{
    /// <summary>An interface with a carrier.</summary>
    Up = 0,

    /// <summary>An interface that is down or has no carrier.</summary>
    Down = 1,

    /// <summary>No interface of its name.</summary>
    Gone = 2,
}

/// <summary>What a <see cref="LinkWatch"/> asks of its surroundings; links are numbered by role.</summary>
public interface ILinkHost
{
    /// <summary>True if there is an interface of the link's name now.</summary>
    bool Exists(int link);

    /// <summary>The interface of the link's name.</summary>
    /// <exception cref="PortException">There is none.</exception>
    LinkInfo Query(int link);

    /// <summary>Opens the interface of the link's name anew.</summary>
    /// <exception cref="PortException">There is none any more, or it cannot be opened.</exception>
    void Reopen(int link);

    /// <summary>A link's state has changed.</summary>
    void Changed(int link, LinkState state);

    /// <summary>A link that was gone is open again; <see cref="Changed"/> follows.</summary>
    void Reopened(int link);
}

/// <summary>
/// Follows the interfaces of the traffic links by what the kernel announces. An interface that was removed is looked for by its
/// name and opened anew when it is there again, whatever its index. No I/O of its own, one thread. Says every
/// change once. Does not follow an interface that is renamed.
/// </summary>
public sealed class LinkWatch(ILinkHost host, ReadOnlySpan<int> indexes)
{
    private readonly int[] _indexes = indexes.ToArray();
    private readonly LinkState[] _states = new LinkState[indexes.Length];

    /// <summary>True while an interface is missing: then <see cref="Look"/> now and then.</summary>
    public bool IsAnyGone => Array.IndexOf(_states, LinkState.Gone) >= 0;

    /// <summary>Takes what the kernel announced.</summary>
    public void On(in LinkEvent change)
    {
        int link = Array.IndexOf(_indexes, change.Index);
        if (link < 0 || _states[link] == LinkState.Gone) return;
        Set(link, change.IsRemoved ? LinkState.Gone : StateOf(change.IsUp && change.HasCarrier));
    }

    /// <summary>Looks for what is gone. <paramref name="all"/>: what is there may have changed unnoticed.</summary>
    public void Look(bool all)
    {
        for (int link = 0; link < _states.Length; link++)
        {
            if (all && _states[link] != LinkState.Gone) Compare(link);
            if (_states[link] == LinkState.Gone && host.Exists(link)) TryReopen(link);
        }
    }

    private static LinkState StateOf(bool carries) => carries ? LinkState.Up : LinkState.Down;

    private void Compare(int link)
    {
        LinkState state = LinkState.Gone;
        try
        {
            if (host.Exists(link) && host.Query(link) is var now && now.Index == _indexes[link]) state = StateOf(now is { IsUp: true, HasCarrier: true });
        }
        catch (PortException)
        {
            // It was removed in between, or what has its name now is none that could be opened.
        }
        Set(link, state);
    }

    private void TryReopen(int link)
    {
        try
        {
            // Asked for before, so that what changes meanwhile is announced for an index that is known.
            LinkInfo found = host.Query(link);
            _indexes[link] = found.Index;
            host.Reopen(link);
            host.Reopened(link);
            Set(link, StateOf(found is { IsUp: true, HasCarrier: true }));
        }
        catch (PortException)
        {
            // It was removed again, or cannot be opened yet: at the next look.
        }
    }

    private void Set(int link, LinkState state)
    {
        if (_states[link] == state) return;
        _states[link] = state;
        host.Changed(link, state);
    }
}
