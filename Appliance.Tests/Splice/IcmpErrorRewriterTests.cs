using System.Buffers.Binary;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

/// <summary>
/// Errors about rewritten packets. The expected quote is the original packet itself: what a sender
/// sees must be what it sent (identification and hop count apart), so the rewriter judges its own inverse.
/// </summary>
public class IcmpErrorRewriterTests
{
    private static readonly IpAddr Router4 = SpliceKit.Ip("10.9.9.9"), Router6 = SpliceKit.Ip("fd00:9::9");

    private sealed record Case(byte[] Original, byte[] Error, RewriteEntry Answering, RewriteEntry Producing);

    // The original in one direction, rewritten, then quoted by a router (or by the receiver) up to quoteLength bytes of TCP.
    private static Case Make(bool v6, FlowDirection way, int quoteLength, bool byReceiver = false, uint seqOffset = 1, byte ttl = 60)
    {
        SpliceRecord record = SpliceKit.Record(v6, a: 0xffff_ff00, b: 77, d: 0x8000_0000, p: 0);
        (RewriteEntry toServer, RewriteEntry toClient) = SpliceKit.Entries(record);
        bool up = way == FlowDirection.ToServer;
        RewriteEntry producing = up ? toServer : toClient, answering = up ? toClient : toServer;
        uint start = up ? record.A : record.D, ack = up ? record.B + 1 : record.A + 1;
        producing.SeqNext = start + 3000;
        answering.RightEdge = answering.AckSeen + 1000;
        byte[] original = SpliceKit.Frame(producing.Key, start + seqOffset, ack, TcpFlags.Ack, 500, payload: [1, 2, 3, 4]);
        byte[] sent = [.. original];
        Assert.That(SpliceKit.Rewrite(sent, producing), Is.EqualTo(DropReason.None));
        int ip = v6 ? 40 : 20;
        return new Case(original, Error(sent.AsSpan(14, ip + quoteLength), producing, v6, byReceiver, ttl), answering, producing);
    }

    // type 3 code 4 (packet too big for IPv6), MTU 1400, checksums from scratch.
    private static byte[] Error(ReadOnlySpan<byte> quote, in RewriteEntry producing, bool v6, bool byReceiver, byte ttl)
    {
        IpAddr from = byReceiver ? producing.NewDestination : v6 ? Router6 : Router4;
        int ip = v6 ? 40 : 20;
        byte[] f = new byte[14 + ip + 8 + quote.Length];
        Span<byte> n = f.AsSpan(14), m = n[ip..];
        BinaryPrimitives.WriteUInt16BigEndian(f.AsSpan(12), v6 ? (ushort)0x86dd : (ushort)0x0800);
        if (v6)
        {
            n[0] = 0x60;
            BinaryPrimitives.WriteUInt16BigEndian(n[4..], (ushort)(8 + quote.Length));
            (n[6], n[7]) = (58, ttl);
            from.WriteV6(n[8..]);
            producing.NewSource.WriteV6(n[24..]);
        }
        else
        {
            n[0] = 0x45;
            BinaryPrimitives.WriteUInt16BigEndian(n[2..], (ushort)(28 + quote.Length));
            (n[8], n[9]) = (ttl, 1);
            from.WriteV4(n[12..]);
            producing.NewSource.WriteV4(n[16..]);
            BinaryPrimitives.WriteUInt16BigEndian(n[10..], (ushort)~SpliceKit.Naive(n[..20], 0));
        }
        (m[0], m[1]) = v6 ? ((byte)2, (byte)0) : ((byte)3, (byte)4);
        BinaryPrimitives.WriteUInt32BigEndian(m[4..], 1400);
        quote.CopyTo(m[8..]);
        BinaryPrimitives.WriteUInt16BigEndian(m[2..], (ushort)~IcmpSum(f));
        return f;
    }

    private static uint IcmpSum(ReadOnlySpan<byte> f) =>
        f[12] == 0x86 ? SpliceKit.Naive(f[54..], SpliceKit.Naive(f[22..54], (uint)(f.Length - 54) + 58)) : SpliceKit.Naive(f[34..], 0);

    private static DropReason Rewrite(byte[] frame, in RewriteEntry answering, in RewriteEntry producing)
    {
        Assert.That(Packet.TryParse(frame, out Packet packet, out _), Is.True);
        return IcmpErrorRewriter.Rewrite(in packet, default, in answering, in producing);
    }

    [Test]
    public void QuoteBecomesTheOriginal_AndEveryChecksumIsRight(
        [Values] bool v6, [Values] FlowDirection way, [Values(8, 12, 17, 18, 20, 24)] int quoteLength, [Values] bool byReceiver)
    {
        Case c = Make(v6, way, quoteLength, byReceiver);
        byte[] f = c.Error;
        Assert.That(Packet.TryParse(f, out Packet packet, out _), Is.True);
        Assert.That(IcmpErrorRewriter.TryGetKey(packet, out FlowKey key, out _), Is.True);
        Assert.That(key, Is.EqualTo(c.Answering.Key));
        Assert.That(Rewrite(f, c.Answering, c.Producing), Is.EqualTo(DropReason.None));

        Assert.That(IcmpSum(f), Is.EqualTo(0xffff), "ICMP checksum");
        if (!v6) Assert.That(SpliceKit.Naive(f.AsSpan(14, 20), 0), Is.EqualTo(0xffff), "outer IP checksum");
        int ip = v6 ? 40 : 20, quote = 14 + ip + 8;
        if (!v6) Assert.That(SpliceKit.Naive(f.AsSpan(quote, 20), 0), Is.EqualTo(0xffff), "quoted IP checksum");
        // One hop older than what was sent, otherwise the same bytes.
        byte[] expected = c.Original[14..(14 + ip + quoteLength)];
        expected[v6 ? 7 : 8]--;
        if (!v6)
        {
            (expected[10], expected[11]) = (0, 0);
            BinaryPrimitives.WriteUInt16BigEndian(expected.AsSpan(10), (ushort)~SpliceKit.Naive(expected.AsSpan(0, 20), 0));
        }
        // Of a checksum cut in two nobody can make anything: it stays.
        if (quoteLength == 17) expected[^1] = f[^1];
        Assert.That(f[quote..], Is.EqualTo(expected));
        IpAddr router = v6 ? Router6 : Router4;
        Assert.That(packet.Destination, Is.EqualTo(c.Producing.Key.Source), "goes to who sent the original");
        bool hidden = way == FlowDirection.ToServer || byReceiver;
        Assert.That(packet.Source, Is.EqualTo(hidden ? c.Producing.Key.Destination : router));
        Assert.That(packet.Icmp.Mtu, Is.EqualTo(1400));
    }

    // una = start + 1, nxt = start + 3000, window 1000.
    [TestCase(0xffff_fc18u, DropReason.IcmpQuoteOutOfWindow)]
    [TestCase(0xffff_fc19u, DropReason.None)]
    [TestCase(1u, DropReason.None)]
    [TestCase(3000u, DropReason.None)]
    [TestCase(4000u, DropReason.None)]
    [TestCase(4001u, DropReason.IcmpQuoteOutOfWindow)]
    [TestCase(0x8000_0000u, DropReason.IcmpQuoteOutOfWindow)]
    public void Sequence_MustHaveBeenInFlight(uint offset, DropReason expected)
    {
        foreach (FlowDirection way in Enum.GetValues<FlowDirection>())
        {
            Case c = Make(false, way, 8, seqOffset: offset);
            byte[] before = [.. c.Error];
            Assert.That(Rewrite(c.Error, c.Answering, c.Producing), Is.EqualTo(expected), way.ToString());
            Assert.That(c.Error.AsSpan().SequenceEqual(before), Is.EqualTo(expected != DropReason.None));
        }
    }

    [Test]
    public void Refused_AndUntouched()
    {
        Case c = Make(false, FlowDirection.ToServer, 8, ttl: 1);
        Assert.That(Rewrite(c.Error, c.Answering, c.Producing), Is.EqualTo(DropReason.TtlExpired));
        c = Make(false, FlowDirection.ToServer, 8);
        c.Error[34] = IcmpView.V4Redirect;
        Assert.That(Rewrite(c.Error, c.Answering, c.Producing), Is.EqualTo(DropReason.SegmentInvalid));
        c = Make(false, FlowDirection.ToServer, 8);
        c.Error[42 + 9] = Packet.ProtocolUdp;
        Assert.That(Rewrite(c.Error, c.Answering, c.Producing), Is.EqualTo(DropReason.IcmpQuoteUnknown));
        c = Make(false, FlowDirection.ToServer, 7);
        Assert.That(Rewrite(c.Error, c.Answering, c.Producing), Is.EqualTo(DropReason.IcmpMalformed));
    }

    [Test]
    public void CorruptedStaysCorrupted([Values] bool v6)
    {
        Case c = Make(v6, FlowDirection.ToClient, 20);
        c.Error[^1] ^= 0x40;
        uint error = IcmpSum(c.Error);
        Assert.That(Rewrite(c.Error, c.Answering, c.Producing), Is.EqualTo(DropReason.None));
        Assert.That(IcmpSum(c.Error), Is.EqualTo(error).And.Not.EqualTo(0xffff));
    }
}
