using Appliance.Control.Model;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.Runtime;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Membership = Appliance.DataPath.Paths.Membership;

namespace Appliance.Control.Runtime;

/// <summary>One worker, composed: its box and thread, and the queues between it and the control threads.</summary>
public sealed class EngineWorker : IDisposable
{
    private const int QueueLength = 1 << 16;

    private readonly FramePort[] _ports;

    /// <summary>Worker <paramref name="number"/> of <paramref name="group"/>, on ports of its own, which it disposes.</summary>
    public EngineWorker(BoxConfig config, WorkerGroup group, int number, FramePort[] ports, Membership membership, EngineFiles files, Quiescence quiescence, bool pinned)
    {
        _ports = ports;
        Membership = membership;
        BoxMemory memory = files.ToBoxMemory(number, (ulong)Random.Shared.NextInt64(), quiescence);
        Box = new Box(config, memory, ports, membership, Events, Clock.Now, Clock.WallMs, group, number);
        // What a box had said is taken in before its death.
        Thread = new WorkerThread(new Worker(Box, ports, [FromReplication, FromLiveness]), ports, Events, files.Status, quiescence) { Pinned = pinned };
        group.SetWake(number, Thread.Wake);
    }

    /// <summary>Its ports by link role.</summary>
    public IReadOnlyList<FramePort> Ports => _ports;

    /// <summary>Its part of the data path.</summary>
    public Box Box { get; }

    /// <summary>Its thread.</summary>
    public WorkerThread Thread { get; }

    /// <summary>Its view of the membership.</summary>
    public Membership Membership { get; }

    /// <summary>What it tells replication.</summary>
    public SpscQueue<SpliceEvent> Events { get; } = new(QueueLength);

    /// <summary>What replication tells it.</summary>
    public SpscQueue<SpliceCommand> FromReplication { get; } = new(QueueLength);

    /// <summary>What liveness tells it.</summary>
    public SpscQueue<SpliceCommand> FromLiveness { get; } = new(1024);

    /// <inheritdoc/>
    public void Dispose()
    {
        Thread.Dispose();
        Box.Dispose();
        foreach (FramePort port in _ports) port.Dispose();
    }
}

/// <summary>
/// The workers of an engine, and what the control threads ask of them together: the box advances while all of them
/// do, and was away if one of them was.
/// </summary>
public sealed class EngineWorkers : IDisposable
{
    private readonly EngineWorker[] _workers;
    private readonly WorkerGroup _group;

    /// <summary>Composes the workers on <paramref name="ports"/>, which they dispose, in the memory of <paramref name="files"/>.</summary>
    public EngineWorkers(BoxSettings settings, BoxConfig config, FramePort[][] ports, EngineFiles files)
    {
        _group = new WorkerGroup(config, ports.Length, Clock.WallMs);
        BoxConfig part = WorkerGroup.Divide(config, ports.Length);
        Membership first = new(EngineHost.NameHashes(config.Nodes));
        _workers = new EngineWorker[ports.Length];
        for (int i = 0; i < ports.Length; i++)
            _workers[i] = new EngineWorker(part, _group, i, ports[i], i == 0 ? first : new Membership(first), files, Quiescence, settings.WorkersPinned);
        Memberships = [.. _workers.Select(w => w.Membership)];
        FromLiveness = [.. _workers.Select(w => w.FromLiveness)];
        FromReplication = [.. _workers.Select(w => w.FromReplication)];
    }

    /// <summary>Each of them.</summary>
    public IReadOnlyList<EngineWorker> All => _workers;

    /// <summary>Grace periods of all tables.</summary>
    public Quiescence Quiescence { get; } = new();

    /// <summary>Every worker's view of the membership; queues to every worker.</summary>
    public Membership[] Memberships { get; }

    /// <summary>See <see cref="Memberships"/>.</summary>
    public SpscQueue<SpliceCommand>[] FromLiveness { get; }

    /// <summary>See <see cref="Memberships"/>.</summary>
    public SpscQueue<SpliceCommand>[] FromReplication { get; }

    /// <summary>True once every backend has said what it offers.</summary>
    public bool IsProfiled => _group.Profiles.IsComplete;

    /// <summary>Which backends rest.</summary>
    public RealHealth Health => _group.Health;

    /// <summary>When the slowest of them last showed that it advances.</summary>
    public long ProgressAt
    {
        get
        {
            long slowest = long.MaxValue;
            foreach (EngineWorker worker in _workers) slowest = Math.Min(slowest, worker.Thread.ProgressAt);
            return slowest;
        }
    }

    /// <summary>Mean workload factor.</summary>
    public ushort Workload
    {
        get
        {
            int sum = 0;
            foreach (EngineWorker worker in _workers) sum += worker.Thread.Workload;
            return (ushort)(sum / _workers.Length);
        }
    }

    /// <summary>The longest that one of them was away since the last call; see <see cref="WorkerThread.TakePause"/>.</summary>
    public long TakePause()
    {
        long longest = 0;
        foreach (EngineWorker worker in _workers) longest = Math.Max(longest, worker.Thread.TakePause());
        return longest;
    }

    /// <summary>Cookie keys of the present time; at least once a minute, off the packet path.</summary>
    public void PrepareCookies() => _group.Cookies.Prepare(Clock.WallMs / 1000);

    /// <summary>The ports on a link, one of each worker.</summary>
    public AfPacketPort[] PortsOn(LinkRole link) => [.. _workers.Select(w => (AfPacketPort)w.Ports[(int)link])];

    /// <summary>Starts all; <paramref name="eventsWaiting"/> is called after a cycle that left messages for replication.</summary>
    public void Start(Action eventsWaiting)
    {
        foreach (EngineWorker worker in _workers) worker.Thread.EventsWaiting = eventsWaiting;
        foreach (EngineWorker worker in _workers) worker.Thread.Start();
    }

    /// <summary>Ends their sleep: commands wait.</summary>
    public void Wake()
    {
        foreach (EngineWorker worker in _workers) worker.Thread.Wake();
    }

    /// <summary>An interface is up again: who did not answer over it meanwhile is asked at once.</summary>
    public void LinkIsBack(LinkRole link)
    {
        foreach (EngineWorker worker in _workers) worker.Box.Neighbors.Restart((byte)link, Clock.Now);
        Wake();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (EngineWorker worker in _workers) worker.Thread.Stop();
        foreach (EngineWorker worker in _workers) worker.Dispose();
        _group.Dispose();
    }
}
