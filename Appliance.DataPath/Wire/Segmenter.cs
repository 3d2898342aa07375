using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>
/// Turns a frame with offload state into the frames that belong on a wire, one at a time: a TCP
/// super-frame (or a UDP one of type 5) into segments of GsoSize payload bytes with complete
/// checksums, a frame with a partial checksum into one with a complete checksum, any other frame into itself. As a
/// network card does it: IPv4 identifications count up, FIN and PSH go with the last segment, CWR with the first. Headers,
/// options and extension headers are those of the original; its memory is only read and must stay.
/// </summary>
public ref struct Segmenter
{
    /// <summary>VIRTIO_NET_HDR_GSO_UDP_L4.</summary>
    public const byte GsoUdpL4 = 5;

    private readonly ReadOnlySpan<byte> _frame;
    private readonly PacketLayout _layout;
    private readonly VnetHeader _vnet;
    private readonly int _size;
    private int _next;

    private Segmenter(ReadOnlySpan<byte> frame, PacketLayout layout, VnetHeader vnet, int size)
    {
        _frame = frame;
        _layout = layout;
        _vnet = vnet;
        _size = size;
        Count = size == 0 ? 1 : Math.Max(1, (layout.End - layout.Payload + size - 1) / size);
        MaxLength = size == 0 ? frame.Length : layout.Payload + Math.Min(size, layout.End - layout.Payload);
    }

    /// <summary>How many frames there will be, at least one.</summary>
    public int Count { get; }

    /// <summary>Bytes of the longest of them.</summary>
    public int MaxLength { get; }

    /// <summary>
    /// Begins. Fails with the parser's reason, or with <see cref="DropReason.TooLongForEgress"/> if the
    /// frame is a super-frame that cannot be split: of another kind than its headers say, a fragment, or with GsoSize 0.
    /// </summary>
    public static bool TryCreate(ReadOnlySpan<byte> frame, in VnetHeader vnet, out Segmenter segmenter, out DropReason reason)
    {
        segmenter = default;
        reason = DropReason.None;
        if (!vnet.IsSuperFrame)
        {
            if (vnet.NeedsChecksum && vnet.ChecksumStart + vnet.ChecksumOffset + 2 > frame.Length)
            {
                reason = DropReason.FrameTooShort;
                return false;
            }
            segmenter = new Segmenter(frame, default, vnet, 0);
            return true;
        }
        if (!PacketParser.TryParse(frame, out PacketLayout layout, out reason)) return false;
        int type = vnet.GsoType & 0x7f;
        bool sound = type switch
        {
            VnetHeader.GsoTcp4 => layout.Kind == NetworkKind.Ipv4 && layout.Protocol == Packet.ProtocolTcp,
            VnetHeader.GsoTcp6 => layout.Kind == NetworkKind.Ipv6 && layout.Protocol == Packet.ProtocolTcp,
            GsoUdpL4 => layout.Protocol == Packet.ProtocolUdp,
            _ => false,
        };
        if (!sound || !layout.HasTransport || layout.IsFragment || vnet.GsoSize == 0)
        {
            reason = DropReason.TooLongForEgress;
            return false;
        }
        segmenter = new Segmenter(frame, layout, vnet, vnet.GsoSize);
        return true;
    }

    /// <summary>Writes the next frame; returns its length, or 0 when all are written (or <paramref name="destination"/> is shorter than <see cref="MaxLength"/>).</summary>
    public int Next(Span<byte> destination)
    {
        if (_next == Count || destination.Length < MaxLength) return 0;
        int index = _next++;
        if (_size == 0)
        {
            _frame.CopyTo(destination);
            VnetHeader vnet = _vnet;
            InternetChecksum.CompleteTransport(destination[.._frame.Length], ref vnet);
            return _frame.Length;
        }
        int offset = index * _size;
        int payload = Math.Min(_size, _layout.End - _layout.Payload - offset);
        Span<byte> part = destination[..(_layout.Payload + payload)];
        _frame[.._layout.Payload].CopyTo(part);
        _frame.Slice(_layout.Payload + offset, payload).CopyTo(part[_layout.Payload..]);
        TrimHeaders(part, _layout, offset, index, first: index == 0, last: index == Count - 1);
        if (Packet.TryParse(part, out Packet packet, out _)) InternetChecksum.SetTransport(packet);
        return part.Length;
    }

    /// <summary>
    /// Cuts a TCP frame, super or not, before byte <paramref name="at"/> of its payload (0 &lt; at &lt; payload length). The head stays in
    /// <paramref name="frame"/>, of which it takes <paramref name="headLength"/> bytes; the tail is written to
    /// <paramref name="tail"/>. Partial checksums stay partial, and a checksum that was wrong is wrong in both. False, with nothing
    /// changed, if the frame is not whole TCP, the cut is not inside the payload or the tail does not fit.
    /// </summary>
    public static bool SplitAt(
        Span<byte> frame, ref VnetHeader vnet, int at, Span<byte> tail, out int headLength, out int tailLength, out VnetHeader tailVnet)
    {
        headLength = tailLength = 0;
        tailVnet = default;
        if (!Packet.TryParse(frame, out Packet whole, out _) || !whole.IsTcp || whole.Layout.IsFragment) return false;
        PacketLayout layout = whole.Layout;
        int payload = layout.End - layout.Payload;
        if (at <= 0 || at >= payload || tail.Length < layout.Payload + payload - at) return false;

        bool partial = vnet.NeedsChecksum;
        ushort error = partial ? (ushort)0xffff : VerificationSum(whole);
        headLength = layout.Payload + at;
        tailLength = layout.Payload + payload - at;
        frame[..layout.Payload].CopyTo(tail);
        frame[headLength..layout.End].CopyTo(tail[layout.Payload..]);
        int headSegments = vnet.IsSuperFrame && vnet.GsoSize > 0 ? (at + vnet.GsoSize - 1) / vnet.GsoSize : 1;
        TrimHeaders(frame[..headLength], layout, 0, 0, first: true, last: false);
        TrimHeaders(tail[..tailLength], layout, at, headSegments, first: false, last: true);
        FinishChecksum(frame[..headLength], layout, partial, at - payload, error);
        FinishChecksum(tail[..tailLength], layout, partial, -at, error);
        tailVnet = Shrink(vnet, payload - at, first: false);
        vnet = Shrink(vnet, at, first: true);
        return true;
    }

    // Headers copied from the whole become those of the part that starts 'offset' payload bytes later.
    private static void TrimHeaders(Span<byte> part, PacketLayout layout, int offset, int index, bool first, bool last)
    {
        Span<byte> ip = part[layout.Network..];
        if (layout.Kind == NetworkKind.Ipv4)
        {
            var v4 = new Ipv4View(ip);
            ushort length = (ushort)ip.Length, id = (ushort)(v4.Identification + index);
            ushort delta = InternetChecksum.Add(InternetChecksum.Delta(v4.TotalLength, length), InternetChecksum.Delta(v4.Identification, id));
            v4.TotalLength = length;
            v4.Identification = id;
            v4.Checksum = InternetChecksum.Update(v4.Checksum, delta);
        }
        else
        {
            new Ipv6View(ip).PayloadLength = (ushort)(ip.Length - Ipv6View.HeaderLength);
        }
        Span<byte> transport = part[layout.Transport..];
        if (layout.Protocol == Packet.ProtocolUdp)
        {
            new UdpView(transport).Length = (ushort)transport.Length;
            return;
        }
        TrimTcp(new TcpView(transport), offset, first, last);
    }

    private static void TrimTcp(TcpView tcp, int offset, bool first, bool last)
    {
        TcpFlags flags = tcp.Flags;
        // A SYN takes the number in front of the payload.
        if (!first) tcp.Seq += (uint)offset + (tcp.Has(TcpFlags.Syn) ? 1u : 0u);
        if (!first) flags &= ~(TcpFlags.Cwr | TcpFlags.Syn);
        if (!last) flags &= ~(TcpFlags.Fin | TcpFlags.Psh | TcpFlags.Rst);
        if (tcp.Has(TcpFlags.Urg) && offset > 0)
        {
            // The pointer counts from the segment's own first byte (RFC 9293 3.1).
            bool ahead = tcp.UrgentPointer > offset;
            BinaryPrimitives.WriteUInt16BigEndian(tcp.Segment[18..], ahead ? (ushort)(tcp.UrgentPointer - offset) : (ushort)0);
            if (!ahead) flags &= ~TcpFlags.Urg;
        }
        tcp.Flags = flags;
    }

    // ffff if the checksum is right (or there is nothing to judge), else by how much it is wrong.
    private static ushort VerificationSum(in Packet packet)
    {
        ushort pseudo = InternetChecksum.PseudoHeaderSum(packet.Source, packet.Destination, packet.Layout.Protocol, packet.Transport.Length);
        return InternetChecksum.Add(pseudo, InternetChecksum.Sum(packet.Transport));
    }

    private static void FinishChecksum(Span<byte> part, PacketLayout layout, bool partial, int growth, ushort error)
    {
        var tcp = new TcpView(part[layout.Transport..]);
        if (partial)
        {
            int length = part.Length - layout.Transport;
            tcp.Checksum = InternetChecksum.UpdatePartial(tcp.Checksum, InternetChecksum.Delta32((uint)(length - growth), (uint)length));
            return;
        }
        if (!Packet.TryParse(part, out Packet packet, out _)) return;
        InternetChecksum.SetTransport(packet);
        if (error != 0xffff) tcp.Checksum = InternetChecksum.Add(tcp.Checksum, error);
    }

    private static VnetHeader Shrink(VnetHeader vnet, int payload, bool first)
    {
        if (!vnet.IsSuperFrame) return vnet;
        if (!first) vnet.GsoType &= 0x7f;
        if (payload <= vnet.GsoSize)
        {
            vnet.GsoType = 0;
            vnet.GsoSize = 0;
        }
        return vnet;
    }
}
