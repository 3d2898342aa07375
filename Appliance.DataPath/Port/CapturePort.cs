namespace Appliance.DataPath.Port;

/// <summary>
/// Wraps any port and writes what passes through it, both ways, to a capture. Frames stand there as
/// they were at the port: super-frames whole, partial checksums partial.
/// </summary>
public sealed class CapturePort(FramePort inner, PcapWriter writer, Func<long> clock) : FramePort
{
    /// <inheritdoc/>
    public override string Name => inner.Name;

    /// <inheritdoc/>
    public override int Mtu => inner.Mtu;

    /// <inheritdoc/>
    public override bool Offloads => inner.Offloads;

    /// <inheritdoc/>
    public override IReadOnlyList<int> PollHandles => inner.PollHandles;

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch)
    {
        int count = inner.Receive(batch);
        if (count == 0) return 0;
        long now = clock();
        for (int i = 0; i < count; i++)
        {
            writer.Write(batch[i].Bytes, now);
            Counters.ReceivedFrames++;
            Counters.ReceivedBytes += batch[i].Length;
        }
        return count;
    }

    /// <inheritdoc/>
    public override void Release() => inner.Release();

    /// <inheritdoc/>
    public override bool Send(in FrameRef frame)
    {
        if (!inner.Send(frame))
        {
            Counters.SendDrops++;
            return false;
        }
        writer.Write(frame.Bytes, clock());
        Counters.SentFrames++;
        Counters.SentBytes += frame.Length;
        return true;
    }

    /// <inheritdoc/>
    public override void Flush() => inner.Flush();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        inner.Dispose();
        writer.Dispose();
    }
}
