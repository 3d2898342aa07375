using Appliance.Control.Failover;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>Beats on a traffic link: frames of EtherType 0x88b5 to a group address of our own, beside the worker's rings and never behind them.</summary>
public sealed class BeatLink : IBeatLink
{
    private const int HeaderLength = 14;

    private static readonly MacAddress Group = new(0x0300_0000_88b5);

    private readonly RawLinkSocket _socket;
    private readonly BoxLink _link;
    private readonly byte[] _frame = new byte[1600];

    /// <summary>Opens a socket on the link's interface.</summary>
    /// <exception cref="PortException">The interface or the privilege is missing.</exception>
    public BeatLink(BoxLink link)
    {
        _link = link;
        _socket = RawLinkSocket.Open(link.InterfaceName, MacFilter.BeatEtherType, [Group]);
    }

    /// <inheritdoc/>
    public int PollHandle => _socket.Handle;

    /// <inheritdoc/>
    public void Send(int sourceKind, ReadOnlySpan<byte> datagram)
    {
        Span<byte> frame = _frame;
        Group.Write(frame);
        _link.Macs[sourceKind].Write(frame[6..]);
        frame[12] = MacFilter.BeatEtherType >> 8;
        frame[13] = MacFilter.BeatEtherType & 255;
        datagram.CopyTo(frame[HeaderLength..]);
        _socket.Send(frame[..(HeaderLength + datagram.Length)]);
    }

    /// <summary>Opens a new interface of the same name; from any thread.</summary>
    /// <exception cref="PortException">There is none.</exception>
    public void Reopen() => _socket.Reopen(_link.InterfaceName, MacFilter.BeatEtherType, [Group]);

    /// <inheritdoc/>
    public int Receive(Span<byte> datagram)
    {
        int length = _socket.Receive(_frame) - HeaderLength;
        if (length <= 0 || length > datagram.Length) return 0;
        _frame.AsSpan(HeaderLength, length).CopyTo(datagram);
        return length;
    }

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();
}
