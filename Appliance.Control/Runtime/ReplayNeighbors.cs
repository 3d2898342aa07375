using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// The neighbours of an offline run, which answer the box's questions at once: with the MAC that the captures
/// show for an address on the link, else with one made of the address (02:5e and its last four bytes, readable for IPv4).
/// Backends answer probes with the options of their first SYN-ACK in the capture, else with those that are usual.
/// </summary>
internal sealed class ReplayNeighbors : IDisposable
{
    private const int AnswerBytes = 128, LongestFrame = 65_536 + 256;
    private const ulong MadeUp = 0x025e_0000_0000;

    private readonly Dictionary<(LinkRole, IpAddr), MacAddress> _seen = [];
    private readonly Dictionary<(IpAddr, ushort), TcpSegmentSpec> _offers = [];
    private readonly nint _memory = MemoryNative.Allocate(AnswerBytes);

    /// <summary>Notes who speaks in a capture of what came in on a link.</summary>
    /// <exception cref="PcapException">The capture is malformed.</exception>
    public void Learn(BoxLink link, PcapReader capture)
    {
        var buffer = new byte[LongestFrame];
        while (capture.TryRead(buffer, out int length, out _, out _))
        {
            if (!Packet.TryParse(buffer.AsSpan(0, Math.Min(length, buffer.Length)), out Packet packet, out _) || packet.SourceMac.IsGroup) continue;
            bool arp = packet.Layout.Kind == NetworkKind.Arp;
            IpAddr speaker = arp ? packet.Arp.Sender : packet.Source;
            if (!speaker.IsNone && link.NextHop(speaker) == speaker) _seen.TryAdd((link.Role, speaker), arp ? packet.Arp.SenderMac : packet.SourceMac);
            if (packet.IsTcp && packet.Tcp.Has(TcpFlags.Syn | TcpFlags.Ack)) _offers.TryAdd((packet.Source, packet.SourcePort), Offer(packet.Tcp));
        }
    }

    /// <summary>The answer as a frame, valid until the next one.</summary>
    public FrameRef Answer(LinkRole role, in NeighborQuestion question)
    {
        MacAddress mac = MacOf(role, question.Target);
        var frame = new FrameRef { Address = _memory, Length = AnswerBytes };
        frame.Length = question.Target.IsV4
            ? NeighborWriter.WriteArpReply(frame.Bytes, mac, question.Target, question.AskerMac, question.Asker)
            : NeighborWriter.WriteAdvertisement(frame.Bytes, mac, question.Target, question.AskerMac, question.Asker, isRouter: false);
        return frame;
    }

    /// <summary>A backend's answer to a probe as a frame, valid until the next one.</summary>
    public FrameRef Answer(LinkRole role, in BackendProbe probe)
    {
        if (!_offers.TryGetValue((probe.Destination, probe.DestinationPort), out TcpSegmentSpec spec))
            spec = new TcpSegmentSpec { Mss = (ushort)(probe.Destination.IsV4 ? 1460 : 1440), Window = 64_240, WindowScale = 7, SackPermitted = true, HasTimestamps = true, TsVal = 1 };
        (spec.Source, spec.Destination, spec.SourcePort, spec.DestinationPort) = (probe.Destination, probe.Source, probe.DestinationPort, probe.SourcePort);
        (spec.SourceMac, spec.DestinationMac) = (MacOf(role, probe.Destination), probe.SourceMac);
        (spec.Flags, spec.Seq, spec.Ack) = (TcpFlags.Syn | TcpFlags.Ack, new TcpSeq(1), probe.Seq + 1u);
        var frame = new FrameRef { Address = _memory, Length = AnswerBytes };
        frame.Length = FrameWriter.WriteTcp(frame.Bytes, spec, []);
        return frame;
    }

    /// <inheritdoc/>
    public void Dispose() => MemoryNative.Free(_memory);

    private MacAddress MacOf(LinkRole role, IpAddr address) =>
        _seen.TryGetValue((role, address), out MacAddress known) && !known.IsZero && !known.IsGroup ? known : new MacAddress(MadeUp | (address.Low & 0xffff_ffff));

    private static TcpSegmentSpec Offer(in TcpView tcp)
    {
        var spec = new TcpSegmentSpec { Window = tcp.Window, TsVal = 1 };
        if (!TcpOptions.TryParse(tcp.Options, out TcpOptions options, out _)) return spec;
        spec.Mss = options.HasMss ? options.Mss : null;
        spec.WindowScale = options.HasWindowScale ? options.WindowScale : null;
        spec.SackPermitted = options.SackPermitted;
        spec.HasTimestamps = options.HasTimestamps;
        return spec;
    }
}
