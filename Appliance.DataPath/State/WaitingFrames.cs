using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>
/// Frames that wait for a next hop's MAC: a slab of equal slots and queues linked through it. A
/// frame that has been taken out keeps its slot until that is released, so that it can be lent
/// to a port. Not for several threads: <see cref="NeighborTable"/> locks.
/// </summary>
internal sealed class WaitingFrames : IDisposable
{
    private readonly nint _memory;
    private readonly int _slotSize;
    private readonly int[] _next;
    private readonly FrameRef[] _frames;
    private int _free;

    public WaitingFrames(int slots, int slotSize)
    {
        _slotSize = slotSize;
        _memory = MemoryNative.Allocate((nuint)((long)slots * slotSize));
        _next = new int[slots + 1];
        _frames = new FrameRef[slots + 1];
        for (int slot = slots; slot >= 1; slot--) Release(slot);
    }

    // Slots count from 1: 0 is the end of a queue.
    public bool TryAppend(ref Queue queue, ReadOnlySpan<byte> frame, in VnetHeader vnet)
    {
        int slot = _free;
        if (slot == 0 || frame.Length > _slotSize) return false;
        _free = _next[slot];
        nint address = _memory + (nint)(slot - 1) * _slotSize;
        frame.CopyTo(MemoryNative.Span(address, frame.Length));
        _frames[slot] = new FrameRef { Address = address, Length = frame.Length, Vnet = vnet };
        _next[slot] = 0;
        if (queue.Count++ == 0) queue.First = slot;
        else _next[queue.Last] = slot;
        queue.Last = slot;
        return true;
    }

    public bool TryTake(ref Queue queue, out FrameRef frame, out int slot)
    {
        slot = queue.Count == 0 ? 0 : queue.First;
        frame = _frames[slot];
        if (slot == 0) return false;
        queue.First = _next[slot];
        queue.Count--;
        return true;
    }

    public void Release(int slot)
    {
        _next[slot] = _free;
        _free = slot;
    }

    public void Dispose() => MemoryNative.Free(_memory);

    internal struct Queue
    {
        public int First, Last, Count;
    }
}
