using Appliance.DataPath.Balance;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// What the sharer does with a packet from outside: finds the service on either side and
/// hands the frame, unchanged above Ethernet, to a usable proxy, by flow or in bursts (thesis
/// 4.5.2); keeps a copy of TCP for the case that the proxy dies with it (SPLICE 11). No state per connection.
/// </summary>
public sealed class SharerPath : IDisposable
{
    private const long MinHoldNs = 5_000_000;
    private const int MaxBounds = 4;

    private readonly Box _box;
    private readonly Dictionary<uint, PacketSpreader> _spreaders = [];
    private readonly ReplayRing?[] _rings = new ReplayRing?[NodeIds.Max * 2];
    private readonly RateLimit _resets = new(perSecond: 1000, burst: 100);
    private readonly RateLimit _factors = new(perSecond: 200, burst: 1);

    /// <summary>A sharer for the services of <paramref name="box"/>.</summary>
    public SharerPath(Box box)
    {
        _box = box;
        foreach (Service service in box.Services.Services)
        {
            if (service.Share == ShareMode.ByPacket) _spreaders[service.Id] = new PacketSpreader(service.Burst);
        }
        if ((box.Config.Roles & BoxRoles.Sharer) == BoxRoles.None) return;
        for (int node = 0; node < box.Config.Nodes.Length; node++)
        {
            if (node == box.Config.Self) continue;
            _rings[node * 2] = new ReplayRing(box.Config.ReplayBytes);
            _rings[node * 2 + 1] = new ReplayRing(box.Config.ReplayBytes);
        }
    }

    /// <summary>Treats a packet from outside. None: it was handed on or sent.</summary>
    public DropReason Process(LinkRole role, in Packet packet, in FrameRef frame)
    {
        bool external = role == LinkRole.External;
        if (packet.IsTcp && !packet.Layout.IsFragment) return OnTcp(role, packet, frame);
        if (external && !_box.Services.OwnsAddress(packet.Destination)) return DropReason.NoSuchService;
        if (packet.Layout.IsFragment) return Hand(role, packet, frame, Lookup(FragmentHash(packet)));
        if (packet.IsIcmp)
        {
            if (!packet.Icmp.IsError) return external ? DropReason.UnknownProtocol : DropReason.RealUnexpected;
            if (!packet.Icmp.TryGetQuote(out IcmpQuote quote, out DropReason reason)) return reason;
            // The quote runs the other way: its client is the destination outside and the source inside.
            IpAddr client = external ? quote.Destination : quote.Source;
            ushort port = external ? quote.DestinationPort : quote.SourcePort;
            return Hand(role, packet, frame, Lookup(_box.OwnerHash(client, port)));
        }
        return external ? DropReason.UnknownProtocol : DropReason.RealUnexpected;
    }

    /// <summary>The owners changed: bursts in progress move on.</summary>
    public void OnMembership()
    {
        if (_box.Membership.Current is not { } slot) return;
        foreach ((_, PacketSpreader spreader) in _spreaders) spreader.Update(slot.Usable, slot.Factors);
    }

    /// <summary>
    /// A proxy died, or lives but is cut off: what it was handed since it was last sound for sure (<paramref name="soundUntil"/>, ns), and at
    /// least in the detection bound, runs again, in order, through the survivors. Of one that <paramref name="lives"/> only what belongs to a splice:
    /// the handshakes that it has begun are its own, and a second one of the same client would join it twice.
    /// </summary>
    public void Replay(byte node, long soundUntil, bool lives = false)
    {
        long bound = Math.Max(_box.Config.DetectionNs, MinHoldNs);
        long hold = Math.Clamp(_box.Now - soundUntil, bound, MaxBounds * bound) + MinHoldNs;
        Replay(LinkRole.External, node, hold, lives);
        Replay(LinkRole.Internal, node, hold, lives);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (ReplayRing? ring in _rings) ring?.Dispose();
    }

    private void Replay(LinkRole role, byte node, long hold, bool lives)
    {
        ReplayRing? ring = _rings[node * 2 + (int)role];
        if (ring is null) return;
        ring.BeginReplay(_box.Now, hold);
        while (ring.TryReplay(out FrameRef kept))
        {
            if (!Packet.TryParse(kept.Bytes, out Packet packet, out _)) continue;
            FlowKey key = packet.IsTcp ? FlowKey.Of(packet) : default;
            if (lives && _box.Splices.Find(key) < 0) continue;
            ulong hash = role == LinkRole.External ? _box.OwnerHash(key.Source, key.SourcePort) : _box.OwnerHash(key.Destination, key.DestinationPort);
            byte survivor = Lookup(hash);
            if (survivor == NodeIds.None) return;
            _box.Statistics[Counter.Replayed]++;
            _box.Statistics.Node(node, 2)++;
            // Copied: the survivor's own ring may overwrite what is lent, and self-handling rewrites it.
            FrameRef copy = _box.Egress.Scratch(kept.Length);
            kept.Bytes.CopyTo(copy.Bytes);
            copy.Vnet = kept.Vnet;
            if (survivor == _box.Config.Self) _box.ProcessAsProxy(role, copy, FrameMark.Replayed);
            else _box.Egress.SendTo(role, _box.MacOf(survivor, role, FrameMark.Replayed), copy);
        }
    }

    private DropReason OnTcp(LinkRole role, in Packet packet, in FrameRef frame)
    {
        bool external = role == LinkRole.External;
        IpAddr source = packet.Source, destination = packet.Destination;
        TcpView tcp = packet.Tcp;
        bool syn = tcp.Has(TcpFlags.Syn) && !tcp.Has(TcpFlags.Ack);
        Service? service = external ? _box.Services.Find(destination, tcp.DestinationPort) : _box.Services.FindByReal(source, tcp.SourcePort);
        if (service is null)
        {
            if (!external) return DropReason.RealUnexpected;
            return _box.Services.OwnsAddress(destination) ? RefusePort(role, packet, tcp) : DropReason.NoSuchService;
        }
        if (!external && syn) return DropReason.SynOfRealRefused;
        byte node = service.Share == ShareMode.ByPacket && !syn
            ? Spread(service, frame)
            : Lookup(external ? _box.OwnerHash(source, tcp.SourcePort) : _box.OwnerHash(destination, tcp.DestinationPort));
        return Hand(role, packet, frame, node);
    }

    private DropReason Hand(LinkRole role, in Packet packet, in FrameRef frame, byte node)
    {
        if (node == NodeIds.None) return DropReason.NoUsableProxy;
        if (node == _box.Config.Self)
        {
            _box.Statistics[Counter.HandedToSelf]++;
            return _box.Proxy.Process(role, packet, frame, FrameMark.Handed);
        }
        _box.Statistics[Counter.HandedToPeers]++;
        _box.Statistics.Node(node, 0)++;
        _box.Statistics.Node(node, 1) += frame.Length;
        if (packet.IsTcp) _rings[node * 2 + (int)role]?.Add(packet, frame.Vnet, _box.Now);
        return _box.Egress.SendTo(role, _box.MacOf(node, role, FrameMark.Handed), frame) ? DropReason.None : DropReason.TransmitQueueFull;
    }

    private byte Spread(Service service, in FrameRef frame)
    {
        PacketSpreader spreader = _spreaders[service.Id];
        if (_factors.TryTake(_box.Now)) OnMembership();
        int segments = frame.Vnet.IsSuperFrame && frame.Vnet.GsoSize > 0 ? (frame.Length + frame.Vnet.GsoSize - 1) / frame.Vnet.GsoSize : 1;
        return spreader.Next(segments);
    }

    private byte Lookup(ulong hash) => _box.Membership.Current is { } slot ? slot.Table.Lookup(hash) : NodeIds.None;

    private DropReason RefusePort(LinkRole role, in Packet packet, in TcpView tcp)
    {
        if (!tcp.Has(TcpFlags.Rst) && _resets.TryTake(_box.Now)) _box.SendReset(role, packet);
        return DropReason.NoSuchService;
    }

    private static ulong FragmentHash(in Packet packet)
    {
        uint id = new FragmentInfo(packet).Identification;
        return FlowKey.HashEndpoint(packet.Source, packet.Layout.Protocol, packet.Destination.Low ^ ((ulong)id << 16) ^ packet.Destination.High);
    }
}
