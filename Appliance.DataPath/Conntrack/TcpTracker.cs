using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Conntrack;

/// <summary>What the tracker says of a segment.</summary>
public enum TcpVerdict : byte
{
    /// <summary>It belongs; nothing changed but numbers.</summary>
    Same,

    /// <summary>It belongs, and a half came further: replicas are to hear of it.</summary>
    Changed,

    /// <summary>It may pass and says nothing: the end that gets it knows better (a challenge, RFC 5961).</summary>
    Ignored,

    /// <summary>A SYN on an ended connection's tuple: track it anew.</summary>
    Reopens,

    /// <summary>Of no connection that is known, and it does not begin one.</summary>
    NotBegun,

    /// <summary>A combination of flags that TCP does not have.</summary>
    BadFlags,

    /// <summary>It begins beyond what its receiver offered to take.</summary>
    BeyondWindow,

    /// <summary>It ends before what its receiver can still want.</summary>
    TooOld,

    /// <summary>It acknowledges what was not sent.</summary>
    AckBeyond,

    /// <summary>It acknowledges less than any segment under way can.</summary>
    AckTooOld,
}

/// <summary>
/// Follows a TCP connection from between: state of both halves, and whether a segment fits the windows of both ends (van Rooij, "Real Stateful
/// TCP Packet Filtering in IP Filter", 2001), with RST and SYN as RFC 5961 wants them taken. Both ends may be anywhere, so a segment is refused only
/// if no end could have sent it; whoever is in doubt lets pass and changes nothing. Changes a track only for what it accepts.
/// Allocates nothing. Not handled: timeouts, tuples, payload.
/// </summary>
public static class TcpTracker
{
    // Of a receiver that offered less, what was under way before it did.
    private const uint LeastAckWindow = 66_000;

    private const int LargestScale = TcpOptions.MaxWindowScale;

    // RFC 7323 2.3: less than half of the number space, so that what is old and what is new can be told apart.
    private const uint LargestWindow = 1u << 30;

    private const TcpFlags Judged = TcpFlags.Syn | TcpFlags.Ack | TcpFlags.Fin | TcpFlags.Rst;

    /// <summary>True if the verdict lets the segment pass.</summary>
    public static bool Passes(TcpVerdict verdict) => verdict < TcpVerdict.NotBegun;

    /// <summary>
    /// Judges the first segment of a tuple and begins <paramref name="track"/> with it. Its sender is the client; of a connection whose beginning
    /// was not seen (<paramref name="pickUp"/> allows them) that is a guess.
    /// </summary>
    public static TcpVerdict Begin(out TcpTrack track, in TcpView tcp, in TcpOptions options, bool pickUp)
    {
        track = default;
        TcpFlags flags = tcp.Flags & Judged;
        if (!IsValid(flags)) return TcpVerdict.BadFlags;
        if (flags == TcpFlags.Syn)
        {
            BeginHalf(ref track.Client, tcp, options);
            return TcpVerdict.Changed;
        }
        if (!pickUp || (flags & (TcpFlags.Syn | TcpFlags.Rst)) != TcpFlags.None) return TcpVerdict.NotBegun;
        track.IsPickedUp = true;
        uint window = (uint)tcp.Window << LargestScale;
        track.Client = new TcpHalf { End = tcp.Seq + tcp.SequenceLength, Limit = tcp.Seq + tcp.SequenceLength, Acknowledged = tcp.Ack, MaxWindow = window, State = TcpHalfState.Open, Scale = LargestScale };
        track.Server = new TcpHalf { End = tcp.Ack, Limit = tcp.Ack + window, Acknowledged = tcp.Seq, MaxWindow = window, State = TcpHalfState.Open, Scale = LargestScale };
        if ((flags & TcpFlags.Fin) != TcpFlags.None) track.Client.State = TcpHalfState.Fin;
        return TcpVerdict.Changed;
    }

    /// <summary>Judges another segment of the tuple.</summary>
    public static TcpVerdict Follow(ref TcpTrack track, FlowDirection direction, in TcpView tcp, in TcpOptions options)
    {
        TcpFlags flags = tcp.Flags & Judged;
        if (!IsValid(flags)) return TcpVerdict.BadFlags;
        ref TcpHalf sender = ref direction == FlowDirection.ToServer ? ref track.Client : ref track.Server;
        ref TcpHalf receiver = ref direction == FlowDirection.ToServer ? ref track.Server : ref track.Client;
        if ((flags & TcpFlags.Syn) != TcpFlags.None) return FollowSyn(track, ref sender, ref receiver, tcp, options);
        if (sender.State == TcpHalfState.None) return BeforeItsSyn(ref track, ref sender, receiver, tcp);
        if ((flags & TcpFlags.Rst) != TcpFlags.None) return FollowRst(ref track, sender, receiver, tcp);
        if (receiver.State == TcpHalfState.None) return TcpVerdict.Ignored;
        return FollowData(track.IsPickedUp, ref sender, ref receiver, tcp, options);
    }

    private static bool IsValid(TcpFlags flags) => flags is TcpFlags.Syn or (TcpFlags.Syn | TcpFlags.Ack) or TcpFlags.Ack or (TcpFlags.Fin | TcpFlags.Ack) or TcpFlags.Rst or (TcpFlags.Rst | TcpFlags.Ack);

    private static void BeginHalf(ref TcpHalf half, in TcpView tcp, in TcpOptions options)
    {
        half.End = half.Limit = tcp.Seq + tcp.SequenceLength;
        // The window of a SYN is not scaled (RFC 7323 2.2).
        half.MaxWindow = Math.Max(tcp.Window, 1u);
        half.Scale = options.HasWindowScale ? Math.Min(options.WindowScale, (byte)LargestScale) : TcpHalf.NoScale;
        half.State = TcpHalfState.Syn;
    }

    private static TcpVerdict FollowSyn(in TcpTrack track, ref TcpHalf sender, ref TcpHalf receiver, in TcpView tcp, in TcpOptions options)
    {
        bool hasAck = tcp.Has(TcpFlags.Ack);
        if (!hasAck && track.Phase >= TcpPhase.TimeWait) return TcpVerdict.Reopens;
        if (hasAck)
        {
            if (receiver.State == TcpHalfState.None) return TcpVerdict.NotBegun;
            // Of the handshake before, or a guess. Late, of an open one, the receiver answers it with an acknowledgment.
            if (tcp.Ack > receiver.End || (receiver.State == TcpHalfState.Syn && tcp.Ack != receiver.End)) return TcpVerdict.AckBeyond;
        }
        // An end that has begun anew: the server says what it thinks of that.
        else if (sender.State == TcpHalfState.Syn && receiver.State == TcpHalfState.None && tcp.Seq + tcp.SequenceLength != sender.End)
        {
            BeginHalf(ref sender, tcp, options);
            return TcpVerdict.Changed;
        }
        if (sender.State != TcpHalfState.None) return tcp.Seq + tcp.SequenceLength == sender.End ? TcpVerdict.Same : TcpVerdict.Ignored;
        BeginHalf(ref sender, tcp, options);
        if (!hasAck) return TcpVerdict.Changed;
        sender.Acknowledged = tcp.Ack;
        receiver.State = TcpHalfState.Open;
        receiver.Limit = TcpSeq.Max(receiver.Limit, tcp.Ack + Math.Max(tcp.Window, 1u));
        return TcpVerdict.Changed;
    }

    // A server that has an older connection on the tuple answers a SYN with an acknowledgment, one that has none with a RST.
    private static TcpVerdict BeforeItsSyn(ref TcpTrack track, ref TcpHalf sender, in TcpHalf receiver, in TcpView tcp)
    {
        if (receiver.State == TcpHalfState.None || !tcp.Has(TcpFlags.Ack)) return TcpVerdict.NotBegun;
        if (!tcp.Has(TcpFlags.Rst))
        {
            // The client's RST to it will be this number.
            sender.Acknowledged = tcp.Ack;
            return TcpVerdict.Ignored;
        }
        if (tcp.Ack != receiver.End) return TcpVerdict.AckBeyond;
        track.IsReset = true;
        return TcpVerdict.Changed;
    }

    private static TcpVerdict FollowRst(ref TcpTrack track, in TcpHalf sender, in TcpHalf receiver, in TcpView tcp)
    {
        if (track.IsReset) return TcpVerdict.Same;
        if (receiver.State == TcpHalfState.None) return tcp.Seq == receiver.Acknowledged ? TcpVerdict.Ignored : TcpVerdict.BeyondWindow;
        // RFC 5961 3.2: only what the receiver expects next ends it; it may have acknowledged more than was seen here.
        if (tcp.Seq == receiver.Acknowledged || tcp.Seq == sender.End)
        {
            track.IsReset = true;
            return TcpVerdict.Changed;
        }
        if (track.IsPickedUp) return TcpVerdict.Ignored;
        if (tcp.Seq > sender.Limit) return TcpVerdict.BeyondWindow;
        // Inside the window the receiver answers it with a challenge; older ones it drops.
        return tcp.Seq < receiver.Acknowledged - receiver.MaxWindow ? TcpVerdict.TooOld : TcpVerdict.Ignored;
    }

    private static TcpVerdict FollowData(bool isPickedUp, ref TcpHalf sender, ref TcpHalf receiver, in TcpView tcp, in TcpOptions options)
    {
        TcpSeq end = tcp.Seq + tcp.SequenceLength, ack = tcp.Ack, right = RightmostAcknowledged(tcp, options);
        bool scales = sender.Scale != TcpHalf.NoScale && receiver.Scale != TcpHalf.NoScale;
        uint window = scales ? (uint)tcp.Window << sender.Scale : tcp.Window;
        if (!isPickedUp)
        {
            // One beyond: a window's probe.
            if (tcp.Seq > sender.Limit + 1u) return TcpVerdict.BeyondWindow;
            if (end < sender.End - receiver.MaxWindow - 1u) return TcpVerdict.TooOld;
            if (right > receiver.End) return TcpVerdict.AckBeyond;
            if (ack < receiver.End - Math.Max(sender.MaxWindow, LeastAckWindow)) return TcpVerdict.AckTooOld;
        }
        TcpHalfState sent = sender.State, heard = receiver.State;
        sender.MaxWindow = Math.Max(sender.MaxWindow, Math.Min(window + (uint)(right - ack), LargestWindow));
        sender.End = TcpSeq.Max(sender.End, end);
        sender.Acknowledged = TcpSeq.Max(sender.Acknowledged, ack);
        receiver.End = TcpSeq.Max(receiver.End, ack);
        receiver.Limit = TcpSeq.Max(receiver.Limit, ack + window);
        if (heard == TcpHalfState.Syn) receiver.State = TcpHalfState.Open;
        else if (heard == TcpHalfState.Fin && ack >= receiver.End) receiver.State = TcpHalfState.FinAcknowledged;
        if (tcp.Has(TcpFlags.Fin) && sent < TcpHalfState.Fin) sender.State = TcpHalfState.Fin;
        return sender.State != sent || receiver.State != heard ? TcpVerdict.Changed : TcpVerdict.Same;
    }

    private static TcpSeq RightmostAcknowledged(in TcpView tcp, in TcpOptions options)
    {
        TcpSeq right = tcp.Ack;
        for (int i = 0; i < options.SackBlocks; i++) right = TcpSeq.Max(right, options.SackBlock(tcp.Options, i).Right);
        return right;
    }
}
