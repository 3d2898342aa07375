using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// The life of a packet socket from opening to closing, without the frames: options, filter, binding,
/// memberships, fanout, drop statistics. Until the filter is attached the socket is bound to
/// no protocol, so nothing foreign ever enters it.
/// </summary>
internal sealed unsafe class AfPacketSocket : IDisposable
{
    private const ushort MembershipMulticast = 0, MembershipPromiscuous = 1, MembershipUnicast = 3;

    private readonly string _name;
    private readonly int _index;
    private readonly FrameShare _share;
    private MacFilter _filter;

    internal AfPacketSocket(LinkInfo link, MacFilter filter, FrameShare share)
    {
        _share = share;
        _name = link.Name;
        _index = link.Index;
        _filter = filter;
        Handle = SocketNative.Socket(SocketNative.AfPacket, SocketNative.SockRaw | SocketNative.SockNonBlock | SocketNative.SockCloExec, 0);
        if (Handle < 0) throw PortException.For(_name, "a packet socket", SocketNative.Error);
    }

    internal int Handle { get; private set; }

    /// <summary>What must be set before a ring exists.</summary>
    internal void SetOptions(AfPacketOptions options)
    {
        Check(SocketNative.SetInt(Handle, SocketNative.SolPacket, SocketNative.PacketVnetHdr, 1), "PACKET_VNET_HDR");
        Check(SocketNative.SetInt(Handle, SocketNative.SolPacket, SocketNative.PacketIgnoreOutgoing, 1), "PACKET_IGNORE_OUTGOING");
        if (options.BypassQdisc) Check(SocketNative.SetInt(Handle, SocketNative.SolPacket, SocketNative.PacketQdiscBypass, 1), "PACKET_QDISC_BYPASS");
        // Without CAP_NET_ADMIN the kernel's own limit applies instead.
        if (!SocketNative.SetInt(Handle, SocketNative.SolSocket, SocketNative.SoSndBufForce, options.SendBuffer))
            Check(SocketNative.SetInt(Handle, SocketNative.SolSocket, SocketNative.SoSndBuf, options.SendBuffer), "SO_SNDBUF");
    }

    /// <summary>Lets frames in: filter first, then the binding.</summary>
    internal void Start(AfPacketOptions options)
    {
        if (options.Fanout is not { } fanout)
        {
            Check(AttachFilter(_filter), "the socket filter");
            Check(SocketNative.BindLink(Handle, _index, SocketNative.EthPAll), "binding");
        }
        else
        {
            // A socket joins a group only when it is bound, and is not to receive the others' flows until then.
            Check(SocketNative.Attach(Handle, SocketNative.SolSocket, SocketNative.SoAttachFilter, MacFilter.Nothing), "the socket filter");
            Check(SocketNative.BindLink(Handle, _index, SocketNative.EthPAll), "binding");
            // A group does not heed its sockets' PACKET_IGNORE_OUTGOING; kernels before 6.2 do not know its own flag and ignore it.
            int group = fanout.Group | ((SocketNative.FanoutCbpf | SocketNative.FanoutIgnoreOutgoing) << 16);
            Check(SocketNative.SetInt(Handle, SocketNative.SolPacket, SocketNative.PacketFanout, group), "PACKET_FANOUT");
            Check(SocketNative.Attach(Handle, SocketNative.SolPacket, SocketNative.PacketFanoutData, FanoutProgram.Build(fanout.Side, fanout.Count)), "the fanout program");
            Check(AttachFilter(_filter), "the socket filter");
        }
        foreach (MacAddress address in _filter.Addresses) Check(Join(SocketNative.PacketAddMembership, address), $"the membership for {address}");
        if (options.Promiscuous) Check(SocketNative.Membership(Handle, SocketNative.PacketAddMembership, _index, MembershipPromiscuous, default), "promiscuous mode");
    }

    /// <summary>Swaps the set of accepted addresses; false if the kernel refuses, then nothing foreign enters either.</summary>
    internal bool Change(MacFilter filter)
    {
        bool done = true;
        foreach (MacAddress address in filter.Addresses)
            if (!_filter.Contains(address)) done &= Join(SocketNative.PacketAddMembership, address);
        done &= AttachFilter(filter);
        foreach (MacAddress address in _filter.Addresses)
            if (!filter.Contains(address)) done &= Join(SocketNative.PacketDropMembership, address);
        _filter = filter;
        return done;
    }

    /// <summary>Takes the place of another socket, which is closed: who polls or sends by its number goes on with this one.</summary>
    internal void TakePlaceOf(int handle)
    {
        SocketNative.Move(Handle, handle);
        Handle = handle;
    }

    /// <summary>Frames dropped by the kernel since the last call (PACKET_STATISTICS clears itself).</summary>
    internal uint TakeDrops()
    {
        uint* statistics = stackalloc uint[2];
        uint length = 2 * sizeof(uint);
        return SocketNative.GetOption(Handle, SocketNative.SolPacket, SocketNative.PacketStatistics, statistics, &length) == 0 ? statistics[1] : 0;
    }

    public void Dispose()
    {
        if (Handle >= 0) _ = SocketNative.Close(Handle);
        Handle = -1;
    }

    private bool AttachFilter(MacFilter filter) => SocketNative.Attach(Handle, SocketNative.SolSocket, SocketNative.SoAttachFilter, FrameShareProgram.Build(_share, filter));

    private bool Join(int option, MacAddress address) =>
        address == MacAddress.Broadcast
        || SocketNative.Membership(Handle, option, _index, address.IsGroup ? MembershipMulticast : MembershipUnicast, address);

    private void Check(bool done, string what)
    {
        if (!done) throw PortException.For(_name, what, SocketNative.Error);
    }
}
