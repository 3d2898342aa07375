using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Computes the two directed entries of a splice from its record, once per version, so that the
/// packet path only adds (SPLICE 2). Version, record index and progress seen so far are the table's;
/// progress starts at what the handshakes established.
/// </summary>
public static class RewriteEntryBuilder
{
    private const long LingerNs = 2_000_000_000;
    private const int Far = 1 << 29, LargestWindow = 1 << 30;

    /// <summary>Fills both entries from <paramref name="record"/>; next hops are indices in the neighbour table.</summary>
    public static void Build(in SpliceRecord record, int recordIndex, ushort nextHopToServer, ushort nextHopToClient, out RewriteEntry toServer, out RewriteEntry toClient)
    {
        bool timestamps = Has(record, SpliceOptions.Timestamps), floor = record.FloorOpen != 0;
        // A scale counts only where both ends of that half negotiated one (RFC 7323 2.2).
        bool scaleClient = Has(record, SpliceOptions.ScaleClient), scaleServer = Has(record, SpliceOptions.ScaleServer);

        toServer = default;
        toServer.Key = new FlowKey(record.Client, record.Virtual, record.ClientPort, record.VirtualPort, Packet.ProtocolTcp);
        toServer.Direction = FlowDirection.ToServer;
        toServer.WindowShiftIn = Shift(scaleClient, record.ScaleClient);
        toServer.WindowShiftOut = Shift(scaleServer, record.ScaleOursServer);
        toServer.SeqDelta = record.X;
        toServer.AckDelta = 0u - record.Y;
        toServer.TsValDelta = record.Dc;
        toServer.TsEcrDelta = 0u - record.Ds;
        toServer.TsEcrFloor = record.TsFirst;
        toServer.Flags = (timestamps ? RewriteFlags.Timestamps : RewriteFlags.None)
            | (timestamps && floor ? RewriteFlags.TsEcrFloor : RewriteFlags.None)
            | (Has(record, SpliceOptions.SackServer) ? RewriteFlags.None : RewriteFlags.BlankSack);
        Address(ref toServer, record.Source, record.Real, record.SourcePort, record.RealPort);
        Start(ref toServer, recordIndex, nextHopToServer, record.A + 1, record.B + 1, 0);

        toClient = default;
        toClient.Key = new FlowKey(record.Real, record.Source, record.RealPort, record.SourcePort, Packet.ProtocolTcp);
        toClient.Direction = FlowDirection.ToClient;
        toClient.WindowShiftIn = Shift(scaleServer, record.ScaleServer);
        toClient.WindowShiftOut = Shift(scaleClient, record.ScaleOursClient);
        toClient.SeqDelta = record.Y;
        toClient.AckDelta = 0u - record.X;
        toClient.TsValDelta = record.Ds;
        toClient.TsEcrDelta = 0u - record.Dc;
        toClient.AckFloor = record.AckFloor;
        toClient.Flags = (timestamps ? RewriteFlags.Timestamps : RewriteFlags.None)
            | (floor ? RewriteFlags.AckFloor : RewriteFlags.None)
            | (Has(record, SpliceOptions.SackClient) ? RewriteFlags.None : RewriteFlags.BlankSack);
        Address(ref toClient, record.Virtual, record.Client, record.VirtualPort, record.ClientPort);
        Start(ref toClient, recordIndex, nextHopToClient, record.D + 1, record.C + 1, record.TsFirst);
    }

    /// <summary>Sets new addresses and ports of an entry whose key is set, and the checksum deltas that they mean.</summary>
    public static void Address(ref RewriteEntry entry, IpAddr newSource, IpAddr newDestination, ushort newSourcePort, ushort newDestinationPort)
    {
        entry.NewSource = newSource;
        entry.NewDestination = newDestination;
        entry.NewSourcePort = newSourcePort;
        entry.NewDestinationPort = newDestinationPort;
        entry.AddressDelta = InternetChecksum.Add(
            InternetChecksum.DeltaOf(entry.Key.Source, newSource), InternetChecksum.DeltaOf(entry.Key.Destination, newDestination));
        ushort ports = InternetChecksum.Add(
            InternetChecksum.Delta(entry.Key.SourcePort, newSourcePort), InternetChecksum.Delta(entry.Key.DestinationPort, newDestinationPort));
        entry.TupleDelta = InternetChecksum.Add(entry.AddressDelta, ports);
    }

    /// <summary>
    /// True if the floors of the first breakpoint are no longer needed: the server has acknowledged, in C space, up to
    /// the ack floor, and the client has heard the server (it echoes the server's clock, acknowledged a byte of the server's, or has
    /// had more acknowledged than any window holds: an upload may hear nothing else for as long as it lasts). A floor that
    /// stayed would win again after 2^31 bytes: whoever sees true clears FloorOpen in the record and the flags in the entries.
    /// </summary>
    public static bool FloorsPassed(in SpliceRecord record, in RewriteEntry toServer, in RewriteEntry toClient, long now)
    {
        TcpSeq acknowledged = new TcpSeq(toClient.AckSeen) + toClient.AckDelta;
        // Segments from before may still be under way, for less than this; after too many bytes the floor itself would be wrong.
        bool far = acknowledged - new TcpSeq(record.AckFloor) > Far || new TcpSeq(toClient.SeqNext) - new TcpSeq(record.D) > Far;
        if (!far && now - record.Created < LingerNs) return false;
        bool heard = (toServer.Flags & RewriteFlags.TsEcrFloor) == RewriteFlags.None || toServer.EchoSeen != 0
            || new TcpSeq(toServer.AckSeen) > new TcpSeq(record.B + 1) || acknowledged - new TcpSeq(record.AckFloor) > LargestWindow;
        return acknowledged >= new TcpSeq(record.AckFloor) && heard;
    }

    private static void Start(ref RewriteEntry entry, int record, ushort nextHop, uint seqNext, uint ack, uint tsVal)
    {
        entry.Record = record;
        entry.NextHop = nextHop;
        entry.SeqNext = seqNext;
        entry.AckSeen = entry.RightEdge = ack;
        entry.TsVal = tsVal;
    }

    private static bool Has(in SpliceRecord record, SpliceOptions option) => (record.Options & option) != SpliceOptions.None;

    private static byte Shift(bool negotiated, byte scale) => negotiated ? Math.Min(scale, TcpOptions.MaxWindowScale) : (byte)0;
}
