using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>
/// Next hops and their MACs, for ARP and neighbour discovery alike (RFC 826, RFC 4861 7.2, 7.3): what to ask, when to
/// ask again (1 s, 3 times), what to keep meanwhile. An index means the same next hop while it has a user (a flow entry,
/// or for good: <see cref="Pin"/>); of those without, a full table gives up the one that was resolved longest ago, never the
/// one resolved last, which its caller still holds. No I/O: the caller builds and sends what an
/// action says. The MAC of an index is read without a lock by any
/// thread; everything else takes one lock. Nothing is allocated after construction.
/// </summary>
public sealed class NeighborTable : IDisposable
{
    /// <summary>Nanoseconds between questions; how long a confirmed MAC counts as fresh.</summary>
    public const long RetransmitNs = 1_000_000_000, ReachableNs = 30_000_000_000;

    /// <summary>Questions before a next hop counts as failed; frames that may wait for one.</summary>
    public const int MaxTries = 3, MaxQueue = 8;

    // Looking for what is due costs a walk over the table: not for each of many that are due one after the other.
    private const long PollEveryNs = 10_000_000;

    private readonly Lock _gate = new();
    private readonly Dictionary<(byte Link, IpAddr Address), ushort> _index;
    private readonly Neighbor[] _neighbors;
    private readonly ulong[] _macs;
    private readonly byte[] _used;

    // Those without users in the order in which they were last resolved: a ring through 0.
    private readonly ushort[] _older, _newer;
    private readonly WaitingFrames _waiting;
    private long _earliest = long.MaxValue;
    private int _idle;

    /// <summary>A table for <paramref name="capacity"/> next hops (at most 65534) and <paramref name="frames"/> waiting frames of up to <paramref name="frameSize"/> bytes.</summary>
    public NeighborTable(int capacity, int frames, int frameSize)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, ushort.MaxValue - 1);
        _index = new Dictionary<(byte, IpAddr), ushort>(capacity);
        _neighbors = new Neighbor[capacity + 1];
        _macs = new ulong[capacity + 1];
        _used = new byte[capacity + 1];
        _older = new ushort[capacity + 1];
        _newer = new ushort[capacity + 1];
        _waiting = new WaitingFrames(frames, frameSize);
    }

    /// <summary>Next hops known.</summary>
    public int Count => _index.Count;

    /// <summary>Frames that waited in vain.</summary>
    public long DroppedFrames { get; private set; }

    /// <summary>Next hops given up for others.</summary>
    public long Evicted { get; private set; }

    /// <summary>The index of a next hop that is needed, new or old; 0 if the table is full of such as have users. Asks nobody yet.</summary>
    public ushort Resolve(byte link, IpAddr address)
    {
        lock (_gate)
        {
            if (!_index.TryGetValue((link, address), out ushort index)) return Take(link, address, mayEvict: true);
            if (_neighbors[index].Users != 0) return index;
            Unlink(index);
            Append(index);
            return index;
        }
    }

    /// <summary>Makes room for a next hop that is only likely to be needed, if that costs no other its place.</summary>
    public void Expect(byte link, IpAddr address)
    {
        lock (_gate)
        {
            if (!_index.ContainsKey((link, address))) Take(link, address, mayEvict: false);
        }
    }

    /// <summary>Keeps a place for a next hop for good: a gateway, a server.</summary>
    public void Pin(byte link, IpAddr address) => AddUser(Resolve(link, address));

    /// <summary>A flow entry names this index: it keeps its meaning until <see cref="RemoveUser"/>. Without effect for 0.</summary>
    public void AddUser(ushort index)
    {
        lock (_gate)
        {
            if (index != 0 && _neighbors[index].Users++ == 0) Unlink(index);
        }
    }

    /// <summary>The entry is gone.</summary>
    public void RemoveUser(ushort index)
    {
        lock (_gate)
        {
            if (index != 0 && --_neighbors[index].Users == 0) Append(index);
        }
    }

    /// <summary>The MAC to send to, and the link; false if it is not known: then <see cref="Enqueue"/>.</summary>
    public bool TryGetMac(ushort index, out MacAddress mac, out byte link)
    {
        mac = new MacAddress(Volatile.Read(ref _macs[index]));
        link = _neighbors[index].Link;
        // Read first: the line stays shared between the workers.
        if (_used[index] == 0) _used[index] = 1;
        return !mac.IsZero;
    }

    /// <summary>Its state, for show and tests.</summary>
    public NeighborState StateOf(ushort index) => _neighbors[index].State;

    /// <summary>The next hop behind an index.</summary>
    public IpAddr AddressOf(ushort index) => _neighbors[index].Address;

    /// <summary>Asks for a next hop that is not known yet, ahead of the first frame to it.</summary>
    public NeighborAction Solicit(ushort index, long nowNs)
    {
        lock (_gate)
        {
            ref Neighbor neighbor = ref _neighbors[index];
            if (_macs[index] != 0 || neighbor.State != NeighborState.Failed || nowNs < neighbor.RestUntil) return default;
            neighbor.State = NeighborState.Incomplete;
            neighbor.Tries = 0;
            return Ask(index, nowNs);
        }
    }

    /// <summary>Keeps a frame (a copy of it) until the MAC is known, and says what to ask.</summary>
    public NeighborVerdict Enqueue(ushort index, ReadOnlySpan<byte> frame, in VnetHeader vnet, long nowNs, out NeighborAction action)
    {
        lock (_gate)
        {
            action = default;
            ref Neighbor neighbor = ref _neighbors[index];
            if (_macs[index] != 0) return NeighborVerdict.Resolved;
            if (neighbor.State == NeighborState.Failed)
            {
                if (nowNs < neighbor.RestUntil) return NeighborVerdict.Unresolved;
                neighbor.State = NeighborState.Incomplete;
                neighbor.Tries = 0;
                action = Ask(index, nowNs);
            }
            bool kept = neighbor.Waiting.Count < MaxQueue && _waiting.TryAppend(ref neighbor.Waiting, frame, in vnet);
            return kept ? NeighborVerdict.Queued : NeighborVerdict.QueueFull;
        }
    }

    /// <summary>
    /// A next hop has said its MAC. <paramref name="solicited"/>: as an answer to us;
    /// <paramref name="overrides"/>: it may replace another MAC (always so with ARP). Returns its index, so that
    /// the caller sends what waits (<see cref="TryDequeue"/>); 0 if it is none of ours or nothing was believed.
    /// </summary>
    public ushort Learn(byte link, IpAddr address, MacAddress mac, bool solicited, bool overrides, long nowNs)
    {
        if (mac.IsZero || mac.IsGroup) return 0;
        lock (_gate)
        {
            if (!_index.TryGetValue((link, address), out ushort index)) return 0;
            ref Neighbor neighbor = ref _neighbors[index];
            ulong known = _macs[index];
            bool differs = known != 0 && known != mac.Value;
            if (differs && !overrides)
            {
                // RFC 4861 7.2.5: doubt what we have, but keep it.
                if (neighbor.State == NeighborState.Reachable) Become(ref neighbor, NeighborState.Stale, nowNs + RetransmitNs);
                return 0;
            }
            Volatile.Write(ref _macs[index], mac.Value);
            if (solicited) Become(ref neighbor, NeighborState.Reachable, nowNs + ReachableNs);
            else if (differs || known == 0) Become(ref neighbor, NeighborState.Stale, nowNs + RetransmitNs);
            return index;
        }
    }

    /// <summary>Takes out the oldest waiting frame, if any. Its memory is lent until <see cref="Release"/> of its slot (after the port's flush).</summary>
    public bool TryDequeue(ushort index, out FrameRef frame, out int slot)
    {
        lock (_gate) return _waiting.TryTake(ref _neighbors[index].Waiting, out frame, out slot);
    }

    /// <summary>Gives the memory of a dequeued frame back.</summary>
    public void Release(int slot)
    {
        lock (_gate) _waiting.Release(slot);
    }

    /// <summary>Fills <paramref name="actions"/> with the questions that are due; returns how many. Cheap when nothing is due; call again at once if the span was filled.</summary>
    public int Poll(long nowNs, Span<NeighborAction> actions)
    {
        if (nowNs < Volatile.Read(ref _earliest)) return 0;
        lock (_gate)
        {
            int count = 0;
            long earliest = long.MaxValue;
            for (ushort index = 1; index <= _index.Count; index++)
            {
                if (_neighbors[index].Deadline <= nowNs && count < actions.Length)
                {
                    NeighborAction action = Timeout(index, nowNs);
                    if (action.Kind != NeighborActionKind.None) actions[count++] = action;
                }
                earliest = Math.Min(earliest, _neighbors[index].Deadline);
            }
            Volatile.Write(ref _earliest, count == actions.Length ? earliest : Math.Max(earliest, nowNs + PollEveryNs));
            return count;
        }
    }

    /// <summary>A link is back: who was asked in vain is asked again by the next <see cref="Poll"/>, and nobody rests. From any thread.</summary>
    public void Restart(byte link, long nowNs)
    {
        lock (_gate)
        {
            for (ushort index = 1; index <= _index.Count; index++)
            {
                ref Neighbor neighbor = ref _neighbors[index];
                if (neighbor.Link != link || neighbor.State is NeighborState.Reachable or NeighborState.Stale) continue;
                neighbor.RestUntil = 0;
                if (neighbor.State == NeighborState.Failed && neighbor.Users == 0) continue;
                Become(ref neighbor, _macs[index] == 0 ? NeighborState.Incomplete : NeighborState.Probe, nowNs);
            }
        }
    }

    /// <summary>When <see cref="Poll"/> has something to do, at the earliest (ns).</summary>
    public long NextDeadline() => Volatile.Read(ref _earliest);

    /// <inheritdoc/>
    public void Dispose() => _waiting.Dispose();

    private ushort Take(byte link, IpAddr address, bool mayEvict)
    {
        ushort index = (ushort)(_index.Count + 1);
        if (index == _neighbors.Length)
        {
            if (!mayEvict || _idle < 2) return 0;
            index = _newer[0];
            ref Neighbor old = ref _neighbors[index];
            Empty(ref old.Waiting);
            Volatile.Write(ref _macs[index], 0);
            _used[index] = 0;
            _index.Remove((old.Link, old.Address));
            Unlink(index);
            Evicted++;
        }
        _neighbors[index] = new Neighbor { Link = link, Address = address, Deadline = long.MaxValue };
        _index.Add((link, address), index);
        Append(index);
        return index;
    }

    private void Append(ushort index)
    {
        ushort latest = _older[0];
        (_older[index], _newer[index]) = (latest, 0);
        _newer[latest] = _older[0] = index;
        _idle++;
    }

    private void Unlink(ushort index)
    {
        _newer[_older[index]] = _newer[index];
        _older[_newer[index]] = _older[index];
        _idle--;
    }

    private NeighborAction Timeout(ushort index, long nowNs)
    {
        ref Neighbor neighbor = ref _neighbors[index];
        switch (neighbor.State)
        {
            case NeighborState.Reachable:
                Become(ref neighbor, NeighborState.Stale, nowNs + RetransmitNs);
                _used[index] = 0;
                return default;
            case NeighborState.Stale when _used[index] == 0:
                // Nobody needs it: look again in a second.
                SetDeadline(ref neighbor, nowNs + RetransmitNs);
                return default;
            case NeighborState.Stale:
                Become(ref neighbor, NeighborState.Probe, nowNs);
                return Ask(index, nowNs);
            case NeighborState.Probe when neighbor.Tries >= MaxTries:
                // Perhaps it moved: its MAC is no longer used, and all are asked.
                Volatile.Write(ref _macs[index], 0);
                Become(ref neighbor, NeighborState.Incomplete, nowNs);
                return Ask(index, nowNs);
            case NeighborState.Incomplete when neighbor.Tries >= MaxTries:
                Fail(ref neighbor, nowNs);
                return default;
            default:
                return Ask(index, nowNs);
        }
    }

    private NeighborAction Ask(ushort index, long nowNs)
    {
        ref Neighbor neighbor = ref _neighbors[index];
        neighbor.Tries++;
        SetDeadline(ref neighbor, nowNs + RetransmitNs);
        var mac = new MacAddress(_macs[index]);
        NeighborActionKind kind = mac.IsZero ? NeighborActionKind.Request : NeighborActionKind.Probe;
        return new NeighborAction(kind, neighbor.Link, neighbor.Address, mac);
    }

    private void Fail(ref Neighbor neighbor, long nowNs)
    {
        Empty(ref neighbor.Waiting);
        Become(ref neighbor, NeighborState.Failed, long.MaxValue);
        neighbor.RestUntil = nowNs + RetransmitNs;
    }

    private void Empty(ref WaitingFrames.Queue queue)
    {
        while (_waiting.TryTake(ref queue, out _, out int slot))
        {
            _waiting.Release(slot);
            DroppedFrames++;
        }
    }

    private void Become(ref Neighbor neighbor, NeighborState state, long deadlineNs)
    {
        neighbor.State = state;
        neighbor.Tries = 0;
        SetDeadline(ref neighbor, deadlineNs);
    }

    private void SetDeadline(ref Neighbor neighbor, long deadlineNs)
    {
        neighbor.Deadline = deadlineNs;
        if (deadlineNs < _earliest) Volatile.Write(ref _earliest, deadlineNs);
    }

    private struct Neighbor
    {
        public IpAddr Address;
        public byte Link;
        public NeighborState State;
        public byte Tries;
        public int Users;
        public long Deadline;
        public long RestUntil;
        public WaitingFrames.Queue Waiting;
    }
}
