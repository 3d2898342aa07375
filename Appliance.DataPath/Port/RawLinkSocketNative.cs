using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// A small raw socket for one EtherType on one interface, apart from the data path's rings: liveness
/// beats go through it with the highest priority, from a thread of their own. Whole frames with
/// Ethernet header, no offloads. Never waits, never throws after opening, allocates nothing.
/// </summary>
public sealed unsafe class RawLinkSocket : IDisposable
{
    // TC_PRIO_CONTROL: the band that pfifo_fast and prio empty first.
    private const int Priority = 7;
    private const ushort MembershipMulticast = 0, MembershipUnicast = 3;

    private RawLinkSocket(int handle) => Handle = handle;

    /// <summary>Descriptor to poll for readability.</summary>
    public int Handle { get; private set; }

    /// <summary>Opens a socket on <paramref name="interfaceName"/> that receives <paramref name="etherType"/> frames, also those to <paramref name="addresses"/>; throws a <see cref="PortException"/>.</summary>
    public static RawLinkSocket Open(string interfaceName, ushort etherType, ReadOnlySpan<MacAddress> addresses)
    {
        LinkInfo link = LinkInfo.Query(interfaceName);
        int handle = SocketNative.Socket(SocketNative.AfPacket, SocketNative.SockRaw | SocketNative.SockNonBlock | SocketNative.SockCloExec, 0);
        if (handle < 0) throw PortException.For(interfaceName, "a packet socket", SocketNative.Error);
        bool done = SocketNative.SetInt(handle, SocketNative.SolPacket, SocketNative.PacketIgnoreOutgoing, 1)
            && SocketNative.SetInt(handle, SocketNative.SolSocket, SocketNative.SoPriority, Priority);
        foreach (MacAddress address in addresses)
        {
            done = done && (address == MacAddress.Broadcast || SocketNative.Membership(
                handle, SocketNative.PacketAddMembership, link.Index, address.IsGroup ? MembershipMulticast : MembershipUnicast, address));
        }
        if (done && SocketNative.BindLink(handle, link.Index, etherType)) return new RawLinkSocket(handle);
        int error = SocketNative.Error;
        _ = SocketNative.Close(handle);
        throw PortException.For(interfaceName, "a packet socket", error);
    }

    /// <summary>Opens the interface of this name anew, as it is now, under the same descriptor; others may use the socket meanwhile. Throws a <see cref="PortException"/>.</summary>
    public void Reopen(string interfaceName, ushort etherType, ReadOnlySpan<MacAddress> addresses) => SocketNative.Move(Open(interfaceName, etherType, addresses).Handle, Handle);

    /// <summary>Sends a frame; false if the kernel does not take it now.</summary>
    public bool Send(ReadOnlySpan<byte> frame)
    {
        fixed (byte* p = frame) return SocketNative.Send(Handle, p, (nuint)frame.Length, SocketNative.MsgDontWait) == frame.Length;
    }

    /// <summary>Receives a frame into <paramref name="frame"/> (cut if longer); its length, or -1 if none waits.</summary>
    public int Receive(Span<byte> frame)
    {
        fixed (byte* p = frame) return (int)SocketNative.Recv(Handle, p, (nuint)frame.Length, SocketNative.MsgDontWait);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Handle >= 0) _ = SocketNative.Close(Handle);
        Handle = -1;
    }
}
