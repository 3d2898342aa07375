using System.Buffers.Binary;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Flow;

[TestFixture]
internal sealed class ReassemblerTests
{
    private static byte[] Datagram(bool v6, int payload, int seed, bool options = false, bool vlan = false)
    {
        var random = new Random(seed);
        var ip = new List<byte>();
        int udp = 8 + payload;
        if (v6)
        {
            // With a hop-by-hop header: it must stand in every fragment.
            int extension = options ? 8 : 0;
            byte[] header = new byte[40 + extension];
            header[0] = 0x60;
            BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(4), (ushort)(extension + udp));
            header[6] = options ? (byte)0 : (byte)17;
            header[7] = 64;
            random.NextBytes(header.AsSpan(8, 32));
            if (options) new byte[] { 17, 0, 1, 4, 0, 0, 0, 0 }.CopyTo(header, 40);
            ip.AddRange(header);
        }
        else
        {
            byte[] header = new byte[options ? 28 : 20];
            header[0] = (byte)(0x40 | (header.Length / 4));
            BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(2), (ushort)(header.Length + udp));
            BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(4), 4711);
            header[8] = 64;
            header[9] = 17;
            random.NextBytes(header.AsSpan(12, 8));
            // Timestamp (not copied), then router alert (copied).
            if (options) new byte[] { 68, 4, 5, 0, 0x94, 4, 0, 0 }.CopyTo(header, 20);
            InternetChecksum.SetIpv4Header(header);
            ip.AddRange(header);
        }
        byte[] body = new byte[udp];
        random.NextBytes(body);
        BinaryPrimitives.WriteUInt16BigEndian(body.AsSpan(4), (ushort)udp);
        byte[] ethernet = new byte[vlan ? 18 : 14];
        random.NextBytes(ethernet.AsSpan(0, 12));
        if (vlan) BinaryPrimitives.WriteUInt32BigEndian(ethernet.AsSpan(12), 0x8100_0007);
        BinaryPrimitives.WriteUInt16BigEndian(ethernet.AsSpan(ethernet.Length - 2), v6 ? PacketParser.EtherIpv6 : PacketParser.EtherIpv4);
        return [.. ethernet, .. ip, .. body];
    }

    private static List<byte[]> Split(byte[] frame, int size, uint id = 99)
    {
        Assert.That(Packet.TryParse(frame, out Packet packet, out _), Is.True);
        var fragmenter = new Fragmenter(in packet, size, id);
        var fragments = new List<byte[]>();
        Span<byte> output = new byte[70_000];
        while (fragmenter.TryNext(output, out int length)) fragments.Add(output[..length].ToArray());
        return fragments;
    }

    private static FragmentVerdict Add(Reassembler reassembler, byte[] fragment, long now, out WholePacket whole, out DropReason reason)
    {
        Assert.That(Packet.TryParse(fragment, out Packet packet, out _), Is.True);
        Assert.That(packet.Layout.IsFragment, Is.True);
        return reassembler.Add(in packet, now, out whole, out reason);
    }

    [Test]
    public void What_was_split_comes_out_as_it_went_in([Values] bool v6, [Values] bool options, [Values] bool vlan, [Values(1, 2, 3)] int seed)
    {
        TestContext.Out.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var reassembler = new Reassembler(4);
        for (int round = 0; round < 50; round++)
        {
            int size = random.Next(100, 1501);
            byte[] frame = Datagram(v6, random.Next(size, 60_000), random.Next(), options, vlan);
            List<byte[]> fragments = Split(frame, size);
            Assert.That(fragments, Has.Count.GreaterThan(1));
            int network = vlan ? 18 : 14, largest = fragments.Max(f => f.Length) - network;
            Assert.That(largest, Is.InRange(size - 7, size));
            byte[][] shuffled = [.. fragments];
            random.Shuffle(shuffled);
            for (int i = 0; i < shuffled.Length; i++)
            {
                FragmentVerdict verdict = Add(reassembler, shuffled[i], round, out WholePacket whole, out _);
                Assert.That(verdict, Is.EqualTo(i == shuffled.Length - 1 ? FragmentVerdict.Whole : FragmentVerdict.Held));
                if (verdict != FragmentVerdict.Whole) continue;
                Assert.That(whole.Frame.Bytes.SequenceEqual(frame), Is.True);
                Assert.That(whole.LargestFragment, Is.EqualTo(largest));
                Assert.That(whole.Identification, Is.EqualTo(v6 ? 99 : 4711));
            }
            reassembler.ReleaseWhole();
            Assert.That(reassembler.Count, Is.Zero);
        }
    }

    [Test]
    public void Later_fragments_carry_only_the_options_that_are_to_be_copied()
    {
        List<byte[]> fragments = Split(Datagram(v6: false, 1000, 1, options: true), 500);
        Assert.That(fragments[0][34..42], Is.EqualTo(new byte[] { 68, 4, 5, 0, 0x94, 4, 0, 0 }));
        Assert.That(fragments[1][34..42], Is.EqualTo(new byte[] { 1, 1, 1, 1, 0x94, 4, 0, 0 }));
        Assert.That(fragments, Is.All.Matches<byte[]>(f => InternetChecksum.VerifyIpv4Header(f.AsSpan(14, 28))));
    }

    [Test]
    public void An_overlap_condemns_the_packet_until_its_timeout([Values] bool v6)
    {
        using var reassembler = new Reassembler(4);
        List<byte[]> fragments = Split(Datagram(v6, 1000, 1), 500);
        Assert.That(Add(reassembler, fragments[0], 0, out _, out _), Is.EqualTo(FragmentVerdict.Held));
        Assert.That(Add(reassembler, fragments[0], 1, out _, out DropReason reason), Is.EqualTo(FragmentVerdict.Dropped));
        Assert.That(reason, Is.EqualTo(DropReason.FragmentOverlap));
        foreach (byte[] fragment in fragments) Assert.That(Add(reassembler, fragment, 2, out _, out _), Is.EqualTo(FragmentVerdict.Dropped));
        Assert.That(reassembler.Expire(Reassembler.TimeoutNs), Is.Zero, "counted as an overlap already");
        Assert.That(reassembler.Count, Is.Zero);
        for (int i = 0; i < fragments.Count; i++)
        {
            Assert.That(Add(reassembler, fragments[i], Reassembler.TimeoutNs, out _, out _), Is.EqualTo(i < fragments.Count - 1 ? FragmentVerdict.Held : FragmentVerdict.Whole));
        }
    }

    [Test]
    public void A_full_table_refuses_and_recovers_by_timeout()
    {
        using var reassembler = new Reassembler(2);
        for (int i = 0; i < 3; i++)
        {
            FragmentVerdict verdict = Add(reassembler, Split(Datagram(v6: true, 1000, i), 500)[0], 5, out _, out DropReason reason);
            Assert.That(verdict, Is.EqualTo(i < 2 ? FragmentVerdict.Held : FragmentVerdict.Dropped));
            if (i == 2) Assert.That(reason, Is.EqualTo(DropReason.FragmentTableFull));
        }
        Assert.That(reassembler.Expire(4 + Reassembler.TimeoutNs), Is.Zero);
        Assert.That(reassembler.Expire(5 + Reassembler.TimeoutNs), Is.EqualTo(2));
        Assert.That(Add(reassembler, Split(Datagram(v6: true, 1000, 9), 500)[0], 6 + Reassembler.TimeoutNs, out _, out _), Is.EqualTo(FragmentVerdict.Held));
    }

    [TestCase(1)]
    [TestCase(2)]
    public void Hostile_fragments_neither_throw_nor_make_a_packet_with_holes(int seed)
    {
        TestContext.Out.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var reassembler = new Reassembler(8);
        int wholes = 0;
        for (long now = 0; now < 200_000; now++)
        {
            bool v6 = random.Next(2) == 0;
            byte[] fragment = Split(Datagram(v6, 100, 3), v6 ? 80 : 60)[0];
            Span<byte> field = fragment.AsSpan(v6 ? 14 + 40 + 2 : 14 + 6);
            int offset = random.Next(8) == 0 ? random.Next(8192) : random.Next(6);
            bool more = random.Next(4) != 0;
            BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)(v6 ? (offset << 3) | (more ? 1 : 0) : offset | (more ? 0x2000 : 0)));
            if (!Packet.TryParse(fragment, out Packet packet, out _) || !packet.Layout.IsFragment) continue;
            FragmentVerdict verdict = reassembler.Add(in packet, now * 50_000_000, out WholePacket whole, out _);
            if (verdict == FragmentVerdict.Whole)
            {
                wholes++;
                int payload = whole.Frame.Length - (v6 ? 54 : 34);
                Assert.That(payload % (packet.Layout.End - (v6 ? 62 : 34)), Is.Zero, "whole pieces only");
            }
            reassembler.ReleaseWhole();
            reassembler.Expire(now * 50_000_000);
        }
        Assert.That(wholes, Is.Positive);
    }

    [Test]
    public void Nothing_is_allocated_after_construction()
    {
        using var reassembler = new Reassembler(4);
        byte[][] fragments = [.. Split(Datagram(v6: true, 3000, 1), 500)];
        byte[] frame = Datagram(v6: false, 3000, 1);
        byte[] output = new byte[2000];
        int wholes = Run(reassembler, fragments, frame, output);
        long before = GC.GetAllocatedBytesForCurrentThread();
        wholes += Run(reassembler, fragments, frame, output);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(wholes, Is.EqualTo(2));
    }

    private static int Run(Reassembler reassembler, byte[][] fragments, byte[] frame, byte[] output)
    {
        int wholes = 0;
        foreach (byte[] fragment in fragments)
        {
            if (Packet.TryParse(fragment, out Packet packet, out _) && reassembler.Add(in packet, 0, out _, out _) == FragmentVerdict.Whole) wholes++;
        }
        reassembler.ReleaseWhole();
        reassembler.Expire(0);
        if (!Packet.TryParse(frame, out Packet whole, out _)) return 0;
        var fragmenter = new Fragmenter(in whole, 576, 1);
        while (fragmenter.TryNext(output, out _)) output[0]++;
        return wholes;
    }
}
