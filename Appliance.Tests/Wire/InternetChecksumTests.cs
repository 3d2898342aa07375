using System.Buffers.Binary;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>Sums against the plain loop of RFC 1071, updates against sums, and the vectors of RFC 1071 and 1624.</summary>
public sealed class InternetChecksumTests
{
    private const int Seed = 71_1624;

    [Test]
    public void Rfc1071_example()
    {
        Assert.That(InternetChecksum.Sum([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), Is.EqualTo(0xddf2));
    }

    [Test]
    public void Rfc1624_example_does_not_turn_into_minus_zero()
    {
        Assert.That(InternetChecksum.Update(0xdd2f, InternetChecksum.Delta(0x5555, 0x3285)), Is.Zero);
    }

    [Test]
    public void Sum_equals_the_plain_loop_for_every_length_and_alignment()
    {
        TestContext.Out.WriteLine("seed " + Seed);
        var random = new Random(Seed);
        var bytes = new byte[700];
        for (int length = 0; length < 640; length++)
        {
            int offset = random.Next(60);
            random.NextBytes(bytes);
            if (length % 3 == 0) Array.Fill(bytes, (byte)0xff);
            ReadOnlySpan<byte> data = bytes.AsSpan(offset, length);
            Assert.That(InternetChecksum.Sum(data), Is.EqualTo(PlainSum(data)), $"length {length} offset {offset}");
        }
        Assert.That(InternetChecksum.Sum(new byte[70_000]), Is.Zero);
    }

    [Test]
    public void Sums_of_parts_join_also_behind_an_odd_number_of_bytes()
    {
        byte[] bytes = FrameCorpus.Payload(101);
        for (int cut = 0; cut <= bytes.Length; cut++)
        {
            ushort head = InternetChecksum.Sum(bytes.AsSpan(0, cut)), tail = InternetChecksum.Sum(bytes.AsSpan(cut));
            if (cut % 2 != 0) tail = InternetChecksum.Swap(tail);
            Assert.That(InternetChecksum.Add(head, tail), Is.EqualTo(PlainSum(bytes)));
        }
    }

    [TestCase(0UL, 0)]
    [TestCase(0xffffUL, 0xffff)]
    [TestCase(0x1_0000UL, 1)]
    [TestCase(0xffff_ffffUL, 0xffff)]
    [TestCase(ulong.MaxValue, 0xffff)]
    [TestCase(0xffff_ffff_0000_0001UL, 1)]
    public void Fold_carries_around(ulong sum, int expected) => Assert.That(InternetChecksum.Fold(sum), Is.EqualTo(expected));

    [Test]
    public void Updates_give_what_a_new_sum_gives([Values] bool v6)
    {
        TestContext.Out.WriteLine("seed " + Seed);
        var random = new Random(Seed);
        for (int i = 0; i < 5_000; i++)
        {
            byte[] frame = FrameCorpus.Tcp(FrameCorpus.Spec(v6), random.Next(40));
            Packet packet = FrameCorpus.Parse(frame);
            var tcp = packet.Tcp;
            uint seq = random.Next(4) == 0 ? 0xffff_ffff : (uint)random.NextInt64(), tsval = (uint)random.NextInt64();
            ushort port = (ushort)random.Next(65536);
            IpAddr source = v6 ? new IpAddr((ulong)random.NextInt64() | (1UL << 63), (ulong)random.NextInt64()) : IpAddr.FromV4((uint)random.NextInt64());
            ushort delta = InternetChecksum.Delta32(tcp.Seq.Value, seq);
            delta = InternetChecksum.Add(delta, InternetChecksum.Delta(tcp.SourcePort, port));
            delta = InternetChecksum.Add(delta, InternetChecksum.DeltaOf(packet.Source, source));
            // A timestamp at an odd offset: its words straddle the words of the sum.
            Span<byte> odd = tcp.Options.Slice(5, 4);
            delta = InternetChecksum.Add(delta, InternetChecksum.Swap(InternetChecksum.Delta32(BinaryPrimitives.ReadUInt32BigEndian(odd), tsval)));
            BinaryPrimitives.WriteUInt32BigEndian(odd, tsval);
            tcp.Seq = new TcpSeq(seq);
            tcp.SourcePort = port;
            if (v6) source.WriteV6(packet.Network[8..]);
            else source.WriteV4(packet.Network[12..]);
            tcp.Checksum = InternetChecksum.Update(tcp.Checksum, delta);

            Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
            ushort updated = tcp.Checksum;
            InternetChecksum.SetTransport(packet);
            Assert.That(updated, Is.EqualTo(tcp.Checksum), "not even minus zero");
        }
    }

    [Test]
    public void A_wrong_checksum_stays_wrong_by_the_same_amount()
    {
        byte[] frame = FrameCorpus.Tcp(FrameCorpus.Spec(false), 20);
        Packet packet = FrameCorpus.Parse(frame);
        var tcp = packet.Tcp;
        tcp.Payload[3] ^= 0x40;
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.False);
        tcp.Checksum = InternetChecksum.Update(tcp.Checksum, InternetChecksum.Delta32(tcp.Seq.Value, 77));
        tcp.Seq = new TcpSeq(77);
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.False);
        tcp.Payload[3] ^= 0x40;
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
    }

    [Test]
    public void A_partial_checksum_takes_address_changes_and_can_be_completed([Values] bool v6, [Values(0, 1, 999)] int payload)
    {
        var frame = new byte[2000];
        int length = FrameWriter.WriteTcpPartial(frame, FrameCorpus.Spec(v6), FrameCorpus.Payload(payload), 1448, out VnetHeader vnet);
        // Padding that is not zero must not be summed.
        frame.AsSpan(length, 6).Fill(0xee);
        Assert.That(Packet.TryParse(frame.AsSpan(0, length + 6), out Packet packet, out _), Is.True);
        Assert.That(vnet.NeedsChecksum && !vnet.IsSuperFrame, Is.True);
        IpAddr other = v6 ? FrameCorpus.Ip("fe80::1") : FrameCorpus.Ip("10.0.0.1");
        var tcp = packet.Tcp;
        tcp.Checksum = InternetChecksum.UpdatePartial(tcp.Checksum, InternetChecksum.DeltaOf(packet.Source, other));
        if (v6) other.WriteV6(packet.Network[8..]);
        else other.WriteV4(packet.Network[12..]);
        tcp.Seq += 12345u;
        Assert.That(tcp.Checksum, Is.EqualTo(InternetChecksum.PseudoHeaderSum(other, packet.Destination, 6, packet.Transport.Length)));
        Assert.That(InternetChecksum.CompleteTransport(packet.Frame, ref vnet), Is.True);
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
        Assert.That(vnet.NeedsChecksum, Is.False);
        Assert.That(InternetChecksum.CompleteTransport(packet.Frame, ref vnet), Is.False, "once only");
    }

    [Test]
    public void Udp_never_becomes_none_and_none_stays_none()
    {
        Assert.That(InternetChecksum.UpdateUdp(0, 0x1234), Is.Zero);
        Assert.That(InternetChecksum.UpdateUdp(0xdd2f, InternetChecksum.Delta(0x5555, 0x3285)), Is.EqualTo(0xffff));
        byte[] frame = FrameCorpus.Udp(false);
        Packet packet = FrameCorpus.Parse(frame);
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True);
        var udp = packet.Udp;
        udp.Checksum = 0;
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.True, "none over IPv4");
        packet = FrameCorpus.Parse(FrameCorpus.Udp(true));
        udp = packet.Udp;
        udp.Checksum = 0;
        Assert.That(InternetChecksum.VerifyTransport(packet), Is.False, "none over IPv6");
    }

    [Test]
    public void Ipv4_header_checksum_follows_a_rewrite()
    {
        byte[] frame = FrameCorpus.Tcp(FrameCorpus.Spec(false));
        Packet packet = FrameCorpus.Parse(frame);
        var ip = packet.Ipv4;
        Assert.That(InternetChecksum.VerifyIpv4Header(ip.Header), Is.True);
        ip.RewriteTimeToLive(1);
        Assert.That(InternetChecksum.VerifyIpv4Header(ip.Header), Is.True);
        InternetChecksum.UpdateIpv4Header(ip.Header, InternetChecksum.DeltaOf(ip.Source, FrameCorpus.B4));
        ip.Source = FrameCorpus.B4;
        Assert.That(InternetChecksum.VerifyIpv4Header(ip.Header), Is.True);
        Assert.That(packet.HopLimit, Is.EqualTo(1));
    }

    private static ushort PlainSum(ReadOnlySpan<byte> data)
    {
        uint sum = 0;
        for (int i = 0; i < data.Length; i++) sum += (uint)data[i] << (i % 2 == 0 ? 8 : 0);
        while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
        return (ushort)sum;
    }
}
