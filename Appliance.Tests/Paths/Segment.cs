using Appliance.DataPath.Wire;

namespace Appliance.Tests.Paths;

/// <summary>A frame that the box sent, taken apart. Seq and Ack are relative to the two initial sequence numbers as the receiving end knows them.</summary>
internal sealed class Segment
{
    private readonly Range _transport, _payload;

    public Segment(byte[] frame, VnetHeader vnet)
    {
        Frame = frame;
        Vnet = vnet;
        if (!Packet.TryParse(frame, out Packet packet, out DropReason reason)) throw new InvalidOperationException($"the box sent a malformed frame: {reason}");
        (Source, Destination) = (packet.Source, packet.Destination);
        (SourceMac, DestinationMac) = (packet.SourceMac, packet.DestinationMac);
        (IsTcp, IsIcmp, IsFragment, Ttl) = (packet.IsTcp, packet.IsIcmp, packet.Layout.IsFragment, packet.HopLimit);
        _transport = packet.Layout.Transport..packet.Layout.End;
        _payload = packet.Layout.Payload..packet.Layout.End;
        IpLength = packet.Layout.End - packet.Layout.Network;
        ChecksumRight = vnet.NeedsChecksum
            ? PartialSum(packet, vnet)
            : InternetChecksum.VerifyTransport(packet);
        if (packet.IsV4) ChecksumRight &= InternetChecksum.VerifyIpv4Header(packet.Network[..((packet.Network[0] & 15) * 4)]);
        if (!IsTcp) return;
        TcpView tcp = packet.Tcp;
        (SourcePort, DestinationPort, RawSeq, RawAck) = (tcp.SourcePort, tcp.DestinationPort, tcp.Seq.Value, tcp.Ack.Value);
        (Flags, Window, Urgent) = (tcp.Flags, tcp.Window, tcp.UrgentPointer);
        OptionBytes = tcp.Options.ToArray();
        OptionsParse = TcpOptions.TryParse(OptionBytes, out TcpOptions options, out _);
        Options = options;
    }

    public byte[] Frame { get; }

    public VnetHeader Vnet { get; }

    public IpAddr Source { get; }

    public IpAddr Destination { get; }

    public MacAddress SourceMac { get; }

    public MacAddress DestinationMac { get; }

    public ushort SourcePort { get; }

    public ushort DestinationPort { get; }

    public bool IsTcp { get; }

    public bool IsIcmp { get; }

    public bool IsFragment { get; }

    public byte Ttl { get; }

    public int IpLength { get; }

    public bool ChecksumRight { get; }

    public uint RawSeq { get; }

    public uint RawAck { get; }

    public int Seq { get; set; }

    public int Ack { get; set; }

    public TcpFlags Flags { get; }

    public ushort Window { get; }

    public ushort Urgent { get; }

    public bool OptionsParse { get; }

    public TcpOptions Options { get; }

    public byte[] OptionBytes { get; } = [];

    public byte[] Payload => Frame[_payload];

    public byte[] Transport => Frame[_transport];

    public bool Has(TcpFlags flags) => (Flags & flags) == flags;

    /// <summary>Edges of the SACK blocks, relative to <paramref name="isn"/>.</summary>
    public (int Left, int Right)[] Sack(uint isn)
    {
        TcpOptions options = Options;
        return [.. Enumerable.Range(0, options.SackBlocks).Select(i => options.SackBlock(OptionBytes, i)).Select(b => (b.Left - new TcpSeq(isn), b.Right - new TcpSeq(isn)))];
    }

    public override string ToString() => IsTcp ? $"{Source}:{SourcePort} > {Destination}:{DestinationPort} {Flags} seq {Seq} ack {Ack} win {Window} len {Payload.Length}" : $"{Source} > {Destination}, {Frame.Length} bytes";

    private static bool PartialSum(in Packet packet, in VnetHeader vnet) =>
        vnet.ChecksumStart == packet.Layout.Transport
        && packet.Tcp.Checksum == InternetChecksum.PseudoHeaderSum(packet.Source, packet.Destination, Packet.ProtocolTcp, packet.Transport.Length);
}
