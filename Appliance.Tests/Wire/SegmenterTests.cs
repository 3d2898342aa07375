using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>Segments of super-frames and cuts: every byte once, headers as a network card writes them, checksums right (or as wrong as before).</summary>
public sealed class SegmenterTests
{
    [Test]
    public void Super_frame_becomes_what_a_card_would_send([Values] bool v6, [Values] bool vlan)
    {
        byte[] frame = FrameCorpus.SuperFrame(v6, out VnetHeader vnet);
        if (vlan)
        {
            frame = FrameCorpus.WithVlan(frame, 7);
            vnet.ChecksumStart += 4;
        }
        Packet whole = FrameCorpus.Parse(frame);
        List<byte[]> parts = Segments(frame, vnet);
        Assert.That(parts, Has.Count.EqualTo(8));
        var joined = new List<byte>();
        for (int i = 0; i < parts.Count; i++)
        {
            Assert.That(Packet.TryParse(parts[i], out Packet part, out _), Is.True);
            var tcp = part.Tcp;
            Assert.That(tcp.Payload.Length, Is.EqualTo(i < 7 ? 1448 : 100));
            Assert.That(tcp.Seq, Is.EqualTo(whole.Tcp.Seq + (uint)(i * 1448)));
            Assert.That(tcp.Ack, Is.EqualTo(whole.Tcp.Ack));
            Assert.That(tcp.Has(TcpFlags.Cwr), Is.EqualTo(i == 0));
            Assert.That((tcp.Flags & (TcpFlags.Fin | TcpFlags.Psh)) != TcpFlags.None, Is.EqualTo(i == 7));
            Assert.That(tcp.Options.SequenceEqual(whole.Tcp.Options), Is.True);
            Assert.That(InternetChecksum.VerifyTransport(part), Is.True);
            if (!v6)
            {
                Assert.That(part.Ipv4.Identification, Is.EqualTo((ushort)(0xfffe + i)));
                Assert.That(InternetChecksum.VerifyIpv4Header(part.Ipv4.Header), Is.True);
            }
            Assert.That(part.HasVlan, Is.EqualTo(vlan));
            joined.AddRange(tcp.Payload.ToArray());
        }
        Assert.That(joined, Is.EqualTo(whole.Payload.ToArray()));
    }

    [Test]
    public void Partial_checksum_of_a_single_frame_is_completed([Values] bool v6)
    {
        byte[] frame = FrameCorpus.SuperFrame(v6, out VnetHeader vnet, payload: 500);
        Assert.That(vnet.IsSuperFrame, Is.False);
        byte[] only = Segments(frame, vnet).Single();
        Packet packet = FrameCorpus.Parse(only);
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
    }

    [Test]
    public void A_frame_without_offload_state_is_not_touched()
    {
        foreach (byte[] frame in FrameCorpus.All()) Assert.That(Segments(frame, default).Single(), Is.EqualTo(frame));
    }

    [Test]
    public void Udp_segmentation([Values] bool v6)
    {
        byte[] frame = FrameCorpus.Udp(v6, 250);
        var vnet = new VnetHeader { Flags = VnetHeader.FlagNeedsChecksum, GsoType = Segmenter.GsoUdpL4, GsoSize = 100 };
        List<byte[]> parts = Segments(frame, vnet);
        Assert.That(parts, Has.Count.EqualTo(3));
        var joined = new List<byte>();
        foreach (byte[] bytes in parts)
        {
            Assert.That(Packet.TryParse(bytes, out Packet part, out _), Is.True);
            Assert.That(InternetChecksum.VerifyTransport(part), Is.True);
            joined.AddRange(part.Udp.Payload.ToArray());
        }
        Assert.That(joined, Is.EqualTo(FrameCorpus.Payload(250)));
    }

    [TestCase(VnetHeader.GsoTcp6, 1448, Description = "family")]
    [TestCase(VnetHeader.GsoTcp4, 0, Description = "no size")]
    [TestCase(3, 1448, Description = "UDP fragmentation is not done")]
    [TestCase(Segmenter.GsoUdpL4, 1448, Description = "protocol")]
    [TestCase(0x21, 1448, Description = "tunnels")]
    public void Impossible_super_frames_are_refused(byte type, int size)
    {
        byte[] frame = FrameCorpus.SuperFrame(false, out VnetHeader vnet);
        vnet.GsoType = type;
        vnet.GsoSize = (ushort)size;
        Assert.That(Segmenter.TryCreate(frame, vnet, out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.TooLongForEgress));
    }

    [Test]
    public void Offsets_outside_the_frame_and_short_destinations()
    {
        byte[] frame = FrameCorpus.SuperFrame(false, out VnetHeader vnet, payload: 100);
        vnet.ChecksumStart = 60_000;
        Assert.That(Segmenter.TryCreate(frame, vnet, out _, out DropReason reason), Is.False);
        Assert.That(reason, Is.EqualTo(DropReason.FrameTooShort));
        Assert.That(Segmenter.TryCreate(frame, default, out Segmenter segmenter, out _), Is.True);
        Assert.That(segmenter.Next(new byte[segmenter.MaxLength - 1]), Is.Zero);
        Assert.That(segmenter.Next(new byte[segmenter.MaxLength]), Is.EqualTo(frame.Length));
    }

    [Test]
    public void Cut_at_any_byte_then_segmented_gives_every_byte_once([Values] bool v6, [Values] bool partial)
    {
        for (int at = 1; at < 400; at += at is < 5 or > 95 ? 1 : 7)
        {
            byte[] frame;
            VnetHeader vnet = default;
            if (partial) frame = FrameCorpus.SuperFrame(v6, out vnet, payload: 400, size: 100);
            else frame = FrameCorpus.Tcp(FrameCorpus.Spec(v6), 400);
            var tail = new byte[600];
            Assert.That(Segmenter.SplitAt(frame, ref vnet, at, tail, out int headLength, out int tailLength, out VnetHeader tailVnet), Is.True);
            List<byte[]> parts = [.. Segments(frame[..headLength], vnet), .. Segments(tail[..tailLength], tailVnet)];
            var joined = new List<byte>();
            uint seq = FrameCorpus.Spec(v6).Seq.Value;
            foreach (byte[] bytes in parts)
            {
                Assert.That(Packet.TryParse(bytes, out Packet part, out _), Is.True);
                Assert.That(InternetChecksum.VerifyTransport(part), Is.True, $"cut at {at}");
                Assert.That(v6 || InternetChecksum.VerifyIpv4Header(part.Network[..20]), Is.True);
                Assert.That(part.Tcp.Seq.Value, Is.EqualTo(seq + (uint)joined.Count));
                joined.AddRange(part.Payload.ToArray());
            }
            Assert.That(joined, Is.EqualTo(FrameCorpus.Payload(400)));
        }
    }

    [Test]
    public void Cutting_a_corrupted_segment_leaves_both_corrupted()
    {
        byte[] frame = FrameCorpus.Tcp(FrameCorpus.Spec(false), 100);
        frame[^1] ^= 1;
        VnetHeader vnet = default;
        var tail = new byte[200];
        Assert.That(Segmenter.SplitAt(frame, ref vnet, 40, tail, out int headLength, out int tailLength, out _), Is.True);
        Packet head = FrameCorpus.Parse(frame.AsSpan(0, headLength));
        Packet rest = FrameCorpus.Parse(tail.AsSpan(0, tailLength));
        Assert.That(InternetChecksum.VerifyTransport(head), Is.False);
        Assert.That(InternetChecksum.VerifyTransport(rest), Is.False);
        rest.Payload[^1] ^= 1;
        Assert.That(InternetChecksum.VerifyTransport(rest), Is.True, "wrong by what was wrong before");
    }

    [Test]
    public void Flags_of_a_cut()
    {
        TcpSegmentSpec spec = FrameCorpus.Spec(false);
        spec.Flags = TcpFlags.Syn | TcpFlags.Fin | TcpFlags.Urg | TcpFlags.Cwr;
        spec.UrgentPointer = 30;
        byte[] frame = FrameCorpus.Tcp(spec, 100);
        var tail = new byte[200];
        VnetHeader vnet = default;
        Assert.That(Segmenter.SplitAt(frame, ref vnet, 20, tail, out int headLength, out int tailLength, out _), Is.True);
        Packet head = FrameCorpus.Parse(frame.AsSpan(0, headLength));
        Packet rest = FrameCorpus.Parse(tail.AsSpan(0, tailLength));
        Assert.That(head.Tcp.Flags, Is.EqualTo(TcpFlags.Syn | TcpFlags.Urg | TcpFlags.Cwr));
        Assert.That(rest.Tcp.Flags, Is.EqualTo(TcpFlags.Fin | TcpFlags.Urg));
        Assert.That(rest.Tcp.Seq, Is.EqualTo(spec.Seq + 21u), "the SYN takes a number");
        Assert.That(rest.Tcp.UrgentPointer, Is.EqualTo(10));
        Assert.That(InternetChecksum.VerifyTransport(rest), Is.True);
    }

    [TestCase(0)]
    [TestCase(100)]
    [TestCase(-1)]
    [TestCase(101)]
    public void A_cut_outside_the_payload_changes_nothing(int at)
    {
        byte[] frame = FrameCorpus.Tcp(FrameCorpus.Spec(true), 100), before = [.. frame];
        VnetHeader vnet = default;
        Assert.That(Segmenter.SplitAt(frame, ref vnet, at, new byte[300], out _, out _, out _), Is.False);
        Assert.That(frame, Is.EqualTo(before));
    }

    internal static List<byte[]> Segments(byte[] frame, VnetHeader vnet)
    {
        var parts = new List<byte[]>();
        Assert.That(Segmenter.TryCreate(frame, vnet, out Segmenter segmenter, out _), Is.True);
        var buffer = new byte[segmenter.MaxLength];
        while (segmenter.Next(buffer) is int length and > 0) parts.Add(buffer[..length]);
        Assert.That(parts, Has.Count.EqualTo(segmenter.Count));
        return parts;
    }
}
