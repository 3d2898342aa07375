using System.Runtime.InteropServices;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// Receives through a TPACKET_V2 ring (Documentation/networking/packet_mmap): fixed slots, each
/// owned by the kernel or by us as its status word says, in order. A slot takes a super-frame of
/// 64 KB. The vnet header stands directly in front of the frame; the reserve keeps network headers on
/// 16-byte boundaries. A frame longer than its slot is counted and dropped.
/// </summary>
internal sealed unsafe class PacketReceiveRing : PacketReceiver
{
    /// <summary>Bytes of a slot that takes every frame, and of a block.</summary>
    internal const int SlotSize = 69_632, BlockSize = 1 << 20;

    // tp_net = 80 (header, aligned) + reserve + 10 (vnet header): a multiple of 16.
    private const int Reserve = 6, Version2 = 1;
    private const uint StatusKernel = 0, StatusUser = 1, StatusVlanValid = 1 << 4;

    private readonly nint[] _slots;
    private readonly nuint _bytes;
    private nint _memory;
    private int _next, _borrowed;

    internal PacketReceiveRing(string name, int handle, int slots, int slotSize = SlotSize)
    {
        int perBlock = BlockSize / slotSize;
        int blocks = Math.Max(1, (slots + perBlock - 1) / perBlock);
        _slots = new nint[blocks * perBlock];
        TpacketRequest request = new() { BlockSize = BlockSize, BlockCount = (uint)blocks, FrameSize = (uint)slotSize, FrameCount = (uint)_slots.Length };
        bool set = SocketNative.SetInt(handle, SocketNative.SolPacket, SocketNative.PacketVersion, Version2)
            && SocketNative.SetInt(handle, SocketNative.SolPacket, SocketNative.PacketReserve, Reserve)
            && SocketNative.SetOption(handle, SocketNative.SolPacket, SocketNative.PacketRxRing, &request, (uint)sizeof(TpacketRequest)) == 0;
        if (!set) throw PortException.For(name, "the receive ring", SocketNative.Error);
        _bytes = (nuint)blocks * BlockSize;
        _memory = SocketNative.MMap(0, _bytes, SocketNative.ProtRead | SocketNative.ProtWrite, SocketNative.MapShared, handle, 0);
        if (_memory == -1) throw PortException.For(name, "the receive ring", SocketNative.Error);
        for (int i = 0; i < _slots.Length; i++) _slots[i] = _memory + ((nint)(i / perBlock) * BlockSize) + (i % perBlock * slotSize);
    }

    internal override void Receive(FrameBatch batch, int most, PortCounters counters)
    {
        // Truncated frames use up slots without filling the batch, so the slots taken are bounded too.
        int wanted = Math.Min(most, batch.Capacity - batch.Count), limit = batch.Count + wanted;
        for (int taken = 0; batch.Count < limit && taken < _slots.Length; taken++)
        {
            Tpacket2Header* header = (Tpacket2Header*)_slots[_next];
            uint status = Volatile.Read(ref header->Status);
            if ((status & StatusUser) == 0) break;
            _borrowed++;
            if (++_next == _slots.Length) _next = 0;
            if (header->Length > header->Captured)
            {
                counters.Truncated++;
                continue;
            }
            nint frame = (nint)header + header->MacOffset;
            FrameRef entry = new() { Address = frame, Length = (int)header->Captured, Vnet = *(VnetHeader*)(frame - VnetHeader.Size) };
            if ((status & StatusVlanValid) != 0) VlanTag.Restore(ref entry, header->VlanControl, header->VlanType);
            counters.ReceivedFrames++;
            counters.ReceivedBytes += entry.Length;
            batch.Add(entry);
        }
    }

    internal override void Release()
    {
        int at = _next - _borrowed;
        if (at < 0) at += _slots.Length;
        for (; _borrowed > 0; _borrowed--)
        {
            Volatile.Write(ref ((Tpacket2Header*)_slots[at])->Status, StatusKernel);
            if (++at == _slots.Length) at = 0;
        }
    }

    public override void Dispose()
    {
        if (_memory is 0 or -1) return;
        _ = SocketNative.MUnmap(_memory, _bytes);
        _memory = 0;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct TpacketRequest
    {
        internal uint BlockSize, BlockCount, FrameSize, FrameCount;
    }

    /// <summary>struct tpacket2_hdr.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Tpacket2Header
    {
        internal uint Status;
        internal uint Length;
        internal uint Captured;
        internal ushort MacOffset;
        internal ushort NetworkOffset;
        internal uint Seconds;
        internal uint Nanoseconds;
        internal ushort VlanControl;
        internal ushort VlanType;
    }
}
