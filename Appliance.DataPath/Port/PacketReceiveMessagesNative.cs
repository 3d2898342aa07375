using System.Runtime.InteropServices;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// Receives with recvmmsg, each message into {vnet header, frame buffer of its own}. Frames wait in the
/// socket's receive buffer; one call copies up to 64 of them. A frame longer than its buffer
/// is counted and dropped.
/// </summary>
internal sealed unsafe class PacketReceiveMessages : PacketReceiver
{
    private const int Messages = 64, LeastMessages = 4;

    // What one call takes stays in the caches until it is sent, and neither the other port nor a SYN waits for long.
    private const long BatchBytes = 128 << 10;

    // In a slot: vnet header (16), control data (64), room for a VLAN tag (16, of which 4 are used; 14 + 2 align the network header), frame.
    private const int ControlAt = 16, ControlSize = 64, FrameAt = 98;
    private const uint StatusVlanValid = 1 << 4;

    private readonly AfPacketSocket _socket;
    private readonly SocketNative.MMsgHdr* _messages;
    private nint _memory;
    private int _most = Messages;

    internal PacketReceiveMessages(string name, AfPacketSocket socket, int receiveBuffer)
    {
        _socket = socket;
        int handle = socket.Handle;
        if (!SocketNative.SetInt(handle, SocketNative.SolPacket, SocketNative.PacketAuxData, 1)
            || !(SocketNative.SetInt(handle, SocketNative.SolSocket, SocketNative.SoRcvBufForce, receiveBuffer)
                || SocketNative.SetInt(handle, SocketNative.SolSocket, SocketNative.SoRcvBuf, receiveBuffer)))
            throw PortException.For(name, "the receive buffer", SocketNative.Error);
        nuint tables = Messages * (nuint)(sizeof(SocketNative.MMsgHdr) + (2 * sizeof(SocketNative.IoVec)));
        _memory = MemoryNative.Allocate(tables + ((nuint)Messages * PacketReceiveRing.SlotSize));
        _messages = (SocketNative.MMsgHdr*)_memory;
        SocketNative.IoVec* vectors = (SocketNative.IoVec*)(_messages + Messages);
        for (int i = 0; i < Messages; i++)
        {
            nint slot = _memory + (nint)tables + (i * PacketReceiveRing.SlotSize);
            vectors[2 * i] = new() { Base = slot, Length = VnetHeader.Size };
            vectors[(2 * i) + 1] = new() { Base = slot + FrameAt, Length = PacketReceiveRing.SlotSize - FrameAt };
            _messages[i] = new() { Vectors = (nint)(vectors + (2 * i)), VectorCount = 2, Control = slot + ControlAt };
        }
    }

    internal override void Receive(FrameBatch batch, int most, PortCounters counters)
    {
        int wanted = Math.Min(Math.Min(most, batch.Capacity - batch.Count), _most);
        for (int i = 0; i < wanted; i++) _messages[i].ControlLength = ControlSize;
        int got = SocketNative.RecvMMsg(_socket.Handle, _messages, (uint)wanted, SocketNative.MsgDontWait, null);
        long bytes = 0;
        for (int i = 0; i < got; i++)
        {
            bytes += _messages[i].Length;
            SocketNative.MMsgHdr* message = _messages + i;
            if ((message->Flags & SocketNative.MsgTrunc) != 0)
            {
                counters.Truncated++;
                continue;
            }
            SocketNative.IoVec* vectors = (SocketNative.IoVec*)message->Vectors;
            FrameRef entry = new() { Address = vectors[1].Base, Length = (int)message->Length - VnetHeader.Size, Vnet = *(VnetHeader*)vectors[0].Base };
            if (message->ControlLength >= (nuint)sizeof(AuxMessage))
            {
                AuxMessage* aux = (AuxMessage*)message->Control;
                if (aux->Type == SocketNative.PacketAuxData && (aux->Status & StatusVlanValid) != 0) VlanTag.Restore(ref entry, aux->VlanControl, aux->VlanType);
            }
            counters.ReceivedFrames++;
            counters.ReceivedBytes += entry.Length;
            batch.Add(entry);
        }
        // The next call's frames are probably as long as these.
        if (got > 0) _most = (int)Math.Clamp(BatchBytes * got / Math.Max(1, bytes), LeastMessages, Messages);
    }

    internal override void Release()
    {
    }

    public override void Dispose()
    {
        if (_memory != 0) MemoryNative.Free(_memory);
        _memory = 0;
    }

    /// <summary>struct cmsghdr with struct tpacket_auxdata.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct AuxMessage
    {
        internal nuint ControlLength;
        internal int Level;
        internal int Type;
        internal uint Status, Length, Captured;
        internal ushort MacOffset, NetworkOffset, VlanControl, VlanType;
    }
}
