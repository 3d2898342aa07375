using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>A frame in unmanaged (or pinned) memory, with what the kernel said about it.</summary>
public struct FrameRef
{
    /// <summary>Where its first byte is.</summary>
    public nint Address;

    /// <summary>Bytes, without frame check sequence.</summary>
    public int Length;

    /// <summary>Offload state.</summary>
    public VnetHeader Vnet;

    /// <summary>The frame's bytes.</summary>
    public readonly Span<byte> Bytes => MemoryNative.Span(Address, Length);
}

/// <summary>Frames borrowed from a port by one receive; preallocated, used again and again.</summary>
public sealed class FrameBatch(int capacity)
{
    private readonly FrameRef[] _frames = new FrameRef[capacity];

    /// <summary>How many it can hold.</summary>
    public int Capacity => _frames.Length;

    /// <summary>How many it holds.</summary>
    public int Count { get; private set; }

    /// <summary>The frame at <paramref name="index"/>, below <see cref="Count"/>.</summary>
    public ref FrameRef this[int index] => ref _frames[index];

    /// <summary>Empties it.</summary>
    public void Clear() => Count = 0;

    /// <summary>Appends; the caller has seen to it that there is room.</summary>
    public void Add(in FrameRef frame) => _frames[Count++] = frame;
}

/// <summary>What a port has counted since it was opened; written by its worker only.</summary>
public sealed class PortCounters
{
    /// <summary>Frames and bytes received and sent (super-frames count once), frames not sent for want of room or refused by the kernel.</summary>
    public long ReceivedFrames, ReceivedBytes, SentFrames, SentBytes, SendDrops, SendErrors;

    /// <summary>Frames that the kernel could not put into the receive ring, and frames that arrived truncated.</summary>
    public long ReceiveDrops, Truncated;
}

/// <summary>
/// A packet I/O endpoint, used by one worker thread. Receiving borrows: frames of a batch are
/// valid, and may be rewritten in place, until <see cref="Release"/>. Sending lends: memory
/// given to <see cref="Send"/> stays untouched until <see cref="Flush"/> has returned, so a
/// received frame can be sent without a copy in between (flush before release). A full queue is a counted drop; nothing waits.
/// </summary>
public abstract class FramePort : IDisposable
{
    /// <summary>Name for counters and messages, for example "eth0".</summary>
    public abstract string Name { get; }

    /// <summary>Largest IP packet in bytes that one wire frame carries.</summary>
    public abstract int Mtu { get; }

    /// <summary>True if <see cref="Send"/> takes super-frames and partial checksums.</summary>
    public abstract bool Offloads { get; }

    /// <summary>Descriptors to poll for readability; none if the port has none.</summary>
    public virtual IReadOnlyList<int> PollHandles => [];

    /// <summary>Counters since opening.</summary>
    public PortCounters Counters { get; } = new();

    /// <summary>Clears <paramref name="batch"/> and borrows up to its capacity of waiting frames; returns how many. Never waits.</summary>
    public abstract int Receive(FrameBatch batch);

    /// <summary>Gives back all frames borrowed by the last <see cref="Receive"/>.</summary>
    public abstract void Release();

    /// <summary>Queues a frame for sending; false, and counted, if there is no room.</summary>
    public abstract bool Send(in FrameRef frame);

    /// <summary>Hands all queued frames to the kernel (or the wire); afterwards their memory is the caller's again.</summary>
    public abstract void Flush();

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what the port holds.</summary>
    protected abstract void Dispose(bool disposing);
}
