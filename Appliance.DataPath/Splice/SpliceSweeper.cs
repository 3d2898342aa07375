using Appliance.DataPath.State;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Walks the splice table in slices, all of it about every four seconds: gossips progress of
/// splices that moved (R4: at most once a second each), ends splices that were idle too long here
/// and, as gossip tells, everywhere (established 2 h 4 min, RFC 5382; half closed 4 min).
/// </summary>
public sealed class SpliceSweeper(ISpliceHost host, SpliceTable splices)
{
    private const long SliceEveryNs = 10_000_000, EstablishedNs = 7440L * 1_000_000_000, HalfClosedNs = 240L * 1_000_000_000, GossipEveryNs = 1_000_000_000;
    private const int SlicesPerRound = 400;

    private readonly int[] _found = new int[256];
    private int _cursor;
    private long _next;

    /// <summary>When it wants to run again, ns.</summary>
    public long NextDeadline => splices.Count == 0 ? long.MaxValue : _next;

    /// <summary>Looks at one slice if it is time.</summary>
    public void Advance()
    {
        if (host.Now < _next || splices.Count == 0) return;
        _next = host.Now + SliceEveryNs;
        int slots = Math.Max(64, splices.Capacity / SlicesPerRound);
        int count = splices.Walk(ref _cursor, _found, slots);
        for (int i = 0; i < count; i++) Look(_found[i]);
    }

    private void Look(int index)
    {
        ref SpliceRecord record = ref splices.Record(index);
        if (record.State >= SpliceState.TimeWait)
        {
            // The close tracker's queues were full when it closed.
            if (host.Now > record.Deadline + GossipEveryNs) EndClosed(index);
            return;
        }
        ref RewriteEntry toServer = ref splices.Entry(record.ToServer);
        ref RewriteEntry toClient = ref splices.Entry(record.ToClient);
        long seen = Math.Max(toServer.LastSeen, toClient.LastSeen);
        long idle = record.State == SpliceState.HalfClosed ? HalfClosedNs : EstablishedNs;
        if (host.Now - Math.Max(seen, record.Heard) > idle)
        {
            host.Statistics[Counter.SplicesExpired]++;
            SpliceEvent gone = new() { Kind = SpliceEventKind.Removed, Record = record };
            splices.Remove(index);
            host.Publish(gone);
            return;
        }
        if (!host.HasLivePeers || seen <= record.Gossiped || host.Now - record.Gossiped < GossipEveryNs) return;
        record.Gossiped = host.Now;
        SpliceEvent gossip = new() { Kind = SpliceEventKind.Progress, Record = record, Progress = splices.ProgressOf(index) };
        host.Publish(gossip);
    }

    private void EndClosed(int index)
    {
        splices.Remove(index);
        host.Statistics[Counter.SplicesClosed]++;
    }
}
