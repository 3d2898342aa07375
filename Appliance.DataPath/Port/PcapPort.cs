using Appliance.DataPath.Memory;

namespace Appliance.DataPath.Port;

/// <summary>
/// Receives the frames of one capture and writes what is sent to another: the data path offline.
/// Time is the caller's: frames later than <see cref="Now"/> are not there yet, and what is sent
/// is stamped with it. Frames that the capture itself cut short, or beyond 64 KB and headers, are counted as truncated
/// and left out. A capture knows nothing of partial checksums: frames are taken as complete.
/// </summary>
public sealed class PcapPort : FramePort
{
    private const int Slots = 64, SlotSize = 69_632;

    private readonly PcapReader? _reader;
    private readonly PcapWriter? _writer;
    private readonly ScratchPool _slots = new(Slots, SlotSize);
    private readonly FrameRef[] _queue = new FrameRef[256];
    private FrameRef _ahead;
    private bool _hasAhead;
    private int _queued;

    /// <summary>Either file may be missing. Takes over both.</summary>
    public PcapPort(string name, PcapReader? reader, PcapWriter? writer, int mtu = 1500, bool offloads = false)
    {
        Name = name;
        Mtu = mtu;
        Offloads = offloads;
        _reader = reader;
        _writer = writer;
        ReadAhead();
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override int Mtu { get; }

    /// <inheritdoc/>
    public override bool Offloads { get; }

    /// <summary>Time of the next frame in the capture, in nanoseconds; <see cref="long.MaxValue"/> when there is none.</summary>
    public long NextTime { get; private set; } = long.MaxValue;

    /// <summary>The caller's time in nanoseconds, on the capture's scale.</summary>
    public long Now { get; set; }

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch)
    {
        batch.Clear();
        Release();
        while (_hasAhead && NextTime <= Now && batch.Count < batch.Capacity)
        {
            Counters.ReceivedFrames++;
            Counters.ReceivedBytes += _ahead.Length;
            batch.Add(_ahead);
            _hasAhead = false;
            if (_slots.Used == Slots) break;
            ReadAhead();
        }
        return batch.Count;
    }

    /// <inheritdoc/>
    public override void Release()
    {
        // The frame read ahead lies in the last slot taken and becomes the only one still in use.
        FrameRef ahead = _ahead;
        _slots.Reset();
        if (!_hasAhead)
        {
            ReadAhead();
            return;
        }
        _ = _slots.TryTake(out nint first);
        if (first == ahead.Address) return;
        ahead.Bytes.CopyTo(MemoryNative.Span(first, ahead.Length));
        _ahead.Address = first;
    }

    /// <inheritdoc/>
    public override bool Send(in FrameRef frame)
    {
        if (_queued == _queue.Length) Flush();
        _queue[_queued++] = frame;
        return true;
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        for (int i = 0; i < _queued; i++)
        {
            _writer?.Write(_queue[i].Bytes, Now);
            Counters.SentFrames++;
            Counters.SentBytes += _queue[i].Length;
        }
        _queued = 0;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        _reader?.Dispose();
        _writer?.Dispose();
        _slots.Dispose();
    }

    private void ReadAhead()
    {
        NextTime = long.MaxValue;
        if (_reader is null || !_slots.TryTake(out nint address)) return;
        while (_reader.TryRead(MemoryNative.Span(address, SlotSize), out int length, out int original, out long time))
        {
            if (length < original || length > SlotSize)
            {
                Counters.Truncated++;
                continue;
            }
            _ahead = new FrameRef { Address = address, Length = length };
            _hasAhead = true;
            NextTime = time;
            return;
        }
    }
}
