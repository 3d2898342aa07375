using Appliance.DataPath.Wire;
using Appliance.Tests.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Fuzz;

/// <summary>Hostile frames against everything in Wire: no exception, no access outside, and what a parser promises holds.</summary>
[Parallelizable(ParallelScope.Self)]
public sealed class WireFuzz
{
    private static readonly IReadOnlyList<byte[]> Frames = FrameCorpus.All();

    private ulong _sum;

    [Test]
    public void Packet_and_views() => FuzzRunner.Run("packet", Frames, input =>
    {
        if (!Packet.TryParse(input, out Packet packet, out DropReason reason))
        {
            Check(reason != DropReason.None, "a refusal has a reason");
            return;
        }
        PacketLayout layout = packet.Layout;
        Check(layout.Network <= layout.Transport && layout.Transport <= layout.Payload && layout.Payload <= layout.End && layout.End <= input.Length, "layout in order");
        Read(packet);
        Write(packet);
        Check(Packet.TryParse(input, out _, out _), "setters of the views leave a packet valid");
    });

    [Test]
    public void Tcp_options() => FuzzRunner.Run("tcp options", OptionCorpus(), input =>
    {
        if (!TcpOptions.TryParse(input, out TcpOptions options, out _)) return;
        if (options.HasTimestamps) Check(options.TimestampOffset + 8 <= input.Length, "timestamps inside");
        Check(options.SackBlocks <= 4 && options.WindowScale <= 14, "ranges");
        for (int i = 0; i < options.SackBlocks; i++) _sum += options.SackBlock(input, i).Left.Value;
    });

    [Test]
    public void Icmp_quote([Values] bool v6) => FuzzRunner.Run("icmp quote", [.. Frames.Select(f => f[14..])], input =>
    {
        if (!IcmpQuote.TryParse(input, v6, out IcmpQuote quote, out _)) return;
        Read(quote);
    });

    [Test]
    public void Neighbor() => FuzzRunner.Run("neighbour", NeighborCorpus(), input =>
    {
        if (!Packet.TryParse(input, out Packet packet, out _)) return;
        // Hardly any mutation has a right checksum: behind it the parser must be as careful.
        if (!NeighborView.TryParse(packet, checksumPartial: true, out NeighborView message, out _)) return;
        Check(packet.HopLimit == 255 && (!message.Target.IsNone || message.Kind != NeighborKind.Advertisement || packet.Layout.End > 0), "checked");
        _sum += message.LinkAddress.Value + message.Target.Low;
    });

    [Test]
    public void Segmenting()
    {
        int turn = 0;
        var part = new byte[FuzzRunner.MaxLength];
        FuzzRunner.Run("segmenter", TransportCorpus(), input =>
        {
            VnetHeader vnet = Offloads(input, turn++);
            if (!Segmenter.TryCreate(input, vnet, out Segmenter segmenter, out _)) return;
            int expected = segmenter.Count, written = 0;
            for (int length; (length = segmenter.Next(part)) > 0; written++) Check(length <= segmenter.MaxLength, "no part is longer than announced");
            Check(written == (input.Length == 0 ? 0 : expected), "as many parts as announced");
        });
    }

    [Test]
    public void Cutting()
    {
        int turn = 0;
        var tail = new byte[FuzzRunner.MaxLength];
        FuzzRunner.Run("cut", TransportCorpus(), input =>
        {
            VnetHeader vnet = Offloads(input, turn++);
            int payload = Packet.TryParse(input, out Packet whole, out _) ? whole.Payload.Length : 100, at = turn * 37 % (payload + 1);
            if (!Segmenter.SplitAt(input, ref vnet, at, tail, out int headLength, out int tailLength, out _)) return;
            Check(Packet.TryParse(input[..headLength], out Packet head, out _) && head.Payload.Length == at, "the head is a packet");
            Check(Packet.TryParse(tail.AsSpan(0, tailLength), out Packet rest, out _) && rest.Payload.Length == payload - at, "the tail is a packet");
        });
    }

    [Test]
    public void Answering() => FuzzRunner.Run("answers", Frames, input =>
    {
        if (!Packet.TryParse(input, out Packet packet, out _)) return;
        Span<byte> frame = stackalloc byte[1600];
        InternetChecksum.SetTransport(packet);
        IpAddr from = packet.IsV6 ? FrameCorpus.B6 : FrameCorpus.B4;
        foreach (IcmpError error in (ReadOnlySpan<IcmpError>)[IcmpError.TimeExceeded, IcmpError.PacketTooBig])
        {
            int length = IcmpWriter.WriteError(frame, packet, error, from, FrameCorpus.MacA, FrameCorpus.MacB, 1280);
            Check(length == 0 || (Packet.TryParse(frame[..length], out Packet sent, out _) && InternetChecksum.VerifyTransport(sent)), "an error is a right packet");
        }
        int reply = IcmpWriter.WriteEchoReply(frame, packet, FrameCorpus.MacA);
        Check(reply == 0 || (Packet.TryParse(frame[..reply], out Packet answer, out _) && InternetChecksum.VerifyTransport(answer)), "a reply is a right packet");
    });

    private static void Check(bool condition, string promise)
    {
        if (!condition) throw new InvalidOperationException("broken promise: " + promise);
    }

    private void Read(in Packet packet)
    {
        _sum += packet.Source.Low + packet.Destination.High + packet.SourcePort + packet.DestinationPort + packet.HopLimit;
        _sum += packet.SourceMac.Value + packet.DestinationMac.Value + packet.Ethernet.EtherType + (ulong)packet.Network.Length + (ulong)packet.Payload.Length;
        _sum += InternetChecksum.VerifyTransport(packet) ? 1UL : 0;
        if (packet.HasVlan) _sum += (ulong)packet.Vlan.Identifier + packet.Vlan.EtherType;
        if (packet.Layout.Kind == NetworkKind.Arp) _sum += packet.Arp.Sender.Low + packet.Arp.Target.Low + packet.Arp.SenderMac.Value + packet.Arp.TargetMac.Value + packet.Arp.Operation;
        if (packet.IsV4) Read(packet.Ipv4);
        if (packet.IsV6) Read(packet.Ipv6, packet.Layout);
        if (packet.IsUdp) _sum += (ulong)packet.Udp.Payload.Length + packet.Udp.Checksum;
        if (packet.IsTcp)
        {
            TcpView tcp = packet.Tcp;
            _sum += tcp.Seq.Value + tcp.Ack.Value + tcp.Window + tcp.UrgentPointer + tcp.SequenceLength + (ulong)tcp.Payload.Length;
            if (TcpOptions.TryParse(tcp.Options, out TcpOptions options, out _)) _sum += options.TsVal;
        }
        if (packet.IsIcmp)
        {
            _sum += packet.Icmp.Rest + packet.Icmp.Mtu + (ulong)packet.Icmp.Body.Length;
            if (packet.Icmp.TryGetQuote(out IcmpQuote quote, out _)) Read(quote);
        }
        if (NeighborView.TryParse(packet, checksumPartial: true, out NeighborView neighbor, out _)) _sum += neighbor.Target.Low;
    }

    private void Read(Ipv4View ip)
    {
        _sum += (ulong)ip.FragmentOffset + ip.TotalLength + ip.TimeToLive + (ulong)ip.Payload.Length;
        if (ip.TryFindOption(Ipv4View.LooseSourceRoute, out ReadOnlySpan<byte> option)) _sum += (ulong)option.Length;
    }

    private void Read(Ipv6View ip, PacketLayout layout)
    {
        int end = layout.Network + Ipv6View.HeaderLength;
        foreach (Ipv6Extension extension in ip.Extensions) end = layout.Network + extension.Offset + extension.Bytes.Length;
        Check(end == layout.Transport, "parser and walk agree");
        if (ip.TryGetFragment(out Ipv6FragmentView fragment)) _sum += fragment.Identification + (ulong)fragment.Offset;
    }

    private void Read(IcmpQuote quote)
    {
        _sum += quote.Source.Low + quote.Destination.Low + quote.SourcePort + quote.DestinationPort + (ulong)quote.Header.Length;
        if (quote.IsTcp) _sum += quote.Seq.Value;
        if (quote.HasAck) _sum += quote.Ack.Value;
        if (quote.HasChecksum) _sum += quote.Checksum;
    }

    // Setters that cannot invalidate what the parser checked.
    private static void Write(in Packet packet)
    {
        EthernetView ethernet = packet.Ethernet;
        ethernet.Source = FrameCorpus.MacA;
        ethernet.Destination = FrameCorpus.MacB;
        if (packet.IsV4) packet.Ipv4.RewriteTimeToLive(3);
        if (packet.IsTcp)
        {
            TcpView tcp = packet.Tcp;
            tcp.Seq += 5u;
            tcp.Window = 1;
            tcp.Checksum = 0;
        }
        InternetChecksum.SetTransport(packet);
    }

    // Three in four fit the frame, so that segmenting is reached; the others are anything.
    private static VnetHeader Offloads(Span<byte> input, int turn)
    {
        var vnet = new VnetHeader
        {
            Flags = (byte)(turn & 1),
            GsoType = (byte)(turn % 7),
            GsoSize = (ushort)(turn * 31 % 3000),
            ChecksumStart = (ushort)(turn * 17 % 90),
            ChecksumOffset = (ushort)(turn % 5 * 4),
        };
        if (turn % 4 == 0 || !Packet.TryParse(input, out Packet packet, out _)) return vnet;
        vnet.GsoType = packet.IsUdp ? Segmenter.GsoUdpL4 : packet.IsV6 ? VnetHeader.GsoTcp6 : VnetHeader.GsoTcp4;
        vnet.ChecksumStart = (ushort)packet.Layout.Transport;
        return vnet;
    }

    private static byte[][] TransportCorpus()
    {
        var frames = new List<byte[]>();
        foreach (byte[] frame in Frames)
        {
            Packet packet = FrameCorpus.Parse(frame);
            if ((packet.IsTcp || packet.IsUdp) && packet.Payload.Length > 1) frames.Add(frame);
        }
        return [.. frames];
    }

    private static byte[][] OptionCorpus() =>
    [
        [], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7],
        [1, 1, 5, 34, .. new byte[32]], [19, 18, .. new byte[16], 1, 1], [30, 12, .. new byte[10]], [254, 4, 0xf9, 0x89],
    ];

    private static byte[][] NeighborCorpus()
    {
        var frames = new List<byte[]>();
        foreach ((string name, byte[] frame) in FrameCorpus.Written())
        {
            if (name.Contains("solicitation", StringComparison.Ordinal) || name.Contains("advertisement", StringComparison.Ordinal) || name.Contains("probe", StringComparison.Ordinal)) frames.Add(frame);
        }
        return [.. frames];
    }
}
