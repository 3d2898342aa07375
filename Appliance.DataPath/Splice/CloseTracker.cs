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

    private readonly ISpliceHost _host;
    private readonly SpliceTable _splices;
    private readonly ResetChallenger _challenger;
    private readonly Expiry _timeWait;
    private readonly Expiry _reset;

    /// <summary>A tracker for the splices of one table.</summary>
    public CloseTracker(ISpliceHost host, SpliceTable splices)
    {
        _host = host;
        _splices = splices;
        _challenger = new ResetChallenger(host, splices);
        _timeWait = new Expiry(splices.Capacity * 2);
        _reset = new Expiry(splices.Capacity * 2);
    }

    /// <summary>When the oldest closed splice ends, or a doubted one's receiver is asked again, ns.</summary>
    public long NextDeadline => Math.Min(_challenger.NextDeadline, Math.Min(_timeWait.Next, _reset.Next));

    /// <summary>When this box learnt that a record in time-wait was closed, ns.</summary>
    public static long ClosedAt(in SpliceRecord record) => record.Deadline - TimeWaitNs;

    /// <summary>A FIN passed, or anything once a FIN has: moves the record's state on. Call after the entry has observed the packet.</summary>
    public void Follow(int index)
    {
        ref SpliceRecord record = ref _splices.Record(index);
        if (record.State >= SpliceState.TimeWait) return;
        ref RewriteEntry toServer = ref _splices.Entry(record.ToServer);
        ref RewriteEntry toClient = ref _splices.Entry(record.ToClient);
        ForgetForgedFin(ref toServer, toClient);
        ForgetForgedFin(ref toClient, toServer);
        if (toServer.FinSeen + toClient.FinSeen == 0) return;
        if (record.State == SpliceState.Established) Move(index, SpliceState.HalfClosed);
        if (toServer.FinSeen + toClient.FinSeen < 2) return;
        if (IsFinAcknowledged(toServer, toClient) && IsFinAcknowledged(toClient, toServer)) Move(index, SpliceState.TimeWait);
    }

    /// <summary>
    /// A RST passes: what its receiver expects next, exactly, ends the splice. What was seen to come from its sender
    /// proves nothing, since that may be anybody's (RFC 5961 3.2): elsewhere in the window the receiver is asked.
    /// </summary>
    public void OnReset(int index, FlowDirection direction, TcpSeq seq)
    {
        ref SpliceRecord record = ref _splices.Record(index);
        if (record.State >= SpliceState.TimeWait) return;
        bool toServer = direction == FlowDirection.ToServer;
        ref RewriteEntry same = ref _splices.Entry(toServer ? record.ToServer : record.ToClient);
        TcpSeq expected = SpliceTable.AcknowledgedBy(_splices.Entry(toServer ? record.ToClient : record.ToServer), same);
        if (seq != expected)
        {
            _challenger.OnInexact(index, direction, seq - expected);
            return;
        }
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
        _challenger.Advance();
        bool tight = _splices.Count > _splices.Capacity - _splices.Capacity / 16;
        while (most-- > 0 && (End(_timeWait, now, tight) || End(_reset, now, tight: false)))
        {
        }
    }

    private static bool IsFinAcknowledged(in RewriteEntry entry, in RewriteEntry reverse) =>
        entry.FinSeen != 0 && SpliceTable.AcknowledgedBy(reverse, entry) == new TcpSeq(entry.FinSeq) + 1u;

    // Nothing comes after a FIN: if more was sent and acknowledged, somebody else had sent it.
    private static void ForgetForgedFin(ref RewriteEntry entry, in RewriteEntry reverse)
    {
        if (entry.FinSeen != 0 && SpliceTable.AcknowledgedBy(reverse, entry) > new TcpSeq(entry.FinSeq) + 1u) entry.FinSeen = 0;
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
}
