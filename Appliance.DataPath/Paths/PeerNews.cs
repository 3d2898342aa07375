using Appliance.DataPath.Splice;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Paths;

/// <summary>
/// Remembers what each peer said lately. When a peer dies, some survivors may have heard what
/// others have not, and nobody would tell them any more: so each survivor publishes again, as its own tables have it
/// now, what the dead one had said in its last seconds, also what comes only after the news of the death. Who has it already finds nothing new in it.
/// A box that joins gets the early-acknowledged bytes of all handshakes in the same way, since no table holds them.
/// Bounded: at more than <see cref="Capacity"/> words in that time the oldest are left to the questions of section 5 of SPLICE.
/// </summary>
public sealed class PeerNews(Box box)
{
    /// <summary>Words remembered.</summary>
    public const int Capacity = 65536;

    private const long LatelyNs = 5_000_000_000, LateNs = 200_000_000, PauseNs = 100_000;
    private const int PerCycle = 128, KeepRoom = 256;

    private readonly Word[] _ring = new Word[Math.Min(Capacity, box.Config.Splices * 4)];
    private long _tail, _cursor;
    private int _handshake = int.MaxValue;
    private ulong _dead, _lately;
    private long _diedAt;

    /// <summary>When the next part is due, ns.</summary>
    public long NextDeadline => _dead == 0 && _handshake >= box.Config.Handshakes ? long.MaxValue : box.Now + PauseNs;

    /// <summary>A peer said something about a connection; the ticket is its shadow's, or 0.</summary>
    public void Note(byte from, ulong id, ulong ticket)
    {
        _ring[_tail++ % _ring.Length] = new Word(id, ticket, box.Now, from);
        // Its last words, overtaken by its death: the walk begins anew, and finds little else.
        if ((_lately >> from & 1) != 0 && box.Now - _diedAt < LateNs && (_dead >> from & 1) == 0) Walk(from, _tail - 1);
    }

    /// <summary>A peer died: what it said is to be passed on.</summary>
    public void OnDied(byte node)
    {
        if (box.Now - _diedAt >= LateNs) _lately = 0;
        _lately |= 1ul << node;
        _diedAt = box.Now;
        Walk(node, Math.Max(0, _tail - _ring.Length));
    }

    private void Walk(byte node, long from)
    {
        _cursor = _dead == 0 ? from : Math.Min(from, _cursor);
        _dead |= 1ul << node;
    }

    /// <summary>A peer is being filled.</summary>
    public void OnJoins() => _handshake = 0;

    /// <summary>Passes a part of it on, as replication has room.</summary>
    public void Advance()
    {
        RepeatShadows();
        if (_dead == 0) return;
        for (int i = 0; i < PerCycle && box.Events.Room > KeepRoom; i++)
        {
            if (_cursor >= _tail)
            {
                _dead = 0;
                return;
            }
            Word word = _ring[_cursor++ % _ring.Length];
            if ((_dead >> word.From & 1) != 0 && (word.Ticket != 0 || box.Now - word.At < LatelyNs)) Repeat(word);
        }
    }

    private void RepeatShadows()
    {
        for (int i = 0; i < PerCycle && _handshake < box.Config.Handshakes && box.Events.Room > KeepRoom; i++)
        {
            Handshake handshake = box.Handshakes[_handshake++];
            if (handshake.State is HandshakeState.Shadow or HandshakeState.Head or HandshakeState.BackendSyn) RepeatBytes(handshake);
        }
    }

    private void RepeatBytes(Handshake handshake)
    {
        if (handshake.Acked == 0) return;
        box.Client.Offer(handshake, 0, handshake.Acked, wantsConfirm: false);
        box.Statistics[Counter.NewsRepeated]++;
    }

    private void Repeat(in Word word)
    {
        int index = box.Splices.FindRecord(word.Id);
        // What is passed on is the record as it stands: all that was said of it until now goes with it.
        if (index >= 0 && box.Splices.Record(index).Repeated <= word.At)
        {
            box.Splices.Record(index).Repeated = box.Now;
            box.Publish(new SpliceEvent { Kind = SpliceEventKind.Changed, Record = box.Splices.Record(index), Progress = box.Splices.ProgressOf(index) });
            box.Statistics[Counter.NewsRepeated]++;
        }
        if (word.Ticket != 0 && box.Handshakes.Find(word.Ticket) is { State: HandshakeState.Shadow } shadow) RepeatBytes(shadow);
    }

    private readonly record struct Word(ulong Id, ulong Ticket, long At, byte From);
}
