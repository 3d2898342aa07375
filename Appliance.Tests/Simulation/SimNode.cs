using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>
/// A machine: ports on LANs, a place on the sync network, a life that faults may end. What it does stands in the
/// overrides, which are called in virtual time and must read no clock. A paused node gets nothing; frames and datagrams
/// wait in bounded queues (kernel rings) and come all at once when it resumes. A dead one loses them.
/// A box derives from this: OnFrame fills its memory ports, <see cref="RequestStep"/> asks for a worker cycle.
/// </summary>
internal abstract class SimNode : SimActor
{
    private const int CodeWake = 0, CodeStep = 1;
    private const int QueueLimit = 4096;

    private readonly Queue<(int Port, SimFrame Frame)> _waiting = new();
    private readonly List<int> _bells = [];
    private long _scheduledWake = long.MaxValue;
    private bool _stepScheduled;

    protected SimNode(SimWorld world, string name, int number)
    {
        World = world;
        Name = name;
        Number = number;
    }

    public SimWorld World { get; }

    public string Name { get; }

    /// <summary>Number that names it on the sync network, to the bell and in plans.</summary>
    public int Number { get; }

    public List<SimPort> Ports { get; } = [];

    public bool IsAlive { get; private set; } = true;

    public bool IsPaused { get; private set; }

    /// <summary>Frames lost while paused for want of room.</summary>
    public long QueueDrops { get; private set; }

    /// <summary>Where this node reports the named states that it enters; faults may be triggered by them.</summary>
    public IFaultTrigger? Trigger { get; set; }

    /// <summary>Connects the next port; its number is the index in <see cref="Ports"/>.</summary>
    public SimPort Attach(SimLan lan, LinkProfile profile, bool offloads = false)
    {
        SimPort port = lan.Attach(this, Ports.Count, profile, offloads);
        Ports.Add(port);
        return port;
    }

    /// <summary>A frame has come; it may be rewritten in place, and is gone when the call returns.</summary>
    protected abstract void OnFrame(int port, Span<byte> frame, in VnetHeader vnet, long now);

    /// <summary>A datagram has come over the sync network.</summary>
    protected virtual void OnDatagram(int from, ReadOnlySpan<byte> datagram, long now)
    {
    }

    /// <summary>The process of <paramref name="node"/> is known to be gone (its connection closed, its supervisor said so).</summary>
    protected virtual void OnBell(int node, long now)
    {
    }

    /// <summary>When <see cref="Step"/> is to be called at the latest; <see cref="long.MaxValue"/> for never. Read after every call.</summary>
    protected virtual long NextDeadline => long.MaxValue;

    /// <summary>One cycle: timers, and what waits.</summary>
    protected virtual void Step(long now)
    {
    }

    /// <summary>It has died; all state is lost. Give unmanaged memory back.</summary>
    protected virtual void OnKilled()
    {
    }

    /// <summary>It starts again, empty, with a new incarnation.</summary>
    protected virtual void OnRestarted(long now)
    {
    }

    /// <summary>It goes on after a pause, before anything that waited is delivered.</summary>
    protected virtual void OnResumed(long now)
    {
    }

    /// <summary>Carrier of a port has changed.</summary>
    protected virtual void OnCarrier(int port, bool up, long now)
    {
    }

    /// <summary>Sends a copy of a frame.</summary>
    protected void Send(int port, ReadOnlySpan<byte> frame, in VnetHeader vnet = default)
    {
        if (IsAlive && !IsPaused) Ports[port].Send(World.Frames.Copy(frame, vnet));
    }

    /// <summary>Sends a frame that was rented from the world's pool; takes ownership.</summary>
    protected void Send(int port, SimFrame frame)
    {
        if (IsAlive && !IsPaused) Ports[port].Send(frame);
        else World.Frames.Return(frame);
    }

    /// <summary>Tells the fault plan that connection <paramref name="connection"/> is in a named state at this node; null: it is over.</summary>
    protected void Report(string? state, long connection) => Trigger?.Entered(this, state, connection);

    /// <summary>Asks for <see cref="Step"/> in <paramref name="delay"/> ns; several requests make one step (a batch).</summary>
    protected void RequestStep(long delay)
    {
        if (_stepScheduled) return;
        _stepScheduled = true;
        World.Schedule(World.Now + delay, this, CodeStep);
    }

    /// <summary>Schedules the wake-up for <see cref="NextDeadline"/>; for a node that was changed from outside.</summary>
    public void Rearm()
    {
        if (!IsAlive || IsPaused) return;
        long next = NextDeadline;
        if (next >= _scheduledWake) return;
        _scheduledWake = Math.Max(next, World.Now);
        World.Schedule(_scheduledWake, this, CodeWake);
    }

    public void Kill()
    {
        if (!IsAlive) return;
        IsAlive = false;
        IsPaused = false;
        DropWaiting();
        OnKilled();
    }

    public void Restart()
    {
        if (IsAlive) return;
        IsAlive = true;
        OnRestarted(World.Now);
        Rearm();
    }

    public void Pause() => IsPaused = IsAlive;

    public void Resume()
    {
        if (!IsPaused) return;
        IsPaused = false;
        OnResumed(World.Now);
        foreach (int node in _bells) OnBell(node, World.Now);
        _bells.Clear();
        while (IsAlive && !IsPaused && _waiting.TryDequeue(out (int Port, SimFrame Frame) next)) Process(next.Port, next.Frame);
        RequestStep(0);
        Rearm();
    }

    /// <summary>A frame arrives at port <paramref name="port"/>, or a datagram (port -1); takes ownership.</summary>
    internal void TakeFrame(int port, SimFrame frame)
    {
        if (IsAlive && !IsPaused)
        {
            Process(port, frame);
        }
        else if (IsPaused && _waiting.Count < QueueLimit)
        {
            _waiting.Enqueue((port, frame));
        }
        else
        {
            if (IsPaused) QueueDrops++;
            World.Frames.Return(frame);
        }
    }

    /// <summary>Carrier of a port has changed.</summary>
    internal void TakeCarrier(int port, bool up)
    {
        OnCarrier(port, up, World.Now);
        Rearm();
    }

    /// <summary>Somebody's death is told; a paused node hears of it when it resumes.</summary>
    internal void TakeBell(int node)
    {
        if (!IsAlive) return;
        if (IsPaused)
        {
            _bells.Add(node);
            return;
        }
        OnBell(node, World.Now);
        Rearm();
    }

    /// <inheritdoc/>
    protected internal override void OnEvent(int code, SimFrame? frame)
    {
        if (code == CodeStep) _stepScheduled = false;
        else if (World.Now < _scheduledWake) return;
        else _scheduledWake = long.MaxValue;
        if (!IsAlive || IsPaused) return;
        if (code == CodeStep || NextDeadline <= World.Now) Step(World.Now);
        Rearm();
    }

    private void Process(int port, SimFrame frame)
    {
        if (port < 0) OnDatagram(frame.Tag, frame.Span, World.Now);
        else OnFrame(port, frame.Span, frame.Vnet, World.Now);
        World.Frames.Return(frame);
        Rearm();
    }

    private void DropWaiting()
    {
        _bells.Clear();
        while (_waiting.TryDequeue(out (int Port, SimFrame Frame) next)) World.Frames.Return(next.Frame);
    }
}
