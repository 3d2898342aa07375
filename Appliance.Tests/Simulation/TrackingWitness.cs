using Appliance.DataPath.Conntrack;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>Follows all connections through a box with the real tracker, and notes what it refuses.</summary>
internal sealed class TrackingWitness
{
    private readonly Dictionary<(IpAddr Client, ushort Port), TcpTrack> _tracks = [];

    public List<string> Refused { get; } = [];

    public int Count => _tracks.Count;

    /// <summary>Connections whose end was seen.</summary>
    public int Ended => _tracks.Values.Count(t => t.Phase >= TcpPhase.LastAck);

    /// <summary>A frame came in on port 0 (from clients) or 1: true if it is not to pass. What is corrupt is not judged.</summary>
    public bool Refuses(ReadOnlySpan<byte> frame, in VnetHeader vnet, int port, IpAddr source, IpAddr destination)
    {
        byte[] copy = frame.ToArray();
        if (!Packet.TryParse(copy, out Packet packet, out _) || !packet.IsTcp || (!vnet.NeedsChecksum && !InternetChecksum.VerifyTransport(packet))) return false;
        TcpView tcp = packet.Tcp;
        if (!TcpOptions.TryParse(tcp.Options, out TcpOptions options, out _)) return false;
        (IpAddr, ushort) key = port == 0 ? (source, tcp.SourcePort) : (destination, tcp.DestinationPort);
        bool isKnown = _tracks.TryGetValue(key, out TcpTrack track);
        TcpVerdict verdict = isKnown ? TcpTracker.Follow(ref track, port == 0 ? FlowDirection.ToServer : FlowDirection.ToClient, tcp, options) : TcpVerdict.Reopens;
        if (verdict == TcpVerdict.Reopens) verdict = TcpTracker.Begin(out track, tcp, options, pickUp: false);
        if (TcpTracker.Passes(verdict))
        {
            _tracks[key] = track;
            return false;
        }
        Refused.Add($"{verdict} from {source} to {destination} {tcp.SourcePort}-{tcp.DestinationPort} [{tcp.Flags}] seq {tcp.Seq} ack {tcp.Ack} len {tcp.SequenceLength}, {track.Phase}");
        return true;
    }
}
