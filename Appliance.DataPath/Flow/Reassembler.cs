using System.Buffers.Binary;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Flow;

/// <summary>What became of a fragment.</summary>
public enum FragmentVerdict : byte
{
    /// <summary>Kept; the packet is not whole yet.</summary>
    Held,

    /// <summary>It was the last missing piece.</summary>
    Whole,

    /// <summary>Dropped, for the reason given.</summary>
    Dropped,
}

/// <summary>A reassembled packet: a frame like that of its first fragment, valid until <see cref="Reassembler.ReleaseWhole"/>.</summary>
public struct WholePacket
{
    /// <summary>The frame.</summary>
    public FrameRef Frame;

    /// <summary>IP length of the largest fragment in bytes, and the identification: what <see cref="Fragmenter"/> needs to send it as it came.</summary>
    public int LargestFragment;
    public uint Identification;
}

/// <summary>
/// Puts IPv4 and IPv6 fragments together (RFC 791, RFC 8200 4.5). At most a fixed number of packets at a time,
/// each for one second; any overlap, duplicates included, condemns the whole packet until then
/// (RFC 5722). ECN and options are those of the first fragment. One worker; nothing is allocated
/// after construction.
/// </summary>
public sealed class Reassembler : IDisposable
{
    /// <summary>How long the pieces of a packet are waited for.</summary>
    public const long TimeoutNs = 1_000_000_000;

    // In front of the payload: Ethernet, two tags, IP and what else every fragment repeats.
    private const int HeaderRoom = 512;
    private const int MaxPayload = 65535;
    private const int SlotSize = HeaderRoom + MaxPayload + 1;
    private const int UnitWords = 8192 / 64;

    private readonly nint _memory;
    private readonly Slot[] _slots;
    private readonly ulong[] _units;

    /// <summary>Room for <paramref name="packets"/> packets at a time.</summary>
    public Reassembler(int packets = 64)
    {
        _slots = new Slot[packets];
        _units = new ulong[packets * UnitWords];
        _memory = MemoryNative.Allocate((nuint)packets * SlotSize);
    }

    /// <summary>Packets of which pieces are held.</summary>
    public int Count
    {
        get
        {
            int count = 0;
            foreach (ref readonly Slot slot in _slots.AsSpan()) count += slot.Phase == Phase.Free ? 0 : 1;
            return count;
        }
    }

    /// <summary>Takes a fragment (the layout says that it is one).</summary>
    public FragmentVerdict Add(in Packet packet, long nowNs, out WholePacket whole, out DropReason reason)
    {
        whole = default;
        var info = new FragmentInfo(in packet);
        ReadOnlySpan<byte> piece = packet.Frame[info.Start..packet.Layout.End];
        int end = info.Offset + piece.Length, header = info.HeaderEnd - packet.Layout.Network;
        bool odd = info.More && piece.Length % 8 != 0;
        if (piece.Length == 0 || odd || end > MaxPayload - (packet.IsV6 ? header - 40 : header) || info.HeaderEnd > HeaderRoom)
        {
            return Drop(DropReason.FragmentMalformed, out reason);
        }
        int index = FindOrTake(in packet, in info, nowNs);
        if (index < 0) return Drop(DropReason.FragmentTableFull, out reason);
        ref Slot slot = ref _slots[index];
        if (slot.Phase == Phase.Condemned || !TryMark(ref slot, index, in info, end))
        {
            slot.Phase = Phase.Condemned;
            return Drop(DropReason.FragmentOverlap, out reason);
        }
        slot.Received += piece.Length;
        slot.Largest = Math.Max(slot.Largest, packet.Layout.End - packet.Layout.Network);
        Span<byte> memory = MemoryNative.Span(_memory + (nint)index * SlotSize, SlotSize);
        piece.CopyTo(memory[(HeaderRoom + info.Offset)..]);
        if (info.Offset == 0) KeepHeader(ref slot, in packet, in info, memory);
        reason = DropReason.None;
        if (slot.Received != slot.Total) return FragmentVerdict.Held;
        whole = Finish(ref slot, index, memory);
        return FragmentVerdict.Whole;
    }

    /// <summary>Frees whole packets: after the port has sent what was made of them.</summary>
    public void ReleaseWhole()
    {
        foreach (ref Slot slot in _slots.AsSpan())
        {
            if (slot.Phase == Phase.Whole) slot.Phase = Phase.Free;
        }
    }

    /// <summary>Forgets what is older than a second; returns how many packets that were (<see cref="DropReason.FragmentTimeout"/>).</summary>
    public int Expire(long nowNs)
    {
        int expired = 0;
        foreach (ref Slot slot in _slots.AsSpan())
        {
            if (slot.Phase is not (Phase.Gathering or Phase.Condemned) || nowNs < slot.Deadline) continue;
            if (slot.Phase == Phase.Gathering) expired++;
            slot.Phase = Phase.Free;
        }
        return expired;
    }

    /// <inheritdoc/>
    public void Dispose() => MemoryNative.Free(_memory);

    private static FragmentVerdict Drop(DropReason why, out DropReason reason)
    {
        reason = why;
        return FragmentVerdict.Dropped;
    }

    private int FindOrTake(in Packet packet, in FragmentInfo info, long nowNs)
    {
        IpAddr source = packet.Source, destination = packet.Destination;
        // IPv6 identifies without the protocol.
        byte protocol = packet.IsV6 ? (byte)0 : info.Next;
        int free = -1;
        for (int i = 0; i < _slots.Length; i++)
        {
            ref Slot slot = ref _slots[i];
            bool holds = slot.Phase is Phase.Gathering or Phase.Condemned && nowNs < slot.Deadline;
            if (!holds)
            {
                if (slot.Phase == Phase.Free && free < 0) free = i;
                continue;
            }
            if (slot.Identification == info.Identification && slot.Protocol == protocol && slot.Source == source && slot.Destination == destination) return i;
        }
        if (free < 0) return -1;
        _slots[free] = new Slot
        {
            Phase = Phase.Gathering,
            Source = source,
            Destination = destination,
            Protocol = protocol,
            Identification = info.Identification,
            Deadline = nowNs + TimeoutNs,
            Total = -1,
        };
        _units.AsSpan(free * UnitWords, UnitWords).Clear();
        return free;
    }

    // Marks the piece's units of 8 bytes; false if one is marked already or the end contradicts what was said before.
    private bool TryMark(ref Slot slot, int index, in FragmentInfo info, int end)
    {
        bool contradicts = info.More ? slot.Total >= 0 && end > slot.Total : slot.Total >= 0 || end < slot.HighestEnd;
        if (contradicts) return false;
        if (!info.More) slot.Total = end;
        slot.HighestEnd = Math.Max(slot.HighestEnd, end);
        Span<ulong> units = _units.AsSpan(index * UnitWords, UnitWords);
        for (int unit = info.Offset / 8; unit < (end + 7) / 8; unit++)
        {
            ulong bit = 1ul << (unit & 63);
            if ((units[unit >> 6] & bit) != 0) return false;
            units[unit >> 6] |= bit;
        }
        return true;
    }

    // Right-aligned before the payload, as if it had never been split.
    private static void KeepHeader(ref Slot slot, in Packet packet, in FragmentInfo info, Span<byte> memory)
    {
        slot.HeaderLength = info.HeaderEnd;
        slot.Network = packet.Layout.Network;
        Span<byte> header = memory.Slice(HeaderRoom - info.HeaderEnd, info.HeaderEnd);
        packet.Frame[..info.HeaderEnd].CopyTo(header);
        if (packet.IsV6) header[info.NextField] = info.Next;
    }

    private WholePacket Finish(ref Slot slot, int index, Span<byte> memory)
    {
        int start = HeaderRoom - slot.HeaderLength;
        Span<byte> ip = memory[(start + slot.Network)..];
        int header = slot.HeaderLength - slot.Network;
        if (ip[0] >> 4 == 4)
        {
            BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(header + slot.Total));
            BinaryPrimitives.WriteUInt16BigEndian(ip[6..], 0);
            InternetChecksum.SetIpv4Header(ip[..header]);
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)(header - 40 + slot.Total));
        }
        slot.Phase = Phase.Whole;
        return new WholePacket
        {
            Frame = new FrameRef { Address = _memory + (nint)index * SlotSize + start, Length = slot.HeaderLength + slot.Total },
            LargestFragment = slot.Largest,
            Identification = slot.Identification,
        };
    }

    private enum Phase : byte
    {
        Free,
        Gathering,
        Condemned,
        Whole,
    }

    private struct Slot
    {
        public Phase Phase;
        public byte Protocol;
        public IpAddr Source, Destination;
        public uint Identification;
        public long Deadline;
        public int Total, Received, HighestEnd, Largest, HeaderLength, Network;
    }
}
