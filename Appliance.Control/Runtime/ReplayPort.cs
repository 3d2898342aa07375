using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>A question for a next hop's MAC that the box has sent: for whom, and by whom.</summary>
internal readonly record struct NeighborQuestion(IpAddr Target, IpAddr Asker, MacAddress AskerMac);

/// <summary>
/// A port of an offline run: frames come from one capture and go to another, which numbers them
/// from 1. Notes what was sent since <see cref="BeginFrame"/> and which neighbours were asked for.
/// </summary>
internal sealed class ReplayPort(PcapPort inner) : FramePort
{
    private readonly Queue<NeighborQuestion> _questions = new();

    /// <inheritdoc/>
    public override string Name => inner.Name;

    /// <inheritdoc/>
    public override int Mtu => inner.Mtu;

    /// <inheritdoc/>
    public override bool Offloads => false;

    /// <summary>Time of the next frame, ns; <see cref="long.MaxValue"/> at the end.</summary>
    public long NextTime => inner.NextTime;

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
    }
}
