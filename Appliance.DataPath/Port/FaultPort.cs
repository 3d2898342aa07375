namespace Appliance.DataPath.Port;

/// <summary>
/// Wraps any port and makes its wire a bad one, by a plan for each direction and a seed. Super-frames
/// are split and checksums completed, so that every fault means wire segments; a direction without a plan
/// passes frames through untouched. Time is the caller's (virtual or real): delayed segments come out at the first
/// <see cref="Receive"/> or <see cref="Flush"/> at or after <see cref="NextDue"/>.
/// </summary>
public sealed class FaultPort : FramePort
{
    private readonly FramePort _inner;
    private readonly Func<long> _clock;
    private readonly FaultLine? _receive, _send;
    private readonly FrameBatch _arriving;

    /// <summary>Takes over <paramref name="inner"/>; at most <paramref name="capacity"/> segments are under way in each direction.</summary>
    public FaultPort(FramePort inner, ulong seed, Func<long> clock, FaultPlan? receive = null, FaultPlan? send = null, int capacity = 4096)
    {
        _inner = inner;
        _clock = clock;
        _arriving = new FrameBatch(64);
        int slotSize = inner.Mtu + 64;
        if (receive is not null) _receive = new FaultLine(receive, seed, capacity, slotSize);
        if (send is not null) _send = new FaultLine(send, ~seed, capacity, slotSize);
    }

    /// <inheritdoc/>
    public override string Name => _inner.Name;

    /// <inheritdoc/>
    public override int Mtu => _inner.Mtu;

    /// <inheritdoc/>
    public override bool Offloads => _inner.Offloads;

    /// <inheritdoc/>
    public override IReadOnlyList<int> PollHandles => _inner.PollHandles;

    /// <summary>What was done to frames received; null without a plan.</summary>
    public FaultCounters? Receiving => _receive?.Counters;

    /// <summary>What was done to frames sent; null without a plan.</summary>
    public FaultCounters? Sending => _send?.Counters;

    /// <summary>When the next delayed segment is due, <see cref="long.MaxValue"/> if none is.</summary>
    public long NextDue => Math.Min(_receive?.NextDue ?? long.MaxValue, _send?.NextDue ?? long.MaxValue);

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch)
    {
        if (_receive is null) return Count(batch, _inner.Receive(batch));
        batch.Clear();
        _receive.Release();
        long now = _clock();
        while (_inner.Receive(_arriving) > 0)
        {
            for (int i = 0; i < _arriving.Count; i++) _receive.Push(_arriving[i], now);
            _inner.Release();
            if (_arriving.Count < _arriving.Capacity) break;
        }
        while (batch.Count < batch.Capacity && _receive.TryPop(now, out FrameRef frame)) batch.Add(frame);
        return Count(batch, batch.Count);
    }

    /// <inheritdoc/>
    public override void Release()
    {
        if (_receive is null) _inner.Release();
        else _receive.Release();
    }

    /// <inheritdoc/>
    public override bool Send(in FrameRef frame)
    {
        if (_send is null)
        {
            if (_inner.Send(frame)) return CountSent(frame.Length);
            Counters.SendDrops++;
            return false;
        }
        _send.Push(frame, _clock());
        return CountSent(frame.Length);
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (_send is not null)
        {
            long now = _clock();
            while (_send.TryPop(now, out FrameRef frame)) _inner.Send(frame);
        }
        _inner.Flush();
        _send?.Release();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        _inner.Dispose();
        _receive?.Dispose();
        _send?.Dispose();
    }

    private int Count(FrameBatch batch, int count)
    {
        for (int i = 0; i < count; i++) Counters.ReceivedBytes += batch[i].Length;
        Counters.ReceivedFrames += count;
        return count;
    }

    private bool CountSent(int bytes)
    {
        Counters.SentFrames++;
        Counters.SentBytes += bytes;
        return true;
    }
}
