using System.Globalization;
using System.Text;

namespace Appliance.Tests.Simulation;

/// <summary>What can befall a box.</summary>
internal enum FaultKind
{
    /// <summary>Its process dies; its peers are told.</summary>
    KillProcess,

    /// <summary>The machine dies silently.</summary>
    KillBox,

    /// <summary>SIGSTOP, later SIGCONT.</summary>
    Pause,

    /// <summary>A traffic link loses carrier.</summary>
    LinkDown,

    /// <summary>A traffic link loses everything one way or both, carrier stays.</summary>
    Blackhole,

    /// <summary>The sync network falls apart.</summary>
    Partition,

    /// <summary>Sync datagrams are lost, duplicated, reordered, truncated for a while.</summary>
    SyncBurst,
}

/// <summary>
/// One fault: at a time, or when the <see cref="Skip"/>+1st connection enters <see cref="State"/> at any box (then that
/// box is hit if <see cref="Box"/> is -1). Ends after <see cref="DurationNs"/>; 0: never.
/// </summary>
internal sealed class FaultEvent
{
    public FaultKind Kind { get; init; }

    public int Box { get; init; } = -1;

    public long AtNs { get; init; }

    public string? State { get; init; }

    public long Connection { get; init; } = -1;

    public int Skip { get; set; }

    /// <summary>Between the trigger and the blow.</summary>
    public long DelayNs { get; init; }

    public long DurationNs { get; init; }

    public int Detail { get; init; }

    public bool IsDone { get; set; }

    /// <summary>How often it was put off.</summary>
    public int Tries { get; set; }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Kind} box {Box} {(State is null ? $"at {AtNs / 1e6:f3} ms" : $"in \"{State}\" +{DelayNs / 1e6:f3} ms")} for {DurationNs / 1e6:f3} ms");
}

/// <summary>How often which fault met a connection in which state; summed over seeds, safe for several threads.</summary>
internal sealed class FaultCoverage
{
    private readonly SortedDictionary<string, int[]> _counts = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();

    /// <summary>Counts <paramref name="connections"/> connections in <paramref name="state"/> (or "-": none at all) hit by a fault.</summary>
    public void Hit(string state, FaultKind kind, int connections = 1)
    {
        lock (_lock)
        {
            if (!_counts.TryGetValue(state, out int[]? row)) _counts[state] = row = new int[Enum.GetValues<FaultKind>().Length];
            row[(int)kind] += connections;
        }
    }

    public int this[string state, FaultKind kind]
    {
        get
        {
            lock (_lock) return _counts.TryGetValue(state, out int[]? row) ? row[(int)kind] : 0;
        }
    }

    /// <summary>The table as text.</summary>
    public string Table()
    {
        var text = new StringBuilder($"{"state",-24}");
        foreach (FaultKind kind in Enum.GetValues<FaultKind>()) text.Append(CultureInfo.InvariantCulture, $"{kind,13}");
        lock (_lock)
        {
            foreach ((string state, int[] row) in _counts)
            {
                text.Append(CultureInfo.InvariantCulture, $"\n{state,-24}");
                foreach (int count in row) text.Append(CultureInfo.InvariantCulture, $"{count,13}");
            }
        }
        return text.ToString();
    }
}

/// <summary>Carries out a seed's faults, at their times or when boxes report the states that trigger them.</summary>
internal sealed class FaultPlan(Scenario scenario, FaultCoverage coverage) : SimActor, IFaultTrigger
{
    private const int CodeEnd = 1000, MostTries = 200, AtTimes = 3;
    private const long TryAgainNs = 50 * SimWorld.Millisecond;

    private readonly Dictionary<(int Node, long Connection), string> _states = [];
    private readonly List<FaultEvent> _events = [];
    private readonly List<int> _hit = [];

    public IReadOnlyList<FaultEvent> Events => _events;

    /// <summary>Faults that happened, and the virtual time when the last of them ends.</summary>
    public int Fired { get; private set; }

    public long LastEnd { get; private set; }

    /// <summary>Draws the seed's faults.</summary>
    public void Draw()
    {
        ScenarioOptions options = scenario.Options;
        SimRandom random = SimRandom.For(scenario.World.Seed, 3);
        for (int i = 0; i < options.Faults; i++)
        {
            // Not every state is entered often enough in every seed: some faults come at their time, whatever happens.
            bool byState = options.FaultStates.Length > 0 && i >= AtTimes && random.Below(3) != 0;
            Add(new FaultEvent
            {
                Kind = options.FaultKinds[random.Below(options.FaultKinds.Length)],
                Box = byState && random.Below(4) != 0 ? -1 : random.Below(Math.Max(1, scenario.Boxes.Count)),
                AtNs = random.Between(0, i < AtTimes ? options.StartSpreadNs : options.StartSpreadNs * 2),
                State = byState ? options.FaultStates[random.Below(options.FaultStates.Length)] : null,
                Skip = random.Below(options.Connections / 2),
                DelayNs = random.Below(2) == 0 ? 0 : random.Between(0L, 2 * SimWorld.Millisecond),
                DurationNs = random.Below(4) switch { 0 => random.Between(1L, 10 * SimWorld.Millisecond), 1 when random.Below(3) == 0 => 5 * SimWorld.Second, _ => random.Between(10 * SimWorld.Millisecond, SimWorld.Second) },
                Detail = random.Below(1 << 16),
            });
        }
    }

    /// <summary>Adds a fault; before the run starts.</summary>
    public void Add(FaultEvent fault)
    {
        _events.Add(fault);
        if (fault.State is null) scenario.World.Schedule(fault.AtNs, this, _events.Count - 1);
    }

    /// <inheritdoc/>
    public void Entered(SimNode node, string? state, long connection)
    {
        if (state is null)
        {
            _states.Remove((node.Number, connection));
            return;
        }
        _states[(node.Number, connection)] = state;
        for (int i = 0; i < _events.Count; i++)
        {
            FaultEvent fault = _events[i];
            if (fault.IsDone || fault.State != state || (fault.Connection >= 0 && fault.Connection != connection)) continue;
            if (fault.Skip-- > 0) continue;
            fault.IsDone = true;
            while (_hit.Count <= i) _hit.Add(-1);
            _hit[i] = node.Number;
            scenario.World.Schedule(scenario.World.Now + fault.DelayNs, this, i);
        }
    }

    /// <inheritdoc/>
    protected internal override void OnEvent(int code, SimFrame? frame)
    {
        bool ends = code >= CodeEnd;
        int index = ends ? code - CodeEnd : code;
        FaultEvent fault = _events[index];
        fault.IsDone = true;
        SimNode? box = BoxOf(fault, index);
        if (box is null) return;
        if (ends)
        {
            End(fault, box);
            return;
        }
        if (fault.Kind != FaultKind.SyncBurst && !IsAllowed(box))
        {
            PutOff(fault, index);
            return;
        }
        Fired++;
        Count(fault.Kind, box);
        scenario.World.Log?.WriteLine($"{scenario.World.Now / 1e6,11:f3} FAULT {fault} hits {box.Name}");
        Begin(fault, box);
        LastEnd = Math.Max(LastEnd, scenario.World.Now + fault.DurationNs);
        if (fault.DurationNs > 0) scenario.World.Schedule(scenario.World.Now + fault.DurationNs, this, index + CodeEnd);
    }

    private bool IsAllowed(SimNode box) =>
        scenario.Options.MayHit?.Invoke(scenario, box) != false && (!scenario.Options.KeepOneHealthy || OthersHealthy(box));

    // Waits for its time, or for the next connection in its state.
    private void PutOff(FaultEvent fault, int index)
    {
        if (fault.Tries++ == MostTries) return;
        if (fault.State is null) scenario.World.Schedule(scenario.World.Now + TryAgainNs, this, index);
        else fault.IsDone = false;
    }

    private SimNode? BoxOf(FaultEvent fault, int index)
    {
        for (int i = 0; i < scenario.Boxes.Count; i++)
        {
            if (fault.Box >= 0 ? i == fault.Box : index < _hit.Count && scenario.Boxes[i].Number == _hit[index]) return scenario.Boxes[i];
        }
        return null;
    }

    private bool OthersHealthy(SimNode hit)
    {
        for (int i = 0; i < scenario.Boxes.Count; i++)
        {
            SimNode box = scenario.Boxes[i];
            if (box != hit && box.IsAlive && !box.IsPaused && box.Ports.TrueForAll(port => port is { IsUp: true, LosesSent: false, LosesReceived: false })) return true;
        }
        return false;
    }

    private void Count(FaultKind kind, SimNode box)
    {
        bool any = false;
        foreach (((int Node, long Connection) at, string state) in _states)
        {
            if (at.Node != box.Number) continue;
            coverage.Hit(state, kind);
            any = true;
        }
        if (!any) coverage.Hit("-", kind);
        if (kind is not (FaultKind.KillProcess or FaultKind.KillBox)) return;
        foreach ((int Node, long Connection) key in _states.Keys.Where(key => key.Node == box.Number).ToArray()) _states.Remove(key);
    }

    private void Begin(FaultEvent fault, SimNode box)
    {
        SimPort? port = box.Ports.Count > 0 ? box.Ports[fault.Detail % box.Ports.Count] : null;
        switch (fault.Kind)
        {
            case FaultKind.KillProcess:
                if (box.IsAlive) scenario.Bell.Ring(box);
                box.Kill();
                break;
            case FaultKind.KillBox:
                box.Kill();
                break;
            case FaultKind.Pause:
                box.Pause();
                break;
            case FaultKind.LinkDown:
                SetCarrier(box, port, up: false);
                break;
            case FaultKind.Blackhole:
                if (port is null) break;
                port.LosesSent = (fault.Detail >> 8) % 3 != 0;
                port.LosesReceived = (fault.Detail >> 8) % 3 != 1;
                break;
            case FaultKind.Partition:
                scenario.Sync.SetGroup(box.Number, 1);
                break;
            case FaultKind.SyncBurst:
                scenario.Sync.Profile = scenario.Options.Sync with { LossPpm = 300_000, DuplicatePpm = 200_000, ReorderPpm = 300_000, TruncatePpm = 100_000 };
                break;
            default:
                throw new InvalidOperationException($"{fault.Kind}");
        }
    }

    private void End(FaultEvent fault, SimNode box)
    {
        SimPort? port = box.Ports.Count > 0 ? box.Ports[fault.Detail % box.Ports.Count] : null;
        scenario.World.Log?.WriteLine($"{scenario.World.Now / 1e6,11:f3} FAULT ends: {fault} at {box.Name}");
        switch (fault.Kind)
        {
            case FaultKind.KillProcess or FaultKind.KillBox:
                box.Restart();
                break;
            case FaultKind.Pause:
                box.Resume();
                break;
            case FaultKind.LinkDown:
                SetCarrier(box, port, up: true);
                break;
            case FaultKind.Blackhole:
                if (port is not null) port.LosesSent = port.LosesReceived = false;
                break;
            case FaultKind.Partition:
                scenario.Sync.SetGroup(box.Number, 0);
                break;
            default:
                scenario.Sync.Profile = scenario.Options.Sync;
                break;
        }
    }

    private void SetCarrier(SimNode box, SimPort? port, bool up)
    {
        if (port is null) return;
        port.IsUp = up;
        if (box.IsAlive) box.TakeCarrier(port.Index, up);
    }
}
