using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>Everything that we write, judged by programs that do not know us; each judge is first shown a bad frame.</summary>
public sealed class DissectorTests
{
    private static readonly string[] Statuses =
    [
        "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status",
        "_ws.malformed", "tcp.options.timestamp.tsval",
    ];

    [Test]
    public void Scapy_builds_the_same_bytes()
    {
        var frames = Judged();
        string[] verdicts = Dissector.RebuildWithScapy([.. frames.Select(f => f.Frame), Corrupted()]);
        Assert.That(verdicts[^1], Does.StartWith("differs"), "positive control");
        Assert.Multiple(() =>
        {
            for (int i = 0; i < frames.Count; i++) Assert.That(verdicts[i], Is.EqualTo("same"), frames[i].Name + " " + Convert.ToHexString(frames[i].Frame));
        });
    }

    [Test]
    public void Tshark_finds_every_checksum_right_and_nothing_malformed()
    {
        var frames = Judged();
        string[][] rows = Dissector.ReadWithTshark([.. frames.Select(f => f.Frame), Corrupted()], Statuses);
        Assert.That(rows[^1][1], Is.EqualTo("0"), "positive control: bad");
        Assert.Multiple(() =>
        {
            for (int i = 0; i < frames.Count; i++)
            {
                // 1 is good, 0 bad, 2 and 3 not verified; the outermost comes first.
                string[] outer = [.. rows[i][..5].Where(s => s.Length > 0).Select(s => s.Split(',')[0])];
                bool arp = frames[i].Name.Contains("arp", StringComparison.Ordinal);
                Assert.That(arp || outer.Contains("1"), Is.True, frames[i].Name + " is verified at all");
                // tshark also sums quoted TCP, of which a quote holds only a part.
                if (rows[i][3].Length + rows[i][4].Length > 0) rows[i][1] = "";
                Assert.That(rows[i][..5].SelectMany(s => s.Split(',')), Has.None.EqualTo("0"), frames[i].Name);
                Assert.That(rows[i][5], Is.Empty, frames[i].Name);
            }
        });
    }

    [Test]
    public void Tshark_reads_what_the_spec_says([Values] bool v6)
    {
        TcpSegmentSpec spec = FrameCorpus.Spec(v6);
        spec.Flags = TcpFlags.Syn | TcpFlags.Ack | TcpFlags.Ece | TcpFlags.Urg;
        spec.UrgentPointer = 9;
        spec.Mss = 1440;
        spec.WindowScale = 9;
        spec.SackPermitted = true;
        string ip = v6 ? "ipv6" : "ip";
        string[] row = Dissector.ReadWithTshark(
            [FrameCorpus.Tcp(spec, 33)],
            "eth.src", "eth.dst", ip + ".src", ip + ".dst", v6 ? "ipv6.hlim" : "ip.ttl", v6 ? "ipv6.tclass" : "ip.dsfield",
            "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.urgent_pointer", "tcp.len",
            "tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.options.sack_perm", "tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr")[0];
        row[5] = Convert.ToInt32(row[5], 16).ToString("x2");
        Assert.That(row[10], Does.StartWith("0x").And.EndsWith("0072"));
        row[10] = "flags";
        row[16] = row[16].Length > 0 ? "sack" : "";
        Assert.That(row, Is.EqualTo(new[]
        {
            "02:00:00:00:00:0a", "02:00:00:00:00:0b", spec.Source.ToString(), spec.Destination.ToString(), "63", "2a",
            "40000", "80", "305419896", "2596069104", "flags", "501", "9", "33",
            "1440", "9", "sack", "16909060", "4294901244",
        }));
    }

    // Every frame of the writers, every segment of super-frames, and both halves of cuts.
    private static List<(string Name, byte[] Frame)> Judged()
    {
        var frames = FrameCorpus.Written().ToList();
        foreach (bool v6 in new[] { false, true })
        {
            foreach (ushort size in new ushort[] { 1448, 1, 536, 9001 })
            {
                byte[] super = FrameCorpus.SuperFrame(v6, out VnetHeader vnet, payload: size == 1 ? 20 : 60_000, size);
                List<byte[]> parts = SegmenterTests.Segments(super, vnet);
                for (int i = 0; i < parts.Count; i++) frames.Add(($"segment {i} of {size}", parts[i]));
            }
            foreach (int at in new[] { 1, 1000, 1448, 1449, 5999 })
            {
                byte[] super = FrameCorpus.SuperFrame(v6, out VnetHeader vnet, payload: 6000);
                var tail = new byte[7000];
                Assert.That(Segmenter.SplitAt(super, ref vnet, at, tail, out int headLength, out int tailLength, out VnetHeader tailVnet), Is.True);
                foreach (byte[] part in SegmenterTests.Segments(super[..headLength], vnet)) frames.Add(($"head of cut {at}", part));
                foreach (byte[] part in SegmenterTests.Segments(tail[..tailLength], tailVnet)) frames.Add(($"tail of cut {at}", part));
            }
        }
        return frames;
    }

    private static byte[] Corrupted()
    {
        byte[] frame = FrameCorpus.Tcp(FrameCorpus.Spec(false), 10);
        frame[^1] ^= 1;
        return frame;
    }
}
