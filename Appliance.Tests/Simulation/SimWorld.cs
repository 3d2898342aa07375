using System.Buffers.Binary;

namespace Appliance.Tests.Simulation;

/// <summary>Something that events happen to.</summary>
internal abstract class SimActor
{
    /// <summary>An event of the queue is due. <paramref name="frame"/> belongs to the actor from now on.</summary>
    protected internal abstract void OnEvent(int code, SimFrame? frame);
}

/// <summary>
/// Virtual time and the queue of events, in one thread: events happen in the order of (time, order of scheduling), so a
/// seed is replayed exactly. Nothing in a world reads a clock or draws chance from elsewhere.
/// Violations found by judges are collected here; <see cref="TraceHash"/> covers every delivery.
/// </summary>
internal sealed class SimWorld(ulong seed)
{
    /// <summary>Nanoseconds.</summary>
    public const long Microsecond = 1000, Millisecond = 1_000_000, Second = 1_000_000_000;

    private Event[] _heap = new Event[4096];
    private int _count;
    private long _order;

    private struct Event
    {
        public long At, Order;
        public SimActor Target;
        public SimFrame? Frame;
        public int Code;

        public readonly bool IsBefore(in Event other) => At < other.At || (At == other.At && Order < other.Order);
    }

    /// <summary>The seed of this run.</summary>
    public ulong Seed { get; } = seed;

    /// <summary>Virtual time in ns since the start.</summary>
    public long Now { get; private set; }

    /// <summary>Wall time in ms since the Unix epoch at which the world starts; boxes' wall clock is this plus <see cref="Now"/>.</summary>
    public long WallStartMs { get; } = 1_750_000_000_000 + (long)(SimRandom.Hash(seed) % 10_000_000);

    /// <summary>Chance for links; plans have generators of their own.</summary>
    public SimRandom Random { get; } = SimRandom.For(seed, 1);

    /// <summary>Frames of this thread.</summary>
    public SimFramePool Frames { get; } = SimFramePool.OfThread;

    /// <summary>Rules that were broken, each with its evidence; empty is what a test wants.</summary>
    public List<string> Violations { get; } = [];

    /// <summary>
    /// False where several boxes may lack what the others know (profiles of backends, the offset between two clocks): a right edge may then
    /// shrink, and an echo name a time to come, which their receivers survive. Bytes are judged all the same.
    /// </summary>
    public bool JudgesEdges { get; init; } = true;

    /// <summary>
    /// False where a box may take over what another one acknowledged: the backend's own acknowledgments come later and may be lower, which their
    /// receiver takes for late ones (RFC 9293 3.10.7.4).
    /// </summary>
    public bool JudgesAcks { get; init; } = true;

    /// <summary>Events that have happened.</summary>
    public long Events { get; private set; }

    /// <summary>Fingerprint of everything delivered so far: equal seeds must give equal values.</summary>
    public ulong TraceHash { get; private set; } = 14695981039346656037;

    /// <summary>If set, gets a line for each delivery (replay of one seed).</summary>
    public TextWriter? Log { get; init; }

    /// <summary>Records a broken rule; at most 50 are kept.</summary>
    public void Violate(string what)
    {
        if (Violations.Count < 50) Violations.Add($"{Now / 1e6:f3} ms: {what}");
    }

    /// <summary>Adds an event at <paramref name="at"/> (not before now).</summary>
    public void Schedule(long at, SimActor target, int code, SimFrame? frame = null)
    {
        if (_count == _heap.Length) Array.Resize(ref _heap, _count * 2);
        var added = new Event { At = Math.Max(at, Now), Order = _order++, Target = target, Code = code, Frame = frame };
        int i = _count++;
        while (i > 0)
        {
            int parent = (i - 1) >> 1;
            if (!added.IsBefore(_heap[parent])) break;
            _heap[i] = _heap[parent];
            i = parent;
        }
        _heap[i] = added;
    }

    /// <summary>Lets the next event happen if it is due by <paramref name="until"/>.</summary>
    public bool RunOne(long until)
    {
        if (_count == 0 || _heap[0].At > until) return false;
        Event first = _heap[0];
        RemoveFirst();
        Now = first.At;
        Events++;
        first.Target.OnEvent(first.Code, first.Frame);
        return true;
    }

    /// <summary>Runs all events due by <paramref name="until"/>, then sets the time to it.</summary>
    public void RunUntil(long until)
    {
        while (RunOne(until))
        {
        }
        Now = Math.Max(Now, until);
    }

    /// <summary>Takes a delivery into <see cref="TraceHash"/>.</summary>
    public void Trace(int where, ReadOnlySpan<byte> bytes)
    {
        ulong h = (TraceHash ^ (ulong)Now ^ ((ulong)where << 48) ^ ((ulong)bytes.Length << 32)) * 1099511628211;
        int end = Math.Min(bytes.Length, 88) & ~7;
        for (int at = 0; at < end; at += 8) h = ulong.RotateLeft(h ^ BinaryPrimitives.ReadUInt64LittleEndian(bytes[at..]), 23) * 1099511628211;
        TraceHash = h;
    }

    private void RemoveFirst()
    {
        Event last = _heap[--_count];
        _heap[_count] = default;
        if (_count == 0) return;
        int i = 0;
        while (true)
        {
            int child = (2 * i) + 1;
            if (child >= _count) break;
            if (child + 1 < _count && _heap[child + 1].IsBefore(_heap[child])) child++;
            if (!_heap[child].IsBefore(last)) break;
            _heap[i] = _heap[child];
            i = child;
        }
        _heap[i] = last;
    }
}

/// <summary>A deadline that moves often: moving it later costs nothing, the old event just finds that it came early.</summary>
internal abstract class SimTimer(SimWorld world) : SimActor
{
    private long _scheduled = long.MaxValue;

    /// <summary>When <see cref="OnDeadline"/> is to be called; <see cref="long.MaxValue"/> for never.</summary>
    protected long Deadline { get; private set; } = long.MaxValue;

    /// <summary>Moves the deadline.</summary>
    protected void SetDeadline(long at)
    {
        Deadline = at;
        if (at >= _scheduled) return;
        _scheduled = at;
        world.Schedule(at, this, 0);
    }

    /// <summary>The deadline has come; it is "never" until set again.</summary>
    protected abstract void OnDeadline();

    /// <inheritdoc/>
    protected internal override void OnEvent(int code, SimFrame? frame)
    {
        if (world.Now < _scheduled) return;
        _scheduled = long.MaxValue;
        if (Deadline > world.Now)
        {
            if (Deadline != long.MaxValue) SetDeadline(Deadline);
            return;
        }
        Deadline = long.MaxValue;
        OnDeadline();
    }
}
