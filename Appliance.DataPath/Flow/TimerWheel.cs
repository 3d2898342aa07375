using System.Numerics;

namespace Appliance.DataPath.Flow;

/// <summary>What a <see cref="TimerWheel"/> calls; a struct, so that the call is direct and allocates nothing.</summary>
public interface ITimerHandler
{
    /// <summary>
    /// A timer is due. Returns the time (ns) at which it is to fire again, or 0: the handle is then
    /// free and means nothing any more. May schedule and cancel other timers, not this one.
    /// </summary>
    long Fired(int handle, int kind, int data, long nowNs);
}

/// <summary>
/// Timers of one worker: a hierarchical wheel of eight levels of 64 slots, so that every 64-bit
/// time has a place. Schedule, cancel and reschedule are O(1); a timer is moved down at most once
/// per level. A timer stands on the level of the highest digit (base 64) in which its tick differs
/// from the current one. Never fires early; fires at most one tick (2^20 ns, about 1 ms) late plus the caller's own
/// delay. All nodes are allocated at construction. Not for several threads.
/// </summary>
public sealed class TimerWheel
{
    /// <summary>Nanoseconds of a tick.</summary>
    public const long TickNs = 1L << TickShift;

    private const int TickShift = 20;
    private const int DigitBits = 6;
    private const int SlotsPerLevel = 1 << DigitBits;
    private const int Levels = 8;

    // Lists are circular through a sentinel; sentinels stand in front of the timers in one array.
    private const int DueList = Levels * SlotsPerLevel, PendingList = DueList + 1, Lists = PendingList + 1;

    private readonly Node[] _nodes;
    private readonly ulong[] _occupied = new ulong[Levels];
    private int _free;
    private ulong _current;

    /// <summary>A wheel for <paramref name="capacity"/> timers that starts at <paramref name="nowNs"/>.</summary>
    public TimerWheel(int capacity, long nowNs)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        Capacity = capacity;
        _current = FloorTick(nowNs);
        _nodes = new Node[capacity + Lists];
        for (int i = 0; i < Lists; i++) _nodes[i].Next = _nodes[i].Previous = i;
        for (int i = Lists; i < _nodes.Length - 1; i++) _nodes[i].Next = i + 1;
        _free = Lists;
    }

    /// <summary>Most timers at once.</summary>
    public int Capacity { get; }

    /// <summary>Timers that run.</summary>
    public int Count { get; private set; }

    /// <summary>True if something waits to be fired or moved already, whatever the time.</summary>
    private bool HasBacklog => _nodes[DueList].Next != DueList || _nodes[PendingList].Next != PendingList;

    /// <summary>Starts a timer that carries two numbers of the caller's; returns its handle, never 0, or 0 if there is no room.</summary>
    public int Schedule(long deadlineNs, int kind, int data)
    {
        int handle = _free;
        if (handle == 0) return 0;
        ref Node node = ref _nodes[handle];
        _free = node.Next;
        node.Kind = kind;
        node.Data = data;
        Count++;
        Place(handle, deadlineNs);
        return handle;
    }

    /// <summary>Moves a running timer.</summary>
    public void Reschedule(int handle, long deadlineNs)
    {
        Unlink(handle);
        Place(handle, deadlineNs);
    }

    /// <summary>Stops a running timer; its handle means nothing any more.</summary>
    public void Cancel(int handle)
    {
        Unlink(handle);
        Release(handle);
    }

    /// <summary>
    /// Goes to <paramref name="nowNs"/> and fires what is due, with at most <paramref name="budget"/>
    /// timers fired or moved; true if work is left for the next call. Time never goes back.
    /// </summary>
    public bool Advance<THandler>(long nowNs, ref THandler handler, int budget) where THandler : struct, ITimerHandler
    {
        ulong target = Math.Max(FloorTick(nowNs), _current);
        while (true)
        {
            for (int handle = _nodes[DueList].Next; handle != DueList; handle = _nodes[DueList].Next)
            {
                if (budget-- <= 0) return true;
                Fire(handle, nowNs, ref handler);
            }
            for (int handle = _nodes[PendingList].Next; handle != PendingList; handle = _nodes[PendingList].Next)
            {
                if (budget-- <= 0) return true;
                Unlink(handle);
                Place(handle, _nodes[handle].Deadline);
            }
            if (_nodes[DueList].Next != DueList) continue;
            if (!TryNextEvent(out ulong tick, out int list) || tick > target)
            {
                _current = target;
                return false;
            }
            _current = tick;
            TakeAll(list);
        }
    }

    /// <summary>
    /// A time not later than the next deadline's tick, and later than now if nothing is due: sleep
    /// until then. <see cref="long.MaxValue"/> without timers.
    /// </summary>
    public long NextDeadline()
    {
        if (HasBacklog) return 0;
        return TryNextEvent(out ulong tick, out _) ? (long)Math.Min(tick << TickShift, long.MaxValue) : long.MaxValue;
    }

    private static ulong FloorTick(long ns) => (ulong)Math.Max(ns, 0) >> TickShift;

    private void Fire<THandler>(int handle, long nowNs, ref THandler handler) where THandler : struct, ITimerHandler
    {
        Unlink(handle);
        ref Node node = ref _nodes[handle];
        long again = handler.Fired(handle, node.Kind, node.Data, nowNs);
        if (again == 0) Release(handle);
        else Place(handle, again);
    }

    // On the lowest level that is not empty, the first slot: all its slots lie ahead of the current digit.
    private bool TryNextEvent(out ulong tick, out int list)
    {
        for (int level = 0; level < Levels; level++)
        {
            if (_occupied[level] == 0) continue;
            int slot = BitOperations.TrailingZeroCount(_occupied[level]);
            int shift = level * DigitBits;
            ulong above = _current >> (shift + DigitBits) << (shift + DigitBits);
            tick = above | ((ulong)slot << shift);
            list = level * SlotsPerLevel + slot;
            return true;
        }
        tick = 0;
        list = 0;
        return false;
    }

    private void Place(int handle, long deadlineNs)
    {
        ref Node node = ref _nodes[handle];
        node.Deadline = deadlineNs;
        // Rounded up: never early.
        ulong tick = (ulong)Math.Max(deadlineNs, 0) + (TickNs - 1) >> TickShift;
        int list = DueList;
        if (tick > _current)
        {
            int level = BitOperations.Log2(tick ^ _current) / DigitBits;
            int slot = (int)(tick >> (level * DigitBits)) & (SlotsPerLevel - 1);
            list = level * SlotsPerLevel + slot;
            _occupied[level] |= 1ul << slot;
        }
        int last = _nodes[list].Previous;
        node.Next = list;
        node.Previous = last;
        _nodes[last].Next = handle;
        _nodes[list].Previous = handle;
    }

    private void Unlink(int handle)
    {
        ref Node node = ref _nodes[handle];
        int next = node.Next, previous = node.Previous;
        _nodes[previous].Next = next;
        _nodes[next].Previous = previous;
        // Only a sentinel can be both neighbours: the list is empty now.
        if (next == previous && next < DueList) ClearBit(next);
    }

    private void TakeAll(int list)
    {
        int first = _nodes[list].Next, last = _nodes[list].Previous;
        _nodes[list].Next = _nodes[list].Previous = list;
        _nodes[PendingList].Next = first;
        _nodes[PendingList].Previous = last;
        _nodes[first].Previous = PendingList;
        _nodes[last].Next = PendingList;
        ClearBit(list);
    }

    private void ClearBit(int list) => _occupied[list / SlotsPerLevel] &= ~(1ul << (list % SlotsPerLevel));

    private void Release(int handle)
    {
        _nodes[handle].Next = _free;
        _free = handle;
        Count--;
    }

    private struct Node
    {
        public long Deadline;
        public int Next, Previous;
        public int Kind, Data;
    }
}
