using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>What a TCP segment carries, where a writer refuses, and that none of Wire allocates. Bytes are judged by the dissectors.</summary>
public sealed class FrameWriterTests
{
    [Test]
    public void Every_combination_of_options_is_read_back([Values] bool v6, [Values] bool mss, [Values] bool scale, [Values] bool sack, [Values] bool timestamps)
    {
        TcpSegmentSpec spec = FrameCorpus.Spec(v6);
        spec.Mss = mss ? (ushort)1460 : null;
        spec.WindowScale = scale ? (byte)11 : null;
        spec.SackPermitted = sack;
        spec.HasTimestamps = timestamps;
        Packet packet = FrameCorpus.Parse(FrameCorpus.Tcp(spec, 3));
        Assert.That(TcpOptions.TryParse(packet.Tcp.Options, out TcpOptions options, out _), Is.True);
        Assert.That((options.HasMss, options.HasWindowScale, options.SackPermitted, options.HasTimestamps), Is.EqualTo((mss, scale, sack, timestamps)));
        Assert.That((options.Mss, options.WindowScale), Is.EqualTo((mss ? 1460 : 0, scale ? 11 : 0)));
        Assert.That((options.TsVal, options.TsEcr), Is.EqualTo(timestamps ? (spec.TsVal, spec.TsEcr) : (0u, 0u)));
        Assert.That(TcpOptions.IsTimestampsOnly(packet.Tcp.Options), Is.EqualTo(timestamps && !mss && !scale && !sack));
        Assert.That(packet.Payload.ToArray(), Is.EqualTo(FrameCorpus.Payload(3)));
    }

    [Test]
    public void Partial_segments_say_so([Values] bool v6)
    {
        byte[] super = FrameCorpus.SuperFrame(v6, out VnetHeader vnet);
        Packet packet = FrameCorpus.Parse(super);
        Assert.That(vnet.NeedsChecksum && vnet.IsSuperFrame, Is.True);
        Assert.That(vnet.GsoType, Is.EqualTo((v6 ? VnetHeader.GsoTcp6 : VnetHeader.GsoTcp4) | VnetHeader.GsoEcn));
        Assert.That((vnet.ChecksumStart, vnet.ChecksumOffset), Is.EqualTo((packet.Layout.Transport, 16)));
        Assert.That((vnet.HeaderLength, vnet.GsoSize), Is.EqualTo((packet.Layout.Payload, 1448)));
        Assert.That(packet.Tcp.Checksum, Is.EqualTo(InternetChecksum.PseudoHeaderSum(packet.Source, packet.Destination, 6, packet.Transport.Length)));
    }

    [Test]
    public void A_frame_that_does_not_fit_is_not_written([Values] bool v6)
    {
        TcpSegmentSpec spec = FrameCorpus.Spec(v6);
        int length = FrameCorpus.Tcp(spec, 100).Length;
        Assert.That(FrameWriter.WriteTcp(new byte[length - 1], spec, FrameCorpus.Payload(100)), Is.Zero);
        Assert.That(FrameWriter.WriteTcp(new byte[length], spec, FrameCorpus.Payload(100)), Is.EqualTo(length));
        Assert.That(FrameWriter.WriteTcp(new byte[80_000], spec, new byte[65_535]), Is.Zero, "no IP header can say it");
        Assert.That(FrameWriter.WriteTcp(new byte[2000], spec, [], new byte[29]), Is.Zero, "more than 40 bytes of options");
        Assert.That(FrameWriter.WriteTcp(new byte[2000], spec, [], new byte[28]), Is.GreaterThan(0));
        spec.Source = v6 ? FrameCorpus.A4 : FrameCorpus.A6;
        Assert.That(FrameWriter.WriteTcp(new byte[2000], spec, []), Is.Zero, "two families");
    }

    [Test]
    public void Nothing_here_allocates()
    {
        byte[][] frames = [FrameCorpus.Tcp(FrameCorpus.Spec(false), 100), FrameCorpus.Tcp(FrameCorpus.Spec(true), 100), FrameCorpus.Echo(false), FrameCorpus.Echo(true)];
        byte[] super = FrameCorpus.SuperFrame(true, out VnetHeader vnet), output = new byte[2000], error = FrameCorpus.Error(frames[1], IcmpError.PacketTooBig, FrameCorpus.A6, 1280);
        TcpSegmentSpec spec = FrameCorpus.Spec(true);
        ulong sum = Exercise(frames, super, vnet, output, error, spec);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++) sum += Exercise(frames, super, vnet, output, error, spec);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero, "sum " + sum);
    }

    private static ulong Exercise(byte[][] frames, byte[] super, VnetHeader vnet, byte[] output, byte[] error, in TcpSegmentSpec spec)
    {
        ulong sum = 0;
        foreach (byte[] frame in frames)
        {
            Packet packet = FrameCorpus.Parse(frame);
            sum += InternetChecksum.VerifyTransport(packet) ? 1UL : 0;
            if (packet.IsTcp && TcpOptions.TryParse(packet.Tcp.Options, out TcpOptions options, out _)) sum += options.TsVal;
            sum += (ulong)IcmpWriter.WriteError(output, packet, IcmpError.TimeExceeded, packet.Destination, FrameCorpus.MacA, FrameCorpus.MacB);
            sum += (ulong)IcmpWriter.WriteEchoReply(output, packet, FrameCorpus.MacA);
        }
        if (FrameCorpus.Parse(error).Icmp.TryGetQuote(out IcmpQuote quote, out _)) sum += quote.Seq.Value;
        int length = NeighborWriter.WriteSolicitation(output, FrameCorpus.MacA, FrameCorpus.A6, FrameCorpus.B6);
        if (NeighborView.TryParse(FrameCorpus.Parse(output.AsSpan(0, length)), checksumPartial: false, out NeighborView neighbor, out _)) sum += neighbor.Target.Low;
        if (Segmenter.TryCreate(super, vnet, out Segmenter segmenter, out _)) while (segmenter.Next(output) > 0) sum++;
        return sum + (ulong)FrameWriter.WriteTcp(output, spec, super.AsSpan(0, 500)) + (ulong)NeighborWriter.WriteGratuitousArp(output, FrameCorpus.MacA, FrameCorpus.A4);
    }
}
