using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Follows how a splice ends (SPLICE 10): half closed, both finished and acknowledged
/// (time-wait, 60 s), reset (10 s). Closed splices wait in two queues, each with one lifetime, so the oldest ends
/// first and nothing is searched; when the table runs short, time-wait ends early. A record is never
/// forgotten for an inexact RST. Open splices that nobody uses end by the <see cref="SpliceSweeper"/>.
/// </summary>
public sealed class CloseTracker
{
    private const long TimeWaitNs = 60_000_000_000, ResetNs = 10_000_000_000, MinTimeWaitNs = 1_000_000_000;

    // Before the receiver of a reset has named its window.
    private const uint SmallestWindow = ushort.MaxValue;

    private readonly ISpliceHost _host;
    private readonly SpliceTable _splices;
    private readonly Expiry _timeWait;
    private readonly Expiry _reset;

    /// <summary>A tracker for the splices of one table.</summary>
    public CloseTracker(ISpliceHost host, SpliceTable splices)
    {
        _host = host;
        _splices = splices;
        _timeWait = new Expiry(splices.Capacity);
        _reset = new Expiry(splices.Capacity);
    }

    /// <summary>When the oldest closed splice ends, ns.</summary>
    public long NextDeadline => Math.Min(_timeWait.Next, _reset.Next);

    /// <summary>When this box learnt that a record in time-wait was closed, ns.</summary>
    public static long ClosedAt(in SpliceRecord record) => record.Deadline - TimeWaitNs;

    /// <summary>A FIN passed, or anything once a FIN has: moves the record's state on. Call after the entry has observed the packet.</summary>
    public void Follow(int index)
    {
        ref SpliceRecord record = ref _splices.Record(index);
        if (record.State >= SpliceState.TimeWait) return;
        ref RewriteEntry toServer = ref _splices.Entry(record.ToServer);
        ref RewriteEntry toClient = ref _splices.Entry(record.ToClient);
        if (toServer.FinSeen + toClient.FinSeen == 0) return;
        if (record.State == SpliceState.Established) Move(index, SpliceState.HalfClosed);
        if (toServer.FinSeen + toClient.FinSeen < 2) return;
        bool clientFinAcked = new TcpSeq(toClient.AckSeen) + toClient.AckDelta > new TcpSeq(toServer.FinSeq);
        bool serverFinAcked = new TcpSeq(toServer.AckSeen) + toServer.AckDelta > new TcpSeq(toClient.FinSeq);
        if (clientFinAcked && serverFinAcked) Move(index, SpliceState.TimeWait);
    }

    /// <summary>A RST passes: exact ones end the splice, others leave it to the end that knows (RFC 5961).</summary>
    public void OnReset(int index, FlowDirection direction, TcpSeq seq)
    {
        ref SpliceRecord record = ref _splices.Record(index);
        ref RewriteEntry same = ref _splices.Entry(direction == FlowDirection.ToServer ? record.ToServer : record.ToClient);
        ref RewriteEntry other = ref _splices.Entry(direction == FlowDirection.ToServer ? record.ToClient : record.ToServer);
        // What the receiver expects next is what it acknowledged last, in this direction's space.
        TcpSeq expected = new TcpSeq(other.AckSeen) + other.AckDelta;
        // Behind bytes that it has not acknowledged yet it counts too, but only in its window: whatever was seen to come from the sender may be anybody's.
        TcpSeq edge = TcpSeq.Max(new TcpSeq(other.RightEdge), new TcpSeq(other.AckSeen) + SmallestWindow) + other.AckDelta;
        if (seq != expected && (seq != new TcpSeq(same.SeqNext) || !seq.IsWithin(expected, edge))) return;
        _host.Statistics[Counter.SplicesReset]++;
        Move(index, SpliceState.Reset);
    }

    /// <summary>The client gave up before its request was released: the splice is over.</summary>
    public void OnAbandoned(int index)
    {
        ref SpliceRecord record = ref _splices.Record(index);
        _splices.SetSlowPath(record.ToServer, slow: false);
        _host.Statistics[Counter.SplicesReset]++;
        Move(index, SpliceState.Reset);
    }

    /// <summary>A record came, or changed, from a peer: its end is timed here too.</summary>
    public void OnImported(int index) => Enlist(index);

    /// <summary>Ends what is due, at most <paramref name="most"/> splices.</summary>
    public void Advance(long now, int most)
    {
        bool tight = _splices.Count > _splices.Capacity - _splices.Capacity / 16;
        while (most-- > 0 && (End(_timeWait, now, tight) || End(_reset, now, tight: false)))
        {
        }
    }

    private bool End(Expiry queue, long now, bool tight)
    {
        if (!queue.TryPeek(out int index, out ulong id, out long due)) return false;
        if (now < due && !(tight && now >= due - TimeWaitNs + MinTimeWaitNs)) return false;
        queue.Pop();
        if (_splices.IsLive(index) && _splices.Record(index).Id == id && _splices.Record(index).State >= SpliceState.TimeWait)
        {
            _splices.Remove(index);
            _host.Statistics[Counter.SplicesClosed]++;
        }
        return true;
    }

    private void Move(int index, SpliceState state)
    {
        SpliceRecord changed = _splices.Record(index);
        changed.State = state;
        changed.Version++;
        if (state >= SpliceState.TimeWait) changed.FloorOpen = 0;
        _splices.Change(index, changed);
        SpliceEvent message = new() { Kind = SpliceEventKind.Changed, Record = changed, Progress = _splices.ProgressOf(index) };
        _host.Publish(message);
        Enlist(index);
    }

    private void Enlist(int index)
    {
        ref SpliceRecord record = ref _splices.Record(index);
        if (record.State == SpliceState.TimeWait) _timeWait.Push(index, record.Id, record.Deadline = _host.Now + TimeWaitNs);
        else if (record.State == SpliceState.Reset) _reset.Push(index, record.Id, record.Deadline = _host.Now + ResetNs);
    }

    /// <summary>A ring of (index, id, due) in order of due; as long as the table, doubled for records that change twice.</summary>
    private sealed class Expiry(int capacity)
    {
        private readonly (int Index, ulong Id, long Due)[] _ring = new (int, ulong, long)[capacity * 2];
        private int _first, _count;

        public long Next => _count == 0 ? long.MaxValue : _ring[_first].Due;

        public void Push(int index, ulong id, long due)
        {
            if (_count == _ring.Length) return;
            _ring[(_first + _count++) % _ring.Length] = (index, id, due);
        }

        public bool TryPeek(out int index, out ulong id, out long due)
        {
            (index, id, due) = _ring[_first];
            return _count > 0;
        }

        public void Pop()
        {
            _first = (_first + 1) % _ring.Length;
            _count--;
        }
    }
}
