using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// Sends with sendmmsg, each message gathered from {vnet header, the frame where it lies}: no copy
/// in user space. Whatever the kernel does not take at once is counted and forgotten: want of room
/// as <see cref="PortCounters.SendDrops"/>, a refused frame as <see cref="PortCounters.SendErrors"/>.
/// </summary>
internal sealed unsafe class PacketSender : IDisposable
{
    private const int HeaderStride = 16;

    private readonly int _handle, _capacity;
    private readonly PortCounters _counters;
    private readonly SocketNative.MMsgHdr* _messages;
    private readonly SocketNative.IoVec* _vectors;
    private readonly nint _headers;
    private nint _memory;
    private int _queued;

    internal PacketSender(int handle, int capacity, PortCounters counters)
    {
        _handle = handle;
        _capacity = capacity;
        _counters = counters;
        _memory = MemoryNative.Allocate((nuint)capacity * (nuint)(sizeof(SocketNative.MMsgHdr) + (2 * sizeof(SocketNative.IoVec)) + HeaderStride));
        _messages = (SocketNative.MMsgHdr*)_memory;
        _vectors = (SocketNative.IoVec*)(_messages + capacity);
        _headers = (nint)(_vectors + (2 * capacity));
        for (int i = 0; i < capacity; i++)
        {
            _vectors[2 * i] = new() { Base = _headers + (i * HeaderStride), Length = VnetHeader.Size };
            _messages[i] = new() { Vectors = (nint)(_vectors + (2 * i)), VectorCount = 2 };
        }
    }

    internal void Add(in FrameRef frame)
    {
        if (_queued == _capacity) Flush();
        *(VnetHeader*)(_headers + (_queued * HeaderStride)) = frame.Vnet;
        _vectors[(2 * _queued) + 1] = new() { Base = frame.Address, Length = (nuint)frame.Length };
        _queued++;
    }

    internal void Flush()
    {
        int done = 0;
        while (done < _queued)
        {
            int sent = SocketNative.SendMMsg(_handle, _messages + done, (uint)(_queued - done), SocketNative.MsgDontWait);
            if (sent > 0)
            {
                for (int i = done; i < done + sent; i++) _counters.SentBytes += (long)_vectors[(2 * i) + 1].Length;
                _counters.SentFrames += sent;
                done += sent;
                continue;
            }
            switch (SocketNative.Error)
            {
                case SocketNative.EIntr:
                    break;
                case SocketNative.EAgain:
                    // The socket's send buffer is full: the rest would fail alike.
                    _counters.SendDrops += _queued - done;
                    done = _queued;
                    break;
                case SocketNative.ENetDown or SocketNative.ENxio or SocketNative.ENoDev:
                    _counters.SendErrors += _queued - done;
                    done = _queued;
                    break;
                case SocketNative.ENoBufs:
                    _counters.SendDrops++;
                    done++;
                    break;
                default:
                    _counters.SendErrors++;
                    done++;
                    break;
            }
        }
        _queued = 0;
    }

    public void Dispose()
    {
        if (_memory != 0) MemoryNative.Free(_memory);
        _memory = 0;
    }
}
