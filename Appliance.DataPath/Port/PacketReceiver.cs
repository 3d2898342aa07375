namespace Appliance.DataPath.Port;

/// <summary>The receiving half of an <see cref="AfPacketPort"/>: one of two ways to get frames out of the kernel.</summary>
internal abstract class PacketReceiver : IDisposable
{
    /// <summary>Fills an empty <paramref name="batch"/>; returns how many.</summary>
    internal abstract int Receive(FrameBatch batch, PortCounters counters);

    /// <summary>Gives borrowed frames back.</summary>
    internal abstract void Release();

    /// <inheritdoc/>
    public abstract void Dispose();
}
