using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using Appliance.Tests.Fuzz;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

/// <summary>Hostile input for the parsers and rewriters of this folder; what must hold besides "no exception, nothing read outside" is asserted.</summary>
[Parallelizable(ParallelScope.Self)]
public class SpliceFuzz
{
    [Test]
    public void RequestHeads()
    {
        byte[][] corpus =
        [
            [.. "GET /a?b HTTP/1.1\r\nHost: example.com:80\r\nAccept: */*\r\n\r\n"u8],
            [.. "\r\nPUT http://[2001:db8::1]:80/x HTTP/1.1\nHost: a\n\nbody"u8],
            [.. "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"u8],
            [.. "OPTIONS * HTTP/1.0\r\n\r\n"u8],
            [.. "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8],
        ];
        FuzzRunner.Run("request head", corpus, static input =>
        {
            HeadResult whole = RequestHead.TryParseHead(input, out RequestHead head);
            if (whole == HeadResult.Complete)
            {
                _ = head.Host.Of(input[..head.HeadLength]).Length + head.Path.Of(input[..head.HeadLength]).Length;
                Require(head.Error == HeadError.None, "complete without error");
            }
            else Require((whole == HeadResult.Malformed) == (head.Error != HeadError.None), "malformed has an error");
            // However it is cut, the outcome is the same.
            RequestHead grown = default;
            HeadResult last = HeadResult.Incomplete;
            for (int n = input.Length % 7; n <= input.Length && last == HeadResult.Incomplete; n = n == input.Length ? n + 1 : Math.Min(input.Length, n + 7)) last = grown.Parse(input[..n]);
            Require(last == whole && grown.Host == head.Host && grown.Path == head.Path && grown.HeadLength == head.HeadLength, "segmentation does not matter");
        });
    }

    [Test]
    public void ClientHellos()
    {
        byte[] message = ClientHelloTests.Message(ClientHelloTests.Sni("shop.example"), ClientHelloTests.Extension(43, 2, 3, 4), ClientHelloTests.Extension(42));
        byte[][] corpus = [ClientHelloTests.Records(message, 16384), ClientHelloTests.Records(message, 60), ClientHelloTests.Records(message, 3)];
        FuzzRunner.Run("ClientHello", corpus, static input =>
        {
            ClientHello once = default, grown = default;
            HeadResult whole = once.Parse(input), last = HeadResult.Incomplete;
            for (int n = input.Length % 5; n <= input.Length && last == HeadResult.Incomplete; n = n == input.Length ? n + 1 : Math.Min(input.Length, n + 5)) last = grown.Parse(input[..n]);
            Require(last == whole && grown.HeadLength == once.HeadLength && grown.NameLength == once.NameLength, "segmentation does not matter");
            Span<byte> name = stackalloc byte[ClientHello.MaxName];
            if (whole == HeadResult.Complete) Require(once.CopyName(input, name).Length == once.NameLength && once.HeadLength <= input.Length, "the name is there");
        });
    }

    [Test]
    public void Frames()
    {
        SpliceRecord record = SpliceKit.Record(p: 28);
        record.FloorOpen = 1;
        (RewriteEntry up4, RewriteEntry down4) = SpliceKit.Entries(record);
        record = SpliceKit.Record(v6: true);
        record.Options &= ~(SpliceOptions.SackClient | SpliceOptions.SackServer);
        (RewriteEntry up6, RewriteEntry down6) = SpliceKit.Entries(record);
        byte[][] corpus =
        [
            SpliceKit.Frame(up4.Key, 1001, 5001, TcpFlags.Ack, 9, SpliceKit.Timestamps(1, 2), new byte[20]),
            SpliceKit.Frame(down4.Key, 9001, 990, TcpFlags.Ack, 9, SpliceKit.Sack(1, 980, 990, 995, 1100, 1200, 1300)),
            SpliceKit.Frame(up6.Key, 1001, 5001, TcpFlags.Ack, 9, [.. SpliceKit.Timestamps(1, 2, 1), .. SpliceKit.Sack(0, 6000, 7000)], new byte[20]),
        ];
        FuzzRunner.Run("rewrite", corpus, input =>
        {
            if (!Packet.TryParse(input, out Packet packet, out _) || !packet.IsTcp) return;
            uint error = packet.Layout.IsFragment ? 0 : Residue(packet);
            RewriteEntry entry = packet.IsV6 ? up6 : (input.Length & 1) == 0 ? up4 : down4;
            // The deltas belong to the tuple of the packet.
            entry.Key = Appliance.DataPath.Flow.FlowKey.Of(packet);
            RewriteEntryBuilder.Address(ref entry, entry.NewSource, entry.NewDestination, entry.NewSourcePort, entry.NewDestinationPort);
            Progress.Observe(ref entry, in packet, 1);
            DropReason reason = Rewriter.Rewrite(in packet, default, in entry);
            if (!packet.Layout.IsFragment) Require(Residue(packet) == error, $"the checksum's error stays ({reason})");
        });
    }

    [Test]
    public void IcmpErrors()
    {
        (RewriteEntry up, RewriteEntry down) = SpliceKit.Entries(SpliceKit.Record());
        (RewriteEntry up6, RewriteEntry down6) = SpliceKit.Entries(SpliceKit.Record(v6: true));
        byte[][] corpus = [About(up, 8), About(up, 20), About(up6, 8), About(up6, 40)];
        FuzzRunner.Run("ICMP error", corpus, input =>
        {
            if (!Packet.TryParse(input, out Packet packet, out _) || !packet.IsIcmp) return;
            if (!IcmpErrorRewriter.TryGetKey(packet, out _, out _)) return;
            DropReason reason = packet.IsV6
                ? IcmpErrorRewriter.Rewrite(in packet, default, in down6, in up6)
                : IcmpErrorRewriter.Rewrite(in packet, default, in down, in up);
            Require(reason is DropReason.None or DropReason.IcmpQuoteOutOfWindow or DropReason.SegmentInvalid or DropReason.TtlExpired, reason.ToString());
        });
    }

    private static byte[] About(RewriteEntry producing, int quoteLength)
    {
        byte[] sent = SpliceKit.Frame(producing.Key, 1001, 5001, TcpFlags.Ack, 9, payload: new byte[40]);
        SpliceKit.Rewrite(sent, producing);
        Assert.That(Packet.TryParse(sent, out Packet packet, out _), Is.True);
        byte[] frame = new byte[1600];
        int length = IcmpWriter.WriteError(frame, in packet, IcmpError.PacketTooBig, producing.NewDestination, default, default, 1400);
        Assert.That(length, Is.Positive);
        return frame[..Math.Min(length, 14 + (packet.IsV6 ? 40 : 20) * 2 + 8 + quoteLength)];
    }

    // The sum over pseudo-header and segment, folded modulo ffff.
    private static uint Residue(in Packet packet)
    {
        ReadOnlySpan<byte> addresses = packet.IsV6 ? packet.Network[8..40] : packet.Network[12..20];
        return SpliceKit.Naive(packet.Transport, SpliceKit.Naive(addresses, (uint)packet.Transport.Length + 6)) % 0xffff;
    }

    private static void Require(bool holds, string what)
    {
        if (!holds) throw new InvalidOperationException(what);
    }
}
