using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// The neighbours of an offline run, which answer the box's questions at once: with the MAC that the captures
/// show for an address on the link, else with one made of the address (02:5e and its last four bytes, readable for IPv4).
/// </summary>
internal sealed class ReplayNeighbors : IDisposable
{
    private const int AnswerBytes = 128, LongestFrame = 65_536 + 256;
    private const ulong MadeUp = 0x025e_0000_0000;

    private readonly Dictionary<(LinkRole, IpAddr), MacAddress> _seen = [];
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
        }
    }

    /// <summary>The answer as a frame, valid until the next one.</summary>
    public FrameRef Answer(LinkRole role, in NeighborQuestion question)
    {
        MacAddress mac = _seen.TryGetValue((role, question.Target), out MacAddress known) && !known.IsZero && !known.IsGroup
            ? known : new MacAddress(MadeUp | (question.Target.Low & 0xffff_ffff));
        var frame = new FrameRef { Address = _memory, Length = AnswerBytes };
        frame.Length = question.Target.IsV4
            ? NeighborWriter.WriteArpReply(frame.Bytes, mac, question.Target, question.AskerMac, question.Asker)
            : NeighborWriter.WriteAdvertisement(frame.Bytes, mac, question.Target, question.AskerMac, question.Asker, isRouter: false);
        return frame;
    }

    /// <inheritdoc/>
    public void Dispose() => MemoryNative.Free(_memory);
}
