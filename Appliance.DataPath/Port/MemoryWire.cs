using Appliance.DataPath.Memory;

namespace Appliance.DataPath.Port;

/// <summary>
/// Two ports joined in memory: what one sends, the other receives, in order and copied, so that
/// tests and simulations see exactly what a packet socket would show: frames are read from the sender's
/// memory when it flushes, and what the receiver has no slot for is its counted drop. Each end may
/// be used by a thread of its own. Nothing is segmented or completed: with offloads off, the wire
/// refuses super-frames, partial checksums and frames beyond the MTU.
/// </summary>
public sealed class MemoryWire : IDisposable
{
    /// <summary>Joins two new ports with <paramref name="slots"/> frames (1 or more) under way in each direction.</summary>
    public MemoryWire(string nameA, string nameB, int slots = 256, int mtu = 1500, bool offloads = true)
    {
        var toA = new MemoryLane(slots, mtu, offloads);
        var toB = new MemoryLane(slots, mtu, offloads);
        A = new MemoryPort(nameA, mtu, offloads, toA, toB);
        B = new MemoryPort(nameB, mtu, offloads, toB, toA);
    }

    /// <summary>One end.</summary>
    public MemoryPort A { get; }

    /// <summary>The other end.</summary>
    public MemoryPort B { get; }

    /// <summary>Closes both ends.</summary>
    public void Dispose()
    {
        A.Dispose();
        B.Dispose();
    }
}

/// <summary>One direction of a <see cref="MemoryWire"/>: fixed slots between one sender and one receiver, owned by the receiver.</summary>
internal sealed class MemoryLane : IDisposable
{
    private const int SuperFrame = 69_632, LinkHeaders = 14 + 8, Alignment = 64;

    private readonly FrameRef[] _frames;
    private readonly int _slotSize;
    private readonly SharedRegion _memory;
    private long _written, _released;

    internal MemoryLane(int slots, int mtu, bool offloads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(slots, 1);
        _frames = new FrameRef[slots];
        _slotSize = offloads ? SuperFrame : (mtu + LinkHeaders + Alignment - 1) / Alignment * Alignment;
        _memory = SharedRegion.Anonymous((long)slots * _slotSize);
        MaxLength = offloads ? SuperFrame : mtu + LinkHeaders;
    }

    /// <summary>Longest frame that a slot takes, in bytes.</summary>
    internal int MaxLength { get; }

    /// <summary>Copies a frame in; false if there is no slot.</summary>
    internal bool TryWrite(in FrameRef frame)
    {
        if (_written - Volatile.Read(ref _released) == _frames.Length) return false;
        int slot = (int)(_written % _frames.Length);
        nint address = _memory.Address + ((nint)slot * _slotSize);
        frame.Bytes.CopyTo(MemoryNative.Span(address, frame.Length));
        _frames[slot] = new FrameRef { Address = address, Length = frame.Length, Vnet = frame.Vnet };
        Volatile.Write(ref _written, _written + 1);
        return true;
    }

    /// <summary>Frame number <paramref name="index"/> beyond those released; false if it is not there yet.</summary>
    internal bool TryRead(int index, out FrameRef frame)
    {
        frame = default;
        if (_released + index >= Volatile.Read(ref _written)) return false;
        frame = _frames[(int)((_released + index) % _frames.Length)];
        return true;
    }

    internal void Release(int count) => Volatile.Write(ref _released, _released + count);

    public void Dispose() => _memory.Dispose();
}
