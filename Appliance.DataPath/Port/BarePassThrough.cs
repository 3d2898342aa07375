using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// The smallest forwarder there can be: every frame of one port goes out of the other with new MACs,
/// without a look at anything else. The baseline against which the data path is measured, and the
/// instrument that compares ways to receive and transmit. No routing, no TTL, no ARP.
/// </summary>
public sealed class BarePassThrough(FramePort a, FramePort b, int batch = 64)
{
    private readonly FrameBatch _batch = new(batch);

    /// <summary>Destination and source of frames that leave by the first port.</summary>
    public required (MacAddress Destination, MacAddress Source) ToA { get; init; }

    /// <summary>Destination and source of frames that leave by the second port.</summary>
    public required (MacAddress Destination, MacAddress Source) ToB { get; init; }

    /// <summary>One cycle; returns the number of frames moved.</summary>
    public int Cycle() => Move(a, b, ToB) + Move(b, a, ToA);

    /// <summary>Cycles, and sleeps when nothing is there, until told to stop.</summary>
    public void Run(Waiter waiter, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
            if (Cycle() == 0) waiter.Wait(-1);
    }

    private int Move(FramePort from, FramePort to, (MacAddress Destination, MacAddress Source) macs)
    {
        int count = from.Receive(_batch);
        if (count == 0) return 0;
        for (int i = 0; i < count; i++)
        {
            ref FrameRef frame = ref _batch[i];
            Span<byte> bytes = frame.Bytes;
            macs.Destination.Write(bytes);
            macs.Source.Write(bytes[6..]);
            to.Send(frame);
        }
        to.Flush();
        from.Release();
        return count;
    }
}
