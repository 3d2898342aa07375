using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>A frame (or sync datagram) in flight; one owner at a time, back to its pool after delivery.</summary>
internal sealed class SimFrame(int sizeClass, int capacity)
{
    /// <summary>Room; the frame is its first <see cref="Length"/> bytes.</summary>
    public readonly byte[] Bytes = new byte[capacity];

    /// <summary>Bytes in use.</summary>
    public int Length;

    /// <summary>Offload state; default for a wire frame.</summary>
    public VnetHeader Vnet;

    /// <summary>Free for the one who carries it (sender of a datagram).</summary>
    public int Tag;

    /// <summary>Which free list it belongs to.</summary>
    public int SizeClass => sizeClass;

    /// <summary>The frame's bytes.</summary>
    public Span<byte> Span => Bytes.AsSpan(0, Length);
}

/// <summary>Free lists of frames in three sizes (wire, jumbo, super); one pool per thread, kept from seed to seed.</summary>
internal sealed class SimFramePool
{
    private static readonly int[] Sizes = [2048, 10_240, 69_632];

    private readonly Stack<SimFrame>[] _free = [new(), new(), new()];

    [ThreadStatic]
    private static SimFramePool? _ofThread;

    /// <summary>The calling thread's pool.</summary>
    public static SimFramePool OfThread => _ofThread ??= new SimFramePool();

    /// <summary>A frame with room for <paramref name="length"/> bytes, length set, contents undefined.</summary>
    public SimFrame Rent(int length)
    {
        int sizeClass = length <= Sizes[0] ? 0 : length <= Sizes[1] ? 1 : 2;
        SimFrame frame = _free[sizeClass].Count > 0 ? _free[sizeClass].Pop() : new SimFrame(sizeClass, Sizes[sizeClass]);
        frame.Length = length;
        frame.Vnet = default;
        frame.Tag = 0;
        return frame;
    }

    /// <summary>A copy.</summary>
    public SimFrame Copy(ReadOnlySpan<byte> bytes, in VnetHeader vnet)
    {
        SimFrame frame = Rent(bytes.Length);
        bytes.CopyTo(frame.Bytes);
        frame.Vnet = vnet;
        return frame;
    }

    /// <summary>Gives a frame back.</summary>
    public void Return(SimFrame frame) => _free[frame.SizeClass].Push(frame);
}
