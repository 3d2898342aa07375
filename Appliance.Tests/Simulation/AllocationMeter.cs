namespace Appliance.Tests.Simulation;

/// <summary>Whose code runs, for <see cref="AllocationMeter"/>.</summary>
internal enum Component
{
    /// <summary>The world around the boxes, and what boxes hand to it.</summary>
    World,

    Worker,

    Liveness,

    Replication,
}

/// <summary>
/// What each part of the boxes allocates on the managed heap, in one thread: what is allocated between two switches is
/// charged to the part that ran. While a box does not know all others and their tables, its liveness and replication
/// are charged apart: a join, a leave or a new key may allocate there.
/// </summary>
internal sealed class AllocationMeter
{
    private readonly long[] _settled = new long[4], _joining = new long[4], _calls = new long[4];
    private Component _now;
    private bool _isJoining;
    private long _last;

    public long this[Component component] => _settled[(int)component];

    /// <summary>What was allocated while the box was not settled.</summary>
    public long WhileJoining(Component component) => _joining[(int)component];

    /// <summary>Salts that the boxes' liveness and replication derived keys for.</summary>
    public long Keys { get; set; }

    /// <summary>How often it was called.</summary>
    public long Calls(Component component) => _calls[(int)component];

    /// <summary>From now on <paramref name="component"/> runs; returns who ran before, to go back to.</summary>
    public (Component, bool) Enter(Component component, bool isJoining = false)
    {
        long now = GC.GetAllocatedBytesForCurrentThread();
        (_isJoining ? _joining : _settled)[(int)_now] += now - _last;
        _calls[(int)component]++;
        (Component, bool) before = (_now, _isJoining);
        (_now, _isJoining) = (component, isJoining);
        _last = GC.GetAllocatedBytesForCurrentThread();
        return before;
    }

    /// <summary>Back to who ran before.</summary>
    public void Leave((Component Component, bool IsJoining) before)
    {
        Enter(before.Component, before.IsJoining);
        _calls[(int)before.Component]--;
    }
}
