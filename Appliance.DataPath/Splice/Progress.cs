using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using static Appliance.DataPath.Splice.HeaderWords;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Keeps the progress line of a directed entry: serial maxima of what the sender of that direction
/// said, in its own space, from packets as received (before the rewrite). Written by the worker that
/// receives the direction. The first packet sets them, so that an entry imported late does not compare with
/// numbers more than 2^31 old. SYN and RST do not count: their numbers may be anybody's (RFC 5961).
/// Judges nothing: whether a segment is acceptable is its receiver's business.
/// </summary>
public static class Progress
{
    /// <summary>Repeats in each direction that make an ack storm (SPLICE 10).</summary>
    public const ushort StormLimit = 64;

    // Keepalives and window probes repeat too, but slowly; a storm runs at the speed of the round trip.
    private const long StormGapNs = 100_000_000;

    /// <summary>Notes a packet of this direction; <paramref name="progress"/> is the entry that its key found.</summary>
    public static void Observe(ref RewriteEntry progress, in Packet packet, long nowNs)
    {
        ref readonly PacketLayout layout = ref packet.Layout;
        ReadOnlySpan<byte> header = packet.Frame[layout.Transport..layout.Payload];
        progress.Packets++;
        progress.Bytes += layout.End - layout.Network;
        TcpFlags flags = (TcpFlags)header[13];
        if ((flags & (TcpFlags.Syn | TcpFlags.Rst)) == TcpFlags.None) ObserveNumbers(ref progress, header, flags, layout.End - layout.Payload, nowNs);
        progress.LastSeen = nowNs;
    }

    /// <summary>True if both directions only repeat empty segments, answering each other without progress: such a frame is dropped.</summary>
    public static bool IsAckStorm(in RewriteEntry entry, in RewriteEntry reverse) => entry.Repeats >= StormLimit && reverse.Repeats >= StormLimit;

    /// <summary>The window that the sender of this direction advertised last, in bytes.</summary>
    public static uint Window(in RewriteEntry entry) => (uint)Math.Max(0, new TcpSeq(entry.RightEdge) - new TcpSeq(entry.AckSeen));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ObserveNumbers(ref RewriteEntry progress, ReadOnlySpan<byte> header, TcpFlags flags, int payload, long nowNs)
    {
        ref readonly TcpWords tcp = ref MemoryMarshal.AsRef<TcpWords>(header);
        TcpSeq seq = new(Net(tcp.Seq)), ack = new(Net(tcp.Ack));
        bool first = progress.Seen == 0, moved = first;
        progress.Seen = 1;
        uint length = (uint)payload + ((uint)flags & (uint)TcpFlags.Fin);
        moved |= Raise(ref progress.SeqNext, seq + length, first);
        if ((flags & TcpFlags.Ack) != TcpFlags.None)
        {
            moved |= Raise(ref progress.AckSeen, ack, first);
            moved |= Raise(ref progress.RightEdge, ack + ((uint)Net(tcp.Window) << progress.WindowShiftIn), first);
        }
        if ((flags & TcpFlags.Fin) != TcpFlags.None)
        {
            progress.FinSeen = 1;
            progress.FinSeq = (seq + (length - 1)).Value;
        }
        if ((progress.Flags & RewriteFlags.Timestamps) != RewriteFlags.None && TcpOptions.TryReadTimestamps(header[20..], out uint value, out uint echo))
        {
            Raise(ref progress.TsVal, new TcpSeq(value), first);
            bool floor = (progress.Flags & RewriteFlags.TsEcrFloor) != RewriteFlags.None && (flags & TcpFlags.Ack) != TcpFlags.None;
            if (floor && new TcpSeq(echo) + progress.TsEcrDelta > new TcpSeq(progress.TsEcrFloor)) progress.EchoSeen = 1;
        }
        bool repeats = length == 0 && !moved && nowNs - progress.LastSeen < StormGapNs;
        progress.Repeats = !repeats ? (ushort)0 : progress.Repeats == ushort.MaxValue ? ushort.MaxValue : (ushort)(progress.Repeats + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Raise(ref uint maximum, TcpSeq value, bool first)
    {
        if (!first && value <= new TcpSeq(maximum)) return false;
        maximum = value.Value;
        return true;
    }
}
