using System.Runtime.InteropServices;
using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using static Appliance.DataPath.Splice.HeaderWords;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Translates an ICMP error that quotes a packet which we had rewritten, so that the end which sent
/// the original finds its own numbers in the quote (SPLICE 10; RFC 792, 4443, 5927, 5508 4.2). Two directed entries matter: the
/// <em>answering</em> one, whose key is the quoted tuple reversed (same side as the error), and the
/// <em>producing</em> one, by which the quoted packet was made. Changed are addresses, ports, sequence and, if quoted, ack, with
/// the checksums of outer IP, ICMP, quoted IP and, if quoted, TCP by what changed in front of it. Quotes may
/// be cut after 8 bytes of TCP. Redirects and source quenches concern nobody behind us and are dropped. The MTU passes: we add no bytes to a packet.
/// </summary>
public static class IcmpErrorRewriter
{
    /// <summary>The key of the answering entry; false with the reason if there is no quote of a TCP packet with ports.</summary>
    public static bool TryGetKey(in Packet packet, out FlowKey answering, out DropReason reason)
    {
        answering = default;
        if (!packet.Icmp.TryGetQuote(out IcmpQuote quote, out reason)) return false;
        reason = quote.IsTcp ? DropReason.None : DropReason.IcmpQuoteUnknown;
        if (!quote.IsTcp) return false;
        answering = new FlowKey(quote.Destination, quote.Source, quote.DestinationPort, quote.SourcePort, Packet.ProtocolTcp);
        return true;
    }

    /// <summary>
    /// True if the quoted sequence can have been in flight: in [una, nxt] of the quoted packet's direction, widened at both
    /// ends by the window that its receiver advertised last, since progress is gossip.
    /// </summary>
    public static bool IsPlausible(TcpSeq quoted, in RewriteEntry answering, in RewriteEntry producing)
    {
        TcpSeq una = new(answering.AckSeen), next = new TcpSeq(producing.SeqNext) + producing.SeqDelta;
        uint window = Progress.Window(in answering);
        return quoted.IsWithin(una - window, TcpSeq.Max(una, next) + window);
    }

    /// <summary>Rewrites the error in place towards the sender of the original; None, or why it is dropped, untouched.</summary>
    public static DropReason Rewrite(in Packet packet, in VnetHeader vnet, in RewriteEntry answering, in RewriteEntry producing)
    {
        IcmpView icmp = packet.Icmp;
        if (!icmp.TryGetQuote(out IcmpQuote quote, out DropReason reason)) return reason;
        if (!quote.IsTcp) return DropReason.IcmpQuoteUnknown;
        if (!icmp.IsV6 && icmp.Type is IcmpView.V4Redirect or IcmpView.V4SourceQuench) return DropReason.SegmentInvalid;
        if (!IsPlausible(quote.Seq, in answering, in producing)) return DropReason.IcmpQuoteOutOfWindow;
        Span<byte> network = packet.Network;
        if (network[packet.IsV6 ? 7 : 8] <= 1) return DropReason.TtlExpired;

        // Nothing behind the fixed TCP header of the quote changes.
        Span<byte> changing = packet.Transport[..Math.Min(packet.Transport.Length, 8 + quote.TransportOffset + 20)];
        ushort before = InternetChecksum.Sum(changing);
        RewriteQuote(quote, in answering);
        ushort delta = InternetChecksum.Add((ushort)~before, InternetChecksum.Sum(changing));
        ushort outer = RewriteOuter(packet, quoteReceiver: answering.Key.Source, in answering);
        // Only ICMPv6 sums a pseudo-header (RFC 4443 2.3).
        ushort addresses = packet.IsV6 ? outer : (ushort)0;
        icmp.Checksum = vnet.NeedsChecksum
            ? InternetChecksum.UpdatePartial(icmp.Checksum, addresses)
            : InternetChecksum.Update(icmp.Checksum, InternetChecksum.Add(delta, addresses));
        return DropReason.None;
    }

    private static void RewriteQuote(IcmpQuote quote, in RewriteEntry answering)
    {
        IpAddr source = answering.NewDestination, destination = answering.NewSource;
        ushort addresses = InternetChecksum.Add(InternetChecksum.DeltaOf(quote.Source, source), InternetChecksum.DeltaOf(quote.Destination, destination));
        if (!quote.IsV6) InternetChecksum.UpdateIpv4Header(quote.Header, addresses);
        // The quote runs against the answering entry: what it adds to an ack is what a sequence of the quote lacks.
        TcpSeq seq = quote.Seq, newSeq = seq + answering.AckDelta;
        ulong delta = (ulong)addresses
            + InternetChecksum.Delta(quote.SourcePort, answering.NewDestinationPort)
            + InternetChecksum.Delta(quote.DestinationPort, answering.NewSourcePort)
            + InternetChecksum.Delta32(seq.Value, newSeq.Value);
        quote.Source = source;
        quote.Destination = destination;
        quote.SourcePort = answering.NewDestinationPort;
        quote.DestinationPort = answering.NewSourcePort;
        quote.Seq = newSeq;
        if (quote.HasAck)
        {
            TcpSeq ack = quote.Ack, newAck = ack + answering.SeqDelta;
            delta += InternetChecksum.Delta32(ack.Value, newAck.Value);
            quote.Ack = newAck;
        }
        if (quote.HasChecksum) quote.Checksum = InternetChecksum.Update(quote.Checksum, InternetChecksum.Fold(delta));
    }

    // The client sees the service's address whoever complained, so that nothing of the inner network shows; the server
    // sees the router that complained, unless it was the client. Returns the delta of the addresses.
    private static ushort RewriteOuter(in Packet packet, IpAddr quoteReceiver, in RewriteEntry answering)
    {
        IpAddr source = packet.Source;
        bool hide = answering.Direction == FlowDirection.ToClient || source == quoteReceiver;
        IpAddr newSource = hide ? answering.NewSource : source, newDestination = answering.NewDestination;
        ushort delta = InternetChecksum.Add(InternetChecksum.DeltaOf(source, newSource), InternetChecksum.DeltaOf(packet.Destination, newDestination));
        Span<byte> network = packet.Network;
        if (packet.IsV6)
        {
            ref Ipv6Words ip = ref MemoryMarshal.AsRef<Ipv6Words>(network);
            ip.HopLimit--;
            newSource.WriteV6(network[8..]);
            newDestination.WriteV6(network[24..]);
            return delta;
        }
        ref Ipv4Words ip4 = ref MemoryMarshal.AsRef<Ipv4Words>(network);
        ip4.Ttl--;
        newSource.WriteV4(network[12..]);
        newDestination.WriteV4(network[16..]);
        ip4.Checksum = Net(InternetChecksum.Update(Net(ip4.Checksum), InternetChecksum.Add(delta, Rewriter.TtlDelta)));
        return delta;
    }
}
