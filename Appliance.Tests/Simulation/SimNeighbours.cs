using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>Who owns addresses on a link.</summary>
internal interface INeighbourOwner
{
    SimWorld World { get; }

    bool IsAlive { get; }

    MacAddress Mac { get; }

    /// <summary>Addresses that neighbours are asked with.</summary>
    IpAddr Own4 { get; }

    IpAddr Own6 { get; }

    bool HasAddress(IpAddr address);

    /// <summary>Sends a frame whose source MAC is ours, to a known MAC; takes ownership.</summary>
    void SendTo(SimFrame frame, MacAddress to);
}

/// <summary>
/// A host's ARP (RFC 826) and neighbour discovery (RFC 4861), in miniature: resolves with retries, answers for the host's
/// addresses, believes gratuitous announcements for entries it has, keeps few frames while it waits. Entries never age.
/// </summary>
internal sealed class SimNeighbours(INeighbourOwner host) : SimTimer(host.World)
{
    private readonly Dictionary<IpAddr, Entry> _entries = [];
    private readonly List<Entry> _asking = [];

    private sealed class Entry(IpAddr address)
    {
        public readonly IpAddr Address = address;
        public readonly Queue<SimFrame> Waiting = new();
        public MacAddress Mac;
    }

    /// <summary>Sends a frame to a next hop, now or when it has answered; takes ownership.</summary>
    public void Send(SimFrame frame, IpAddr hop)
    {
        if (!_entries.TryGetValue(hop, out Entry? entry)) _entries[hop] = entry = new Entry(hop);
        if (!entry.Mac.IsZero)
        {
            host.SendTo(frame, entry.Mac);
            return;
        }
        if (entry.Waiting.Count == 64) host.World.Frames.Return(entry.Waiting.Dequeue());
        entry.Waiting.Enqueue(frame);
        if (entry.Waiting.Count == 1) _asking.Add(entry);
        // No deadline, though somebody waits: the node was dead when it came.
        if (entry.Waiting.Count == 1 || Deadline == long.MaxValue) Ask(hop);
        if (Deadline == long.MaxValue) SetDeadline(host.World.Now + SimWorld.Second);
    }

    /// <summary>Deals with ARP and ND; true if the frame was one of them.</summary>
    public bool OnFrame(ReadOnlySpan<byte> frame)
    {
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(frame[12..]);
        if (type == 0x0806 && frame.Length >= 42)
        {
            OnArp(frame);
            return true;
        }
        if (type != 0x86dd || frame.Length < 78 || frame[20] != Packet.ProtocolIcmp6 || frame[54] is not (135 or 136)) return false;
        ulong sum = SimChecksum.Pseudo(frame, frame.Length - 54, Packet.ProtocolIcmp6);
        if (frame[21] == 255 && SimChecksum.Fold(SimChecksum.Add(sum, frame[54..])) == 0xffff) OnDiscovery(frame);
        return true;
    }

    /// <inheritdoc/>
    protected override void OnDeadline()
    {
        if (!host.IsAlive) return;
        for (int i = 0; i < _asking.Count; i++) Ask(_asking[i].Address);
        if (_asking.Count > 0) SetDeadline(host.World.Now + SimWorld.Second);
    }

    private void OnArp(ReadOnlySpan<byte> frame)
    {
        var sender = IpAddr.ReadV4(frame[28..]);
        var target = IpAddr.ReadV4(frame[38..]);
        var mac = MacAddress.Read(frame[22..]);
        bool isForUs = host.HasAddress(target);
        bool request = frame[21] == 1;
        Learn(sender, mac, create: isForUs && request);
        if (!request || !isForUs || sender == target) return;
        SimFrame reply = ArpFrame(2, target, sender);
        mac.Write(reply.Bytes.AsSpan(32));
        host.SendTo(reply, mac);
    }

    private void OnDiscovery(ReadOnlySpan<byte> frame)
    {
        var target = IpAddr.ReadV6(frame[62..]);
        bool hasLinkLayer = frame.Length >= 86 && frame[78] == (frame[54] == 135 ? 1 : 2);
        if (frame[54] == 136)
        {
            if (hasLinkLayer) Learn(target, MacAddress.Read(frame[80..]), create: false);
            return;
        }
        if (!host.HasAddress(target)) return;
        var source = IpAddr.ReadV6(frame[22..]);
        var mac = hasLinkLayer ? MacAddress.Read(frame[80..]) : MacAddress.Read(frame[6..]);
        Learn(source, mac, create: true);
        host.SendTo(NdFrame(136, target, source, target), mac);
    }

    private void Learn(IpAddr address, MacAddress mac, bool create)
    {
        if (!_entries.TryGetValue(address, out Entry? entry))
        {
            if (!create) return;
            _entries[address] = entry = new Entry(address);
        }
        entry.Mac = mac;
        _asking.Remove(entry);
        while (entry.Waiting.TryDequeue(out SimFrame? frame)) host.SendTo(frame, mac);
    }

    private void Ask(IpAddr hop)
    {
        if (hop.IsV4)
        {
            host.SendTo(ArpFrame(1, Own(hop), hop), MacAddress.Broadcast);
            return;
        }
        // The solicited-node group of the address (RFC 4291 2.7.1).
        var group = new IpAddr(0xff02_0000_0000_0000, 0x0000_0001_ff00_0000 | (hop.Low & 0xff_ffff));
        host.SendTo(NdFrame(135, Own(hop), group, hop), new MacAddress(0x3333_ff00_0000 | (hop.Low & 0xff_ffff)));
    }

    private IpAddr Own(IpAddr hop) => hop.IsV4 ? host.Own4 : host.Own6;

    private SimFrame ArpFrame(byte operation, IpAddr sender, IpAddr target)
    {
        SimFrame frame = host.World.Frames.Rent(42);
        Span<byte> f = frame.Span;
        f.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(f[12..], 0x0806);
        BinaryPrimitives.WriteUInt64BigEndian(f[14..], 0x0001_0800_0604_0000u | operation);
        host.Mac.Write(f[22..]);
        sender.WriteV4(f[28..]);
        target.WriteV4(f[38..]);
        return frame;
    }

    private SimFrame NdFrame(byte type, IpAddr source, IpAddr destination, IpAddr target)
    {
        SimFrame frame = host.World.Frames.Rent(86);
        Span<byte> f = frame.Span;
        f.Clear();
        SimIp.WriteHeader(f, source, destination, Packet.ProtocolIcmp6, 0, ttl: 255);
        f[54] = type;
        // Solicited and override for an answer (RFC 4861 4.4).
        if (type == 136) f[58] = 0x60;
        target.WriteV6(f[62..]);
        f[78] = (byte)(type == 135 ? 1 : 2);
        f[79] = 1;
        host.Mac.Write(f[80..]);
        SimIp.WriteChecksum(f, Packet.ProtocolIcmp6, 2);
        return frame;
    }
}
