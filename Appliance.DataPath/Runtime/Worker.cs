using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Runtime;

/// <summary>
/// The one visible cycle of the data path: clock, commands, receive, walk, flush, release,
/// timers. Bounded work in each step; waits for nothing. Who calls it (a thread that polls, a simulation, a
/// replay) decides when. Allocates nothing.
/// </summary>
public sealed class Worker
{
    private const int BatchSize = 64, MaxCommands = 256, PrefetchFrom = 4;

    private readonly Box _box;
    private readonly FramePort[] _ports;
    private readonly SpscQueue<SpliceCommand>[] _commands;
    private readonly FrameBatch _batch = new(BatchSize);
    private long _holdUntil;

    /// <summary>A worker for <paramref name="box"/>, whose ports are given again, and the queues of its commands, one per sender.</summary>
    public Worker(Box box, FramePort[] ports, SpscQueue<SpliceCommand>[] commands)
    {
        _box = box;
        _ports = ports;
        _commands = commands;
    }

    /// <summary>The box.</summary>
    public Box Box => _box;

    /// <summary>How long this box may be away before peers count it as dead, ns.</summary>
    public long DetectionNs => _box.Config.DetectionNs;

    /// <summary>
    /// The box was away for longer than that: frames stay where they are until <see cref="SpliceCommandKind.PauseVerdict"/>
    /// says whether a peer counted it as dead meanwhile, or a bounded time is over. False if there is no peer to ask.
    /// </summary>
    public bool Hold(long now)
    {
        if (!_box.HasLivePeers) return false;
        _holdUntil = now + DetectionNs * 4;
        return true;
    }

    /// <summary>Cycles done; liveness beats only while this advances or the worker is idle.</summary>
    public long Cycles { get; private set; }

    /// <summary>When the next cycle is due without frames or commands, ns.</summary>
    public long NextDeadline => Math.Max(_box.NextDeadline, _holdUntil);

    /// <summary>One cycle; returns how many frames and commands it handled.</summary>
    public int Cycle(long now, long wallMs)
    {
        _box.SetClock(now, wallMs);
        int work = RunCommands();
        if (_box.Group.Count > 1 && now >= _holdUntil) work += TakeHandedOver();
        for (int role = 0; role < _ports.Length && now >= _holdUntil; role++)
        {
            FramePort port = _ports[role];
            int count = port.Receive(_batch);
            if (count >= PrefetchFrom) _box.Prefetch(_batch);
            _box.Process((LinkRole)role, _batch);
            if (count > 0)
            {
                _box.Egress.Flush();
                work += count;
            }
            port.Release();
        }
        // Nor may a timer send what others may have sent meanwhile.
        if (now >= _holdUntil) _box.Advance();
        _box.Egress.Flush();
        _box.Statistics[Counter.Cycles] = ++Cycles;
        return work;
    }

    private int TakeHandedOver()
    {
        int count = _box.Handovers.Take();
        if (count > 0) _box.Egress.Flush();
        return count;
    }

    // What waited is as old as the pause, and was replayed through others if we were counted as dead.
    private void EndHold(bool countedDead)
    {
        // The peers count boxes, not workers.
        if (countedDead) _box.OnCountedDead();
        // Another worker was away, not this one: nothing here is old.
        if (_holdUntil == 0) return;
        _holdUntil = 0;
        // What waits at the sharer was never handed to anybody: nobody else has it.
        if (!countedDead || (_box.Config.Roles & BoxRoles.Sharer) != BoxRoles.None) return;
        foreach (FramePort port in _ports)
        {
            for (int count = port.Receive(_batch); count > 0; count = port.Receive(_batch))
            {
                _box.Statistics[DropReason.StaleAfterPause] += count;
                port.Release();
            }
            port.Release();
        }
    }

    private int RunCommands()
    {
        int done = 0;
        foreach (SpscQueue<SpliceCommand> queue in _commands)
        {
            for (int i = 0; i < MaxCommands && queue.TryDequeue(out SpliceCommand command); i++, done++)
            {
                if (command.Kind == SpliceCommandKind.PauseVerdict) EndHold(countedDead: command.Node != 0);
                else _box.Execute(command);
            }
        }
        return done;
    }
}
