using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Balance;

/// <summary>
/// Copies of the TCP frames that the sharer has lately handed to one peer in one direction
/// (SPLICE 11): when the peer dies, they are run through the survivors in their order, so that
/// nobody waits for a retransmission timeout. Bounded by bytes (the oldest are overwritten) and, at
/// replay, by age. Of pure ACKs only the newest of a flow is replayed. UDP is not kept: a
/// duplicate is not harmless there. Super-frames are kept whole. One worker; nothing is allocated after construction.
/// </summary>
public sealed class ReplayRing : IDisposable
{
    private const int NewestSlots = 8192;
    private const int SkipToStart = -1;

    private readonly nint _memory;
    private readonly long _mask;
    private readonly long[] _newest = new long[NewestSlots];
    private long _oldest;
    private long _end;
    private long _replayEnd = -1;
    private long _notBefore;

    /// <summary>A ring of <paramref name="bytes"/>, a power of two from 4096 to 2^30; longer frames are not kept.</summary>
    public ReplayRing(int bytes)
    {
        if (bytes < 4096 || !System.Numerics.BitOperations.IsPow2(bytes)) throw new ArgumentOutOfRangeException(nameof(bytes), bytes, "a power of two from 4096");
        _memory = MemoryNative.Allocate((nuint)bytes);
        _mask = bytes - 1;
    }

    /// <summary>Frames that were not kept because they are longer than the ring.</summary>
    public long TooLong { get; private set; }

    /// <summary>When the youngest frame that was overwritten had been added (ns): with a longer hold than the distance to now the ring is too small.</summary>
    public long OverwrittenUntil { get; private set; }

    /// <summary>Keeps a copy of a frame that has just been handed over; anything but TCP is left out.</summary>
    public void Add(in Packet packet, in VnetHeader vnet, long nowNs)
    {
        if (!packet.IsTcp) return;
        ReadOnlySpan<byte> frame = packet.Frame;
        int size = (Unsafe.SizeOf<Entry>() + frame.Length + 7) & ~7;
        if (size > _mask + 1)
        {
            TooLong++;
            return;
        }
        long room = _mask + 1 - (_end & _mask);
        if (room < size)
        {
            MakeRoom(room);
            At(_end).Length = SkipToStart;
            _end += room;
        }
        MakeRoom(size);
        ref Entry entry = ref At(_end);
        entry.Length = frame.Length;
        entry.Vnet = vnet;
        entry.AddedNs = nowNs;
        entry.PureAckFlow = IsPureAck(in packet) ? FlowKey.Of(in packet).Hash(0) | 1 : 0;
        frame.CopyTo(MemoryNative.Span(FrameAddress(_end), frame.Length));
        _end += size;
    }

    /// <summary>
    /// Starts a replay of what was added from <paramref name="nowNs"/> - <paramref name="holdNs"/> on
    /// (hold: the detection bound, but at least 5 ms) until now. What is added from now on belongs to the next.
    /// </summary>
    public void BeginReplay(long nowNs, long holdNs)
    {
        _replayEnd = _end;
        _notBefore = nowNs - holdNs;
        Array.Fill(_newest, -1);
        for (long at = _oldest; at < _end; at = After(at))
        {
            ref Entry entry = ref At(at);
            if (entry.Length != SkipToStart && entry.PureAckFlow != 0) _newest[NewestSlot(entry.PureAckFlow)] = at;
        }
    }

    /// <summary>
    /// The next frame of the replay, taken out of the ring; false at its end. Its memory may be
    /// rewritten (MACs) and lent to a port, and is valid until the next <see cref="Add"/>.
    /// </summary>
    public bool TryReplay(out FrameRef frame)
    {
        while (_oldest < _replayEnd)
        {
            long at = _oldest;
            ref Entry entry = ref At(at);
            _oldest = After(at);
            if (entry.Length == SkipToStart || entry.AddedNs < _notBefore || IsOutdatedAck(at, entry.PureAckFlow)) continue;
            frame = new FrameRef { Address = FrameAddress(at), Length = entry.Length, Vnet = entry.Vnet };
            return true;
        }
        frame = default;
        return false;
    }

    /// <summary>Forgets everything (the peer is back, and new).</summary>
    public void Clear() => _oldest = _replayEnd = _end;

    /// <inheritdoc/>
    public void Dispose() => MemoryNative.Free(_memory);

    private static bool IsPureAck(in Packet packet)
    {
        const TcpFlags Relevant = TcpFlags.Ack | TcpFlags.Syn | TcpFlags.Fin | TcpFlags.Rst;
        return packet.Layout.Payload == packet.Layout.End && (packet.Tcp.Flags & Relevant) == TcpFlags.Ack;
    }

    private static int NewestSlot(ulong flow) => (int)(flow >> 32) & (NewestSlots - 1);

    // Flows that share a slot hide each other: an old ACK more is harmless, it goes before newer ones.
    private bool IsOutdatedAck(long at, ulong flow)
    {
        if (flow == 0) return false;
        long newest = _newest[NewestSlot(flow)];
        return newest > at && At(newest).PureAckFlow == flow;
    }

    private void MakeRoom(long size)
    {
        while (_end + size - _oldest > _mask + 1)
        {
            ref Entry entry = ref At(_oldest);
            if (entry.Length != SkipToStart) OverwrittenUntil = entry.AddedNs;
            _oldest = After(_oldest);
        }
    }

    private long After(long at)
    {
        int length = At(at).Length;
        return length == SkipToStart ? (at | _mask) + 1 : at + ((Unsafe.SizeOf<Entry>() + length + 7) & ~7);
    }

    private ref Entry At(long position) => ref MemoryNative.Ref<Entry>(_memory + (nint)(position & _mask));

    private nint FrameAddress(long position) => _memory + (nint)(position & _mask) + Unsafe.SizeOf<Entry>();

    // In front of each frame. A skip mark writes the length only: 8 bytes are always there.
    [StructLayout(LayoutKind.Sequential)]
    private struct Entry
    {
        public int Length;
        public VnetHeader Vnet;
        public long AddedNs;
        public ulong PureAckFlow;
    }
}
