using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Asks the receiver of an inexact RST whether it took it (RFC 5961 3.2 says who may; only it knows): a keepalive probe right behind the RST
/// (RFC 1122 4.2.3.6) is answered by an end that lives with an ACK, and by one that is gone with a RST that is exact for the
/// other direction. The ACK goes on to the RST's sender, which says nothing if it lives and an exact RST if not. So every true reset
/// ends its splice within a round trip, and a forged one costs its victim two empty segments. Asked again once a second, since
/// each of these may be lost. While in doubt the splice's tuple may be used again, as if it were closed. Holds no answer: the
/// splice ends by <see cref="CloseTracker.OnReset"/>, or the doubt runs out.
/// </summary>
public sealed class ResetChallenger(ISpliceHost host, SpliceTable splices)
{
    private const byte Questions = 10;
    private const int Most = 4096;
    private const long RepeatNs = 1_000_000_000;

    // Before the receiver of a reset has named its window.
    private const int SmallestWindow = ushort.MaxValue;

    private readonly Expiry _asked = new(Most);

    /// <summary>When somebody is asked again, ns.</summary>
    public long NextDeadline => _asked.Next;

    /// <summary>A RST passed <paramref name="direction"/>, <paramref name="ahead"/> bytes after what its receiver acknowledged last.</summary>
    public void OnInexact(int index, FlowDirection direction, int ahead)
    {
        ref SpliceRecord record = ref splices.Record(index);
        ref RewriteEntry entry = ref EntryOf(record, direction), reverse = ref EntryOf(record, Opposite(direction));
        if (entry.Doubts != 0 || ahead < 0 || ahead > Math.Max(SmallestWindow, new TcpSeq(reverse.RightEdge) - new TcpSeq(reverse.AckSeen))) return;
        if (!_asked.Push(index * 2 + (int)direction, record.Id, host.Now + RepeatNs)) return;
        entry.Doubts = Questions;
        splices.Watch(record);
        host.Statistics[Counter.ResetsDoubted]++;
        Ask(entry, reverse);
    }

    /// <summary>Asks again who is due.</summary>
    public void Advance()
    {
        while (_asked.TryPeek(out int waiting, out ulong id, out long due) && due <= host.Now)
        {
            _asked.Pop();
            int index = waiting / 2;
            if (!splices.IsLive(index) || splices.Record(index).Id != id || splices.Record(index).State >= SpliceState.TimeWait) continue;
            ref SpliceRecord record = ref splices.Record(index);
            var direction = (FlowDirection)(waiting % 2);
            ref RewriteEntry entry = ref EntryOf(record, direction), reverse = ref EntryOf(record, Opposite(direction));
            if (entry.Doubts == 0) continue;
            if (--entry.Doubts != 0 && _asked.Push(waiting, id, host.Now + RepeatNs)) Ask(entry, reverse);
            else if (reverse.Doubts == 0 && record.State == SpliceState.Established) splices.Unwatch(record);
        }
    }

    private ref RewriteEntry EntryOf(in SpliceRecord record, FlowDirection direction) => ref splices.Entry(direction == FlowDirection.ToServer ? record.ToServer : record.ToClient);

    private static FlowDirection Opposite(FlowDirection direction) => direction == FlowDirection.ToServer ? FlowDirection.ToClient : FlowDirection.ToServer;

    // Just below what the receiver acknowledged, so nothing but this number matters to one that lives; what it is told to have
    // acknowledged is where one that is gone sets its RST.
    private void Ask(in RewriteEntry entry, in RewriteEntry reverse)
    {
        TcpSeq ack = SpliceTable.AcknowledgedBy(entry, reverse), received = new(reverse.AckSeen);
        if (entry.Seen != 0) received = TcpSeq.Min(received, new TcpSeq(entry.SeqNext) + entry.SeqDelta);
        int window = Math.Max(0, new TcpSeq(entry.RightEdge) + entry.AckDelta - ack) >> entry.WindowShiftOut;
        TcpSegmentSpec probe = new()
        {
            Source = entry.NewSource,
            Destination = entry.NewDestination,
            SourcePort = entry.NewSourcePort,
            DestinationPort = entry.NewDestinationPort,
            Seq = received - 1u,
            Ack = ack,
            Flags = TcpFlags.Ack,
            // Nobody looks at it: one that lives drops the segment for its number.
            Window = (ushort)(entry.Seen == 0 ? ushort.MaxValue : Math.Min(window, ushort.MaxValue)),
            HasTimestamps = (entry.Flags & RewriteFlags.Timestamps) != RewriteFlags.None,
            TsVal = entry.TsVal + entry.TsValDelta,
            TsEcr = reverse.TsVal,
        };
        host.Send(entry.Direction, ref probe, default, 0);
    }
}
