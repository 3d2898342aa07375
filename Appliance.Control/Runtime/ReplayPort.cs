using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>A question for a next hop's MAC that the box has sent: for whom, and by whom.</summary>
internal readonly record struct NeighborQuestion(IpAddr Target, IpAddr Asker, MacAddress AskerMac);

/// <summary>A SYN of the box's own by which it asks a backend what it offers.</summary>
internal readonly record struct BackendProbe(IpAddr Source, IpAddr Destination, ushort SourcePort, ushort DestinationPort, TcpSeq Seq, MacAddress SourceMac);

/// <summary>
/// A port of an offline run: frames come from one capture and go to another, which numbers them
/// from 1. Notes what was sent since <see cref="BeginFrame"/> and whom the box asked for an answer.
/// </summary>
internal sealed class ReplayPort(PcapPort inner, BoxLink link) : FramePort
{
    private readonly Queue<BackendProbe> _probes = new();
    private readonly Queue<NeighborQuestion> _questions = new();

    /// <inheritdoc/>
    public override string Name => inner.Name;

    /// <inheritdoc/>
    public override int Mtu => inner.Mtu;

    /// <inheritdoc/>
    public override bool Offloads => false;

    /// <summary>Time of the next frame, ns; <see cref="long.MaxValue"/> at the end.</summary>
    public long NextTime => inner.NextTime;

    /// <summary>Frames so far of which the capture holds only the beginning.</summary>
    public long CutShort => inner.Counters.Truncated;

    /// <summary>Virtual time, ns.</summary>
    public long Now { set => inner.Now = value; }

    /// <summary>Frames sent so far, and before the present input frame.</summary>
    public int Sent { get; private set; }

    /// <summary>As <see cref="Sent"/>, when the present input frame came.</summary>
    public int SentBefore { get; private set; }

    /// <summary>An input frame is about to be treated.</summary>
    public void BeginFrame() => SentBefore = Sent;

    /// <summary>The next question that was not answered yet.</summary>
    public bool TryTakeQuestion(out NeighborQuestion question) => _questions.TryDequeue(out question);

    /// <summary>The next probe that was not answered yet.</summary>
    public bool TryTakeProbe(out BackendProbe probe) => _probes.TryDequeue(out probe);

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch) => inner.Receive(batch);

    /// <inheritdoc/>
    public override void Release() => inner.Release();

    /// <inheritdoc/>
    public override bool Send(in FrameRef frame)
    {
        Sent++;
        NoteQuestion(frame);
        return inner.Send(frame);
    }

    /// <inheritdoc/>
    public override void Flush() => inner.Flush();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) inner.Dispose();
    }

    private void NoteQuestion(in FrameRef frame)
    {
        if (!Packet.TryParse(frame.Bytes, out Packet packet, out _)) return;
        if (packet.Layout.Kind == NetworkKind.Arp)
        {
            ArpView arp = packet.Arp;
            if (arp.Operation == ArpView.Request && !arp.IsGratuitous) _questions.Enqueue(new NeighborQuestion(arp.Target, arp.Sender, arp.SenderMac));
        }
        else if (packet.IsIcmp && NeighborView.IsNeighbor(packet) && NeighborView.TryParse(packet, checksumPartial: false, out NeighborView message, out _)
            && message.Kind == NeighborKind.Solicitation)
        {
            _questions.Enqueue(new NeighborQuestion(message.Target, packet.Source, packet.SourceMac));
        }
        else if (packet.IsTcp && packet.Tcp.Has(TcpFlags.Syn) && link.HasAddress(packet.Source))
        {
            TcpView tcp = packet.Tcp;
            _probes.Enqueue(new BackendProbe(packet.Source, packet.Destination, tcp.SourcePort, tcp.DestinationPort, tcp.Seq, packet.SourceMac));
        }
    }
}
