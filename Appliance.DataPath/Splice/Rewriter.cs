using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using static Appliance.DataPath.Splice.HeaderWords;

namespace Appliance.DataPath.Splice;

/// <summary>
/// THE per-packet function (SPLICE 2; docs/splice.md): rewrites a TCP packet in place from one half
/// of a splice to the other. Pure: what leaves depends on the packet and the entry alone, so any box
/// may do it, in any order, twice. Either everything is rewritten or, on a drop, nothing. Checksums
/// are updated by RFC 1624 equation 3 and the payload is never summed, so a corrupted segment stays corrupted
/// by the same error. A super-frame has one header and is one packet here; its VnetHeader
/// stays right, since lengths and family do not change. Not handled here: Ethernet, the slow-path flag,
/// fragments (reassembled before), and splitting at a breakpoint.
/// </summary>
public static class Rewriter
{
    // What one hop takes from the word {TTL, protocol}: ~m + (m - 0100), whatever m is.
    internal const ushort TtlDelta = 0xfeff;

    private const byte FlagSyn = (byte)TcpFlags.Syn, FlagAck = (byte)TcpFlags.Ack;

    // A multiple of ffff, one's complement zero, larger than all that is ever taken away from it: differences need no complements.
    private const ulong Zero = 0xffffUL << 32;

    /// <summary>Rewrites <paramref name="packet"/> (its IsTcp holds, and its family is the entry's); None, or why it is dropped, untouched.</summary>
    public static DropReason Rewrite(in Packet packet, in VnetHeader vnet, in RewriteEntry entry)
    {
        ref readonly PacketLayout layout = ref packet.Layout;
        // The packet's own offsets lie in its frame. Only the address is read: a copy of the whole span, just written in two halves, would wait for them.
        ref byte frame = ref MemoryMarshal.GetReference(packet.Frame);
        ref byte network = ref Unsafe.Add(ref frame, layout.Network);
        ref TcpWords tcp = ref Unsafe.As<byte, TcpWords>(ref Unsafe.Add(ref frame, layout.Transport));
        bool v6 = layout.Kind == NetworkKind.Ipv6;
        if (Unsafe.Add(ref network, v6 ? 7 : 8) <= 1) return DropReason.TtlExpired;

        ulong delta = Zero + entry.TupleDelta;
        if ((entry.Flags & RewriteFlags.AddressesOnly) == RewriteFlags.None
            && !TryRewriteNumbers(ref tcp, layout.Payload - layout.Transport - Unsafe.SizeOf<TcpWords>(), in entry, ref delta)) return DropReason.TcpOptionsMalformed;
        tcp.SourcePort = Net(entry.NewSourcePort);
        tcp.DestinationPort = Net(entry.NewDestinationPort);
        ushort checksum = Net(tcp.Checksum);
        tcp.Checksum = Net(vnet.NeedsChecksum
            ? InternetChecksum.UpdatePartial(checksum, entry.AddressDelta)
            : InternetChecksum.Update(checksum, delta));

        if (v6) RewriteIpv6(ref network, in entry);
        else RewriteIpv4(ref network, in entry);
        return DropReason.None;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void RewriteIpv4(ref byte network, in RewriteEntry entry)
    {
        ref Ipv4Words ip = ref Unsafe.As<byte, Ipv4Words>(ref network);
        ip.Ttl--;
        ip.Source = Net(entry.NewSource.V4);
        ip.Destination = Net(entry.NewDestination.V4);
        ip.Checksum = Net((ushort)~InternetChecksum.Fold((uint)(ushort)~Net(ip.Checksum) + entry.AddressDelta + TtlDelta));
    }

    private static void RewriteIpv6(ref byte network, in RewriteEntry entry)
    {
        ref Ipv6Words ip = ref Unsafe.As<byte, Ipv6Words>(ref network);
        ip.HopLimit--;
        ip.SourceHigh = Net(entry.NewSource.High);
        ip.SourceLow = Net(entry.NewSource.Low);
        ip.DestinationHigh = Net(entry.NewDestination.High);
        ip.DestinationLow = Net(entry.NewDestination.Low);
    }

    // Sequence, ack, window and options; adds what the checksum has to know to delta. False, with nothing changed, if the options are malformed.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryRewriteNumbers(ref TcpWords tcp, int optionBytes, in RewriteEntry entry, ref ulong delta)
    {
        byte flags = tcp.Flags;
        bool hasAck = (flags & FlagAck) != 0;
        ref TimestampOption only = ref Unsafe.As<TcpWords, TimestampOption>(ref Unsafe.Add(ref tcp, 1));
        // Options first: they alone can be malformed.
        if (optionBytes == Unsafe.SizeOf<TimestampOption>() && only.Head == TimestampOption.Aligned)
        {
            if ((entry.Flags & RewriteFlags.Timestamps) != RewriteFlags.None) delta += RewriteTimestamps(ref only.Words, in entry, hasAck);
        }
        else if (optionBytes != 0)
        {
            int optionsDelta = RewriteOptions(MemoryMarshal.CreateSpan(ref Unsafe.As<TcpWords, byte>(ref Unsafe.Add(ref tcp, 1)), optionBytes), in entry, hasAck);
            if (optionsDelta < 0) return false;
            delta += (uint)optionsDelta;
        }

        uint seq = Net(tcp.Seq), newSeq = seq + entry.SeqDelta;
        tcp.Seq = Net(newSeq);
        delta = delta + newSeq - seq;
        uint raised = 0;
        if (hasAck)
        {
            uint ack = Net(tcp.Ack), newAck = ack + entry.AckDelta;
            if ((entry.Flags & RewriteFlags.AckFloor) != RewriteFlags.None)
            {
                uint floored = TcpSeq.Max(new(newAck), new(entry.AckFloor)).Value;
                raised = floored - newAck;
                newAck = floored;
            }
            tcp.Ack = Net(newAck);
            delta = delta + newAck - ack;
        }
        if ((flags & FlagSyn) != 0) return true;
        // 16 bits and a shift of at most 14: no overflow. An acknowledgment that was raised leaves the right edge where it is.
        uint window = Net(tcp.Window), bytes = window << entry.WindowShiftIn;
        uint newWindow = Math.Min((bytes - Math.Min(raised, bytes)) >> entry.WindowShiftOut, ushort.MaxValue);
        tcp.Window = Net((ushort)newWindow);
        delta = delta + newWindow - window;
        return true;
    }

    // TSecr says nothing without ACK (RFC 7323 3.2), as the acknowledgment number does. What is added to the checksum's delta may wrap below zero.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong RewriteTimestamps(ref TimestampWords ts, in RewriteEntry entry, bool hasAck)
    {
        uint value = Net(ts.Value), newValue = value + entry.TsValDelta;
        ts.Value = Net(newValue);
        ulong delta = (ulong)newValue - value;
        if (!hasAck) return delta;
        uint echo = Net(ts.Echo), newEcho = echo + entry.TsEcrDelta;
        if ((entry.Flags & RewriteFlags.TsEcrFloor) != RewriteFlags.None) newEcho = TcpSeq.Max(new(newEcho), new(entry.TsEcrFloor)).Value;
        ts.Echo = Net(newEcho);
        return delta + newEcho - echo;
    }

    // Any layout. The whole option area (at most 40 bytes, from an even offset) is summed before and
    // after, so that odd offsets and options that are moved or blanked need no care of their own. Returns the delta;
    // -1 if the options are malformed.
    private static int RewriteOptions(Span<byte> options, in RewriteEntry entry, bool hasAck)
    {
        if (!TcpOptions.TryParse(options, out TcpOptions parsed, out _)) return -1;
        bool timestamps = parsed.HasTimestamps && (entry.Flags & RewriteFlags.Timestamps) != RewriteFlags.None;
        bool blank = (entry.Flags & RewriteFlags.BlankSack) != RewriteFlags.None;
        bool sack = parsed.SackBlocks != 0 && (hasAck || blank);
        if (!timestamps && !sack) return 0;

        ushort before = InternetChecksum.Sum(options);
        if (timestamps) RewriteTimestamps(ref MemoryMarshal.AsRef<TimestampWords>(options[parsed.TimestampOffset..]), in entry, hasAck);
        if (sack)
        {
            if (blank) options.Slice(parsed.SackOffset - 2, 2 + parsed.SackBlocks * 8).Fill(TcpOptions.KindNop);
            else RewriteSack(options, in parsed, in entry);
        }
        return InternetChecksum.Delta(before, InternetChecksum.Sum(options));
    }

    // Edges move with the acknowledgment. While its floor holds, what lies below it is no byte that the
    // receiver of this option waits for (P, or bytes that we own): such blocks go, one across is cut.
    private static void RewriteSack(Span<byte> options, in TcpOptions parsed, in RewriteEntry entry)
    {
        Span<byte> blocks = options.Slice(parsed.SackOffset, parsed.SackBlocks * 8);
        bool floorOpen = (entry.Flags & RewriteFlags.AckFloor) != RewriteFlags.None;
        TcpSeq floor = new(entry.AckFloor);
        int kept = 0;
        for (int at = 0; at < blocks.Length; at += 8)
        {
            TcpSeq left = new TcpSeq(BinaryPrimitives.ReadUInt32BigEndian(blocks[at..])) + entry.AckDelta;
            TcpSeq right = new TcpSeq(BinaryPrimitives.ReadUInt32BigEndian(blocks[(at + 4)..])) + entry.AckDelta;
            if (floorOpen && right <= floor) continue;
            if (floorOpen) left = TcpSeq.Max(left, floor);
            BinaryPrimitives.WriteUInt32BigEndian(blocks[kept..], left.Value);
            BinaryPrimitives.WriteUInt32BigEndian(blocks[(kept + 4)..], right.Value);
            kept += 8;
        }
        if (kept == blocks.Length) return;
        blocks[kept..].Fill(TcpOptions.KindNop);
        if (kept == 0) options.Slice(parsed.SackOffset - 2, 2).Fill(TcpOptions.KindNop);
        else options[parsed.SackOffset - 1] = (byte)(kept + 2);
    }
}
