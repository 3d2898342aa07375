namespace Appliance.DataPath.Port;

/// <summary>The receiving half of an <see cref="AfPacketPort"/>: one of two ways to get frames out of the kernel.</summary>
internal abstract class PacketReceiver : IDisposable
{
    /// <summary>Adds at most <paramref name="most"/> frames, and what there is room for, to <paramref name="batch"/>.</summary>
    internal abstract void Receive(FrameBatch batch, int most, PortCounters counters);

    /// <summary>Gives borrowed frames back.</summary>
    internal abstract void Release();

    /// <inheritdoc/>
    public abstract void Dispose();
}
