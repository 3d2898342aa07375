using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;

namespace Appliance.Bench;

/// <summary>
/// A port without a wire: receives batches of prepared frames as long as there are any left, counts what is sent and
/// keeps where the last frame lay. The frames' headers are put back before each batch, as a ring would bring others.
/// </summary>
internal sealed class LoopPort(string name, int headerBytes) : FramePort
{
    private const int Stride = 2048;

    private readonly List<byte[]> _templates = [];
    private nint _memory;
    private int _next, _left;

    public override string Name => name;

    public override int Mtu => 1500;

    public override bool Offloads => true;

    /// <summary>The frame that was sent last, while its memory lasts.</summary>
    public FrameRef LastSent { get; private set; }

    /// <summary>Frames to receive, in their order, again and again.</summary>
    public void Load(IEnumerable<byte[]> frames)
    {
        _templates.AddRange(frames);
        _memory = MemoryNative.Allocate(64 * Stride);
    }

    /// <summary>Lets so many frames arrive.</summary>
    public void Arm(int frames) => _left = frames;

    public override int Receive(FrameBatch batch)
    {
        batch.Clear();
        for (int slot = 0; _left > 0 && batch.Count < batch.Capacity; slot++, _left--)
        {
            byte[] template = _templates[_next];
            if (++_next == _templates.Count) _next = 0;
            nint at = _memory + slot * Stride + 2;
            template.AsSpan(0, headerBytes).CopyTo(MemoryNative.Span(at, headerBytes));
            batch.Add(new FrameRef { Address = at, Length = template.Length });
        }
        return batch.Count;
    }

    public override void Release()
    {
    }

    public override bool Send(in FrameRef frame)
    {
        LastSent = frame;
        Counters.SentFrames++;
        return true;
    }

    public override void Flush()
    {
    }

    protected override void Dispose(bool disposing)
    {
        if (_memory != 0) MemoryNative.Free(_memory);
        _memory = 0;
    }
}
