using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>One end of a <see cref="MemoryWire"/>. Keeps the contract of <see cref="FramePort"/> to the letter, has no descriptor to poll, and uses no clock.</summary>
public sealed class MemoryPort : FramePort
{
    private const int QueueLength = 256;

    private readonly MemoryLane _receive, _send;
    private readonly FrameRef[] _queue = new FrameRef[QueueLength];
    private int _queued, _borrowed;

    internal MemoryPort(string name, int mtu, bool offloads, MemoryLane receive, MemoryLane send)
    {
        Name = name;
        Mtu = mtu;
        Offloads = offloads;
        _receive = receive;
        _send = send;
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override int Mtu { get; }

    /// <inheritdoc/>
    public override bool Offloads { get; }

    /// <summary>True if a frame waits to be received.</summary>
    public bool HasFrames => _receive.TryRead(_borrowed, out _);

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch)
    {
        batch.Clear();
        Release();
        while (batch.Count < batch.Capacity && _receive.TryRead(_borrowed, out FrameRef frame))
        {
            _borrowed++;
            Counters.ReceivedFrames++;
            Counters.ReceivedBytes += frame.Length;
            batch.Add(frame);
        }
        return batch.Count;
    }

    /// <inheritdoc/>
    public override void Release()
    {
        if (_borrowed == 0) return;
        _receive.Release(_borrowed);
        _borrowed = 0;
    }

    /// <inheritdoc/>
    public override bool Send(in FrameRef frame)
    {
        if (frame.Length > _send.MaxLength || frame.Length < PacketParser.EthernetLength || (!Offloads && (frame.Vnet.IsSuperFrame || frame.Vnet.NeedsChecksum)))
        {
            Counters.SendErrors++;
            return false;
        }
        if (_queued == QueueLength) Flush();
        _queue[_queued++] = frame;
        return true;
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        for (int i = 0; i < _queued; i++)
        {
            if (!_send.TryWrite(_queue[i]))
            {
                // As on a real wire the sender has sent it; that nobody took it is seen here, since the other end is another thread's.
                Counters.SendDrops++;
                continue;
            }
            Counters.SentFrames++;
            Counters.SentBytes += _queue[i].Length;
        }
        _queued = 0;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) _receive.Dispose();
    }
}
