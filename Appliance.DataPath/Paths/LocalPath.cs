using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// What the box answers itself: ARP, neighbour discovery and echo for its own addresses, and,
/// on the sharer, for the services' addresses (external) and <c>internal gw</c> (internal).
/// Learns next hops from answers to its own questions. Every worker learns, one <paramref name="answers"/>. Never answers for an address of the host.
/// </summary>
public sealed class LocalPath(BoxConfig config, Egress egress, bool answers)
{
    /// <summary>True if the box answers for <paramref name="address"/> on a link.</summary>
    public bool AnswersFor(LinkRole role, IpAddr address)
    {
        if (config.Links[(int)role].HasAddress(address)) return true;
        if ((config.Roles & BoxRoles.Sharer) == BoxRoles.None) return false;
        return role == LinkRole.External
            ? config.Services.OwnsAddress(address)
            : !address.IsNone && (address == config.InternalGateway4 || address == config.InternalGateway6);
    }

    /// <summary>An ARP packet.</summary>
    public DropReason OnArp(LinkRole role, in Packet packet)
    {
        ArpView arp = packet.Arp;
        if (arp.Operation == ArpView.Reply)
        {
            bool ours = config.Links[(int)role].HasAddress(arp.Target);
            egress.Learn(role, arp.Sender, arp.SenderMac, solicited: ours, overrides: true);
            return DropReason.Consumed;
        }
        if (arp.Operation != ArpView.Request) return DropReason.ArpMalformed;
        if (!AnswersFor(role, arp.Target) || arp.IsGratuitous)
        {
            egress.Learn(role, arp.Sender, arp.SenderMac, solicited: false, overrides: true);
            return DropReason.NotForUs;
        }
        // Who asks for us is about to talk to us (RFC 826): its answer is known before it is needed. It costs no other its place.
        if (!arp.Sender.IsNone && config.Links[(int)role].NextHop(arp.Sender) == arp.Sender) egress.Neighbors.Expect((byte)role, arp.Sender);
        egress.Learn(role, arp.Sender, arp.SenderMac, solicited: false, overrides: true);
        if (!answers) return DropReason.Consumed;
        FrameRef frame = egress.Scratch(64);
        frame.Length = NeighborWriter.WriteArpReply(frame.Bytes, egress.Link(role).OwnMac, arp.Target, arp.SenderMac, arp.Sender);
        egress.Statistics[Counter.ArpAnswered]++;
        egress.SendAsIs(role, frame);
        return DropReason.Consumed;
    }

    /// <summary>A neighbour discovery message.</summary>
    public DropReason OnNeighbor(LinkRole role, in Packet packet, in VnetHeader vnet)
    {
        if (!NeighborView.TryParse(packet, vnet.NeedsChecksum, out NeighborView message, out DropReason reason)) return reason;
        if (message.Kind == NeighborKind.Advertisement)
        {
            if (message.HasLinkAddress) egress.Learn(role, message.Target, message.LinkAddress, message.IsSolicited, message.IsOverride);
            return DropReason.Consumed;
        }
        if (message.Kind != NeighborKind.Solicitation || !AnswersFor(role, message.Target)) return DropReason.NotForUs;
        BoxLink link = egress.Link(role);
        if (message.HasLinkAddress) egress.Learn(role, packet.Source, message.LinkAddress, solicited: false, overrides: true);
        if (!answers) return DropReason.Consumed;
        bool router = role == LinkRole.Internal && message.Target == config.InternalGateway6;
        FrameRef frame = egress.Scratch(128);
        // Duplicate address detection asks from the unspecified address: the answer goes to all nodes.
        frame.Length = packet.Source.IsNone
            ? NeighborWriter.WriteUnsolicitedAdvertisement(frame.Bytes, link.OwnMac, message.Target, router)
            : NeighborWriter.WriteAdvertisement(frame.Bytes, link.OwnMac, message.Target, packet.SourceMac, packet.Source, router);
        egress.Statistics[Counter.ArpAnswered]++;
        egress.SendAsIs(role, frame);
        return DropReason.Consumed;
    }

    /// <summary>An echo request to an address that the box answers for.</summary>
    public DropReason OnEcho(LinkRole role, in Packet packet)
    {
        FrameRef frame = egress.Scratch(packet.Frame.Length + 64);
        frame.Length = IcmpWriter.WriteEchoReply(frame.Bytes, packet, egress.Link(role).OwnMac);
        if (frame.Length > 0) egress.SendAsIs(role, frame);
        return DropReason.Consumed;
    }
}
