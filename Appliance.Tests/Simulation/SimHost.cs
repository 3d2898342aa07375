using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>The four names of a connection at one host.</summary>
internal readonly record struct ConnectionKey(IpAddr Local, ushort LocalPort, IpAddr Remote, ushort RemotePort)
{
    /// <inheritdoc/>
    public override int GetHashCode() => (int)SimRandom.Hash(Local.Low ^ ulong.RotateLeft(Remote.Low, 17) ^ ((ulong)LocalPort << 32) ^ ((ulong)RemotePort << 48));
}

/// <summary>
/// A client or server machine: one port, any number of addresses (all the clients behind a router are one host with many
/// addresses), neighbours and a default route per family, and model TCP. Speaks no UDP and no echo.
/// </summary>
internal sealed class SimHost : SimNode, INeighbourOwner
{
    private readonly Dictionary<ConnectionKey, ModelTcp> _connections = [];
    private readonly HashSet<IpAddr> _addresses = [];
    private readonly SimNeighbours _neighbours;
    private ushort _id;

    public SimHost(SimWorld world, string name, int number, ulong mac)
        : base(world, name, number)
    {
        Mac = new MacAddress(mac);
        _neighbours = new SimNeighbours(this);
    }

    public MacAddress Mac { get; }

    /// <summary>Next hop per family for destinations off the link; none means everything is on the link.</summary>
    public IpAddr Gateway4 { get; set; }

    public IpAddr Gateway6 { get; set; }

    /// <summary>Addresses that it asks neighbours with.</summary>
    public IpAddr Own4 { get; set; }

    public IpAddr Own6 { get; set; }

    /// <summary>Networks on the link: 0/24 of these addresses, 64 bits for IPv6.</summary>
    public IpAddr OnLink4 { get; set; }

    public IpAddr OnLink6 { get; set; }

    /// <summary>Judges may take the order of arrival for the order of sending.</summary>
    public bool PathKeepsOrder { get; set; }

    /// <summary>True if super-frames may be sent.</summary>
    public bool SuperFrames => Ports[0].Offloads;

    /// <summary>Makes the profile and application of a connection that comes in; null refuses it.</summary>
    public Func<SimHost, ConnectionKey, (TcpProfile Profile, SimApp App)?>? Accept { get; set; }

    public long BadChecksums { get; private set; }

    /// <summary>Segments for no connection, RSTs sent for them.</summary>
    public long Unmatched { get; private set; }

    public long ResetsSent { get; private set; }

    public int ConnectionCount => _connections.Count;

    public void AddAddress(IpAddr address) => _addresses.Add(address);

    public bool HasAddress(IpAddr address) => _addresses.Contains(address);

    public ModelTcp Connect(IpAddr local, ushort localPort, IpAddr remote, ushort remotePort, TcpProfile profile, SimApp app)
    {
        var tcp = new ModelTcp(this, local, localPort, remote, remotePort, profile, app);
        _connections[new ConnectionKey(local, localPort, remote, remotePort)] = tcp;
        tcp.Connect();
        return tcp;
    }

    public void Forget(ModelTcp tcp)
    {
        var key = new ConnectionKey(tcp.Local, tcp.LocalPort, tcp.Remote, tcp.RemotePort);
        if (_connections.TryGetValue(key, out ModelTcp? known) && known == tcp) _connections.Remove(key);
    }

    /// <summary>The run is over: gives the memory of open connections back.</summary>
    public void FreeBuffers()
    {
        foreach (ModelTcp tcp in _connections.Values) tcp.FreeBuffers();
    }

    /// <summary>Completes and sends a frame that holds all but link, IP header and checksum.</summary>
    public void SendTcp(SimFrame frame, IpAddr source, IpAddr destination, TcpJudge? judge)
    {
        SimIp.WriteHeader(frame.Span, source, destination, Packet.ProtocolTcp, _id++);
        SimIp.WriteChecksum(frame.Span, Packet.ProtocolTcp, 16);
        if (judge is not null && SimSegment.TryParse(frame.Span, default, out SimSegment s, isOwn: true)) judge.Remember(s, sent: true);
        if (Ports[0].Offloads) MakePartial(frame);
        Route(frame, destination);
    }

    /// <summary>Answers a segment that belongs nowhere (RFC 9293 3.10.7.1).</summary>
    public void SendResetFor(in SimSegment s)
    {
        ResetsSent++;
        int transport = s.Source.IsV4 ? 34 : 54;
        SimFrame frame = World.Frames.Rent(transport + 20);
        Span<byte> t = frame.Span[transport..];
        t.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(t, s.DestinationPort);
        BinaryPrimitives.WriteUInt16BigEndian(t[2..], s.SourcePort);
        BinaryPrimitives.WriteUInt32BigEndian(t[4..], s.IsAck ? s.Ack.Value : 0);
        int length = s.PayloadLength + (s.Syn ? 1 : 0) + (s.Fin ? 1 : 0);
        if (!s.IsAck) BinaryPrimitives.WriteUInt32BigEndian(t[8..], (s.Seq + length).Value);
        t[12] = 0x50;
        t[13] = (byte)(s.IsAck ? TcpFlags.Rst : TcpFlags.Rst | TcpFlags.Ack);
        SendTcp(frame, s.Destination, s.Source, null);
    }

    /// <summary>Sends a frame whose source MAC is ours, to a known MAC.</summary>
    public void SendTo(SimFrame frame, MacAddress to)
    {
        to.Write(frame.Bytes);
        Mac.Write(frame.Bytes.AsSpan(6));
        Send(0, frame);
    }

    /// <inheritdoc/>
    protected override void OnFrame(int port, Span<byte> frame, in VnetHeader vnet, long now)
    {
        var to = MacAddress.Read(frame);
        if (to != Mac && !to.IsGroup) return;
        if (_neighbours.OnFrame(frame) || !SimIp.TryParse(frame, out int transport, out int end, out byte protocol)) return;
        SimIp.Addresses(frame, out IpAddr source, out IpAddr destination);
        if (!_addresses.Contains(destination)) return;
        if (protocol == Packet.ProtocolTcp && SimSegment.TryParse(frame, vnet, out SimSegment s)) OnTcp(frame, s);
        else if (protocol is Packet.ProtocolIcmp or Packet.ProtocolIcmp6) OnIcmp(frame[..end], transport, protocol);
    }

    /// <inheritdoc/>
    protected override void OnKilled() => _connections.Clear();

    private static void MakePartial(SimFrame frame)
    {
        int transport = SimChecksum.TransportAt(frame.Span);
        frame.Vnet.Flags = VnetHeader.FlagNeedsChecksum;
        frame.Vnet.ChecksumStart = (ushort)transport;
        frame.Vnet.ChecksumOffset = 16;
        ushort pseudo = SimChecksum.Fold(SimChecksum.Pseudo(frame.Span, frame.Length - transport, Packet.ProtocolTcp));
        BinaryPrimitives.WriteUInt16BigEndian(frame.Span[(transport + 16)..], pseudo);
    }

    private void OnTcp(Span<byte> frame, in SimSegment s)
    {
        if (s.IsBadChecksum)
        {
            BadChecksums++;
            return;
        }
        var key = new ConnectionKey(s.Destination, s.DestinationPort, s.Source, s.SourcePort);
        _connections.TryGetValue(key, out ModelTcp? tcp);
        bool opens = s.Syn && !s.IsAck && !s.Rst;
        // A SYN with a higher number takes the place of a connection in TIME_WAIT (RFC 9293 3.6.1, RFC 6191).
        bool reopens = opens && tcp is { State: TcpState.TimeWait } && s.Seq > tcp.PeerSeqOf(tcp.Receiver.Next);
        if (tcp is null || reopens)
        {
            if (reopens) tcp!.Finish(TcpEnd.Normal);
            Unexpected(key, s, opens);
            return;
        }
        tcp.OnSegment(s, frame.Slice(s.PayloadAt, s.PayloadLength));
    }

    private void Unexpected(in ConnectionKey key, in SimSegment s, bool opens)
    {
        if (s.Rst) return;
        if (opens && Accept?.Invoke(this, key) is (TcpProfile profile, SimApp app))
        {
            var tcp = new ModelTcp(this, key.Local, key.LocalPort, key.Remote, key.RemotePort, profile, app);
            _connections[key] = tcp;
            tcp.Judge.Remember(s, sent: false);
            tcp.AcceptSyn(s);
            return;
        }
        Unmatched++;
        SendResetFor(s);
    }

    private void OnIcmp(ReadOnlySpan<byte> frame, int transport, byte protocol)
    {
        ReadOnlySpan<byte> icmp = frame[transport..];
        bool v6 = protocol == Packet.ProtocolIcmp6;
        bool tooBig = icmp.Length >= 8 + (v6 ? 48 : 28) && (v6 ? icmp[0] == 2 : icmp[0] == 3 && icmp[1] == 4);
        ulong pseudo = v6 ? SimChecksum.Pseudo(frame, icmp.Length, protocol) : 0;
        if (!tooBig || SimChecksum.Fold(SimChecksum.Add(pseudo, icmp)) != 0xffff) return;
        int mtu = v6 ? (int)BinaryPrimitives.ReadUInt32BigEndian(icmp[4..]) : BinaryPrimitives.ReadUInt16BigEndian(icmp[6..]);
        ReadOnlySpan<byte> quote = icmp[8..];
        ReadOnlySpan<byte> ports = quote[(v6 ? 40 : 20)..];
        IpAddr source = v6 ? IpAddr.ReadV6(quote[8..]) : IpAddr.ReadV4(quote[12..]);
        IpAddr destination = v6 ? IpAddr.ReadV6(quote[24..]) : IpAddr.ReadV4(quote[16..]);
        var key = new ConnectionKey(source, BinaryPrimitives.ReadUInt16BigEndian(ports), destination, BinaryPrimitives.ReadUInt16BigEndian(ports[2..]));
        if (_connections.TryGetValue(key, out ModelTcp? tcp) && tcp.IsSynchronized) tcp.OnTooBig(new TcpSeq(BinaryPrimitives.ReadUInt32BigEndian(ports[4..])), mtu);
    }

    private void Route(SimFrame frame, IpAddr destination)
    {
        IpAddr gateway = destination.IsV4 ? Gateway4 : Gateway6;
        bool onLink = gateway.IsNone || (destination.IsV4 ? destination.IsWithin(OnLink4, 24) : destination.IsWithin(OnLink6, 64));
        _neighbours.Send(frame, onLink ? destination : gateway);
    }
}
