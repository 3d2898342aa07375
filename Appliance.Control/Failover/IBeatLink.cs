namespace Appliance.Control.Failover;

/// <summary>
/// Beats on one traffic link: whole datagrams in frames of their own EtherType (0x88b5, local
/// experimental), to a multicast address that all boxes receive. Non-blocking; used by the liveness thread only.
/// </summary>
public interface IBeatLink : IDisposable
{
    /// <summary>A descriptor to poll, or -1.</summary>
    int PollHandle { get; }

    /// <summary>Sends; the frame's source is the box's address of a kind (0 to 3) on this link: beats keep all four learned by the switches.</summary>
    void Send(int sourceKind, ReadOnlySpan<byte> datagram);

    /// <summary>The next waiting datagram; 0 if there is none.</summary>
    int Receive(Span<byte> datagram);
}
