using System.Text.Json;
using Appliance.Control.Model;
using Appliance.Control.Runtime;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>
/// `appliance replay` on captures that grow by what the last run showed: a client's handshake and
/// request, the backend's answers. So every run must choose the same numbers as the one before.
/// </summary>
[TestFixture]
public sealed class ReplayTests
{
    private const string Text = """
        hostname gw1
        interface external eth0 203.0.113.2/24
        interface internal eth1 192.168.1.2/24
        internal gw 192.168.1.1
        role sharer proxy
        service WWW is 203.0.113.10 tcp 80 splice
        pool www_pool for WWW
        add 192.168.1.11 to www_pool
        """;

    private const long Start = 1_790_000_000_000_000_000;

    private static readonly MacAddress ClientMac = new(0x0a00_0000_0001), ServerMac = new(0x0a00_0000_0002);
    private static readonly byte[] Request = "GET / HTTP/1.1\r\nHost: example\r\n\r\n"u8.ToArray(), Answer = "HTTP/1.1 204 No Content\r\n\r\n"u8.ToArray();

    private readonly CompiledConfiguration _configuration = ConfigurationCompiler.Compile(ConfigurationParser.Parse(Text, "gw1.conf").Configuration!);
    private readonly List<(LinkRole Role, long Time, byte[] Frame)> _frames = [];
    private string _directory = "";
    private ReplaySummary? _summary;
    private int _runs;

    [SetUp]
    public void Begin()
    {
        _directory = Directory.CreateTempSubdirectory("runtime-replay").FullName;
        _frames.Clear();
    }

    [TearDown]
    public void Remove() => Directory.Delete(_directory, recursive: true);

    [Test]
    public void A_connection_is_spliced_offline()
    {
        FromClient(0, new TcpSegmentSpec { Flags = TcpFlags.Syn, Seq = new TcpSeq(1000), Window = 65000, Mss = 1460 });
        FrameOf synAck = Replayed().Single(f => f.Port == "eth0" && f.Has(TcpFlags.Syn | TcpFlags.Ack));
        Assert.That(synAck.Ack, Is.EqualTo(1001u));

        FromClient(10, new TcpSegmentSpec { Flags = TcpFlags.Ack, Seq = new TcpSeq(1001), Ack = new TcpSeq(synAck.Seq + 1), Window = 65000 });
        FromClient(11, new TcpSegmentSpec { Flags = TcpFlags.Ack | TcpFlags.Psh, Seq = new TcpSeq(1001), Ack = new TcpSeq(synAck.Seq + 1), Window = 65000 }, Request);
        FrameOf syn = Replayed().First(f => f.Port == "eth1" && f.Has(TcpFlags.Syn) && f.SourcePort == 40000);
        Assert.That(syn.DestinationMac, Is.EqualTo(ServerMacNow()), "a neighbour nobody captured has a MAC made of its address");

        FromServer(20, new TcpSegmentSpec { Flags = TcpFlags.Syn | TcpFlags.Ack, Seq = new TcpSeq(70000), Ack = new TcpSeq(syn.Seq + 1), Window = 64000, Mss = 1460 });
        FrameOf request = Replayed().First(f => f.Port == "eth1" && f.Payload.Length > 0);
        Assert.That(request.Payload, Is.EqualTo(Request));
        Assert.That(request.DestinationMac, Is.EqualTo(ServerMac), "a neighbour in the capture has the MAC that it has there");

        FromServer(30, new TcpSegmentSpec { Flags = TcpFlags.Ack | TcpFlags.Psh, Seq = new TcpSeq(70001), Ack = new TcpSeq(request.Seq + (uint)Request.Length), Window = 64000 }, Answer);
        FrameOf answer = Replayed().Last(f => f.Port == "eth0" && f.Payload.Length > 0);
        Assert.That(answer.Payload, Is.EqualTo(Answer));
        Assert.That(answer.Seq, Is.EqualTo(synAck.Seq + 1), "in the client's own space");
        JsonElement last = Verdicts()[^1];
        Assert.That(last.GetProperty("verdict").GetString(), Is.EqualTo("transmit"));
        Assert.That(last.GetProperty("outputs")[0].GetProperty("port").GetString(), Is.EqualTo("eth0"));
        Assert.That(Verdicts().Select(v => v.GetProperty("n").GetInt32()), Is.EqualTo(Enumerable.Range(1, _frames.Count)));
    }

    [Test]
    public void The_same_capture_gives_the_same_files_and_drops_say_why()
    {
        FromClient(0, new TcpSegmentSpec { Flags = TcpFlags.Syn, Seq = new TcpSeq(1), Window = 65000 });
        FromClient(5, new TcpSegmentSpec { Flags = TcpFlags.Ack, Seq = new TcpSeq(9), Ack = new TcpSeq(9), Window = 65000 }, Request);
        _frames.Add((LinkRole.External, Start + 7_000_000, new byte[20]));
        _frames.Add((LinkRole.External, Start + 3_600_000_000_000, new byte[60]));
        Replayed();
        Assert.That(_summary!.Lines(), Is.EqualTo(new[]
        {
            "4 frames: 0 transmitted, 0 held, 1 consumed, 3 dropped",
            "  2 dropped: notForUs, not addressed to this box: left to the host",
            "  1 dropped: noRecord, no record of this connection, shortly after a membership change",
        }));
        byte[][] first = Files();
        Assert.That(Verdicts()[1].GetProperty("reason").GetString(), Is.EqualTo("noRecord"));
        Assert.That(Verdicts()[1].GetProperty("verdict").GetString(), Is.EqualTo("drop"));
        Assert.That(Verdicts().Skip(2).Select(v => v.GetProperty("verdict").GetString()), Is.All.EqualTo("drop"));
        Replayed();
        Assert.That(Files(), Is.EqualTo(first));
    }

    [Test]
    public void A_capture_of_another_box_or_of_beginnings_only_is_said_to_be_one()
    {
        FromClient(0, new TcpSegmentSpec { Flags = TcpFlags.Syn, Seq = new TcpSeq(1), Window = 65000 });
        _frames[0].Frame[5] ^= 0xff;
        Replayed();
        Assert.That(_summary!.Lines().Last(), Does.StartWith("  not one frame is addressed to a MAC of this box"));

        string capture = Path.Combine(_directory, "cut.pcap");
        using (PcapWriter writer = PcapWriter.Create(capture)) writer.Write(_frames[0].Frame, Start);
        byte[] file = File.ReadAllBytes(capture);
        // The record's second length is that on the wire.
        BitConverter.TryWriteBytes(file.AsSpan(24 + 12), 1500);
        File.WriteAllBytes(capture, file);
        using ReplayRun run = new(_configuration, new byte[32], new Dictionary<string, string>(StringComparer.Ordinal) { ["eth0"] = capture }, Output);
        Assert.That(run.Run().Lines(), Is.EqualTo(new[]
        {
            "0 frames: 0 transmitted, 0 held, 0 consumed, 0 dropped",
            "  1 more left out: the capture holds only their beginning (tcpdump -s 0 keeps frames whole)",
        }));
    }

    [Test]
    public void A_malformed_capture_is_one_sentence()
    {
        File.WriteAllText(Path.Combine(_directory, "eth0.pcap"), "rubbish");
        Assert.That(
            () => new ReplayRun(_configuration, new byte[32], new Dictionary<string, string>(StringComparer.Ordinal) { ["eth0"] = Path.Combine(_directory, "eth0.pcap") }, _directory),
            Throws.TypeOf<PcapException>());
    }

    private string Output => Path.Combine(_directory, $"out{_runs}");

    private MacAddress ServerMacNow() => new(0x025e_c0a8_010b);

    private void FromClient(int ms, TcpSegmentSpec spec, byte[]? payload = null) =>
        Add(LinkRole.External, ms, spec with { Source = Ip("203.0.113.100"), Destination = Ip("203.0.113.10"), SourcePort = 40000, DestinationPort = 80, SourceMac = ClientMac }, payload);

    private void FromServer(int ms, TcpSegmentSpec spec, byte[]? payload = null) =>
        Add(LinkRole.Internal, ms, spec with { Source = Ip("192.168.1.11"), Destination = Ip("203.0.113.100"), SourcePort = 80, DestinationPort = 40000, SourceMac = ServerMac }, payload);

    private void Add(LinkRole role, int ms, TcpSegmentSpec spec, byte[]? payload)
    {
        spec.DestinationMac = BoxLink.MacOf("gw1", role, FrameMark.Handed);
        var frame = new byte[1600];
        int length = FrameWriter.WriteTcp(frame, spec, payload ?? []);
        _frames.Add((role, Start + ms * 1_000_000L, frame[..length]));
    }

    private List<FrameOf> Replayed()
    {
        _runs++;
        var inputs = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (LinkRole role in (LinkRole[])[LinkRole.External, LinkRole.Internal])
        {
            string path = Path.Combine(_directory, $"in-eth{(int)role}.pcap");
            using PcapWriter writer = PcapWriter.Create(path);
            foreach ((_, long time, byte[] frame) in _frames.Where(f => f.Role == role)) writer.Write(frame, time);
            inputs[$"eth{(int)role}"] = path;
        }
        using (ReplayRun run = new(_configuration, new byte[32], inputs, Output))
        {
            ReplaySummary summary = run.Run();
            _summary = summary;
            Assert.That(summary.Reasons.Sum(r => r.Frames), Is.EqualTo(summary.Dropped));
            Assert.That(summary.Frames, Is.EqualTo(_frames.Count));
            Assert.That(summary.Transmitted + summary.Held + summary.Consumed + summary.Dropped, Is.EqualTo(summary.Frames));
        }
        List<FrameOf> sent = [];
        foreach (string port in (string[])["eth0", "eth1"])
        {
            using PcapReader reader = PcapReader.Open(Path.Combine(Output, port + ".pcap"));
            var buffer = new byte[2000];
            while (reader.TryRead(buffer, out int length, out _, out _))
            {
                Assert.That(Packet.TryParse(buffer.AsSpan(0, length), out Packet packet, out _), Is.True);
                if (packet.IsTcp) sent.Add(new FrameOf(port, packet.DestinationMac, packet.Tcp.SourcePort, packet.Tcp.Flags, packet.Tcp.Seq.Value, packet.Tcp.Ack.Value, packet.Tcp.Payload.ToArray()));
            }
        }
        return sent;
    }

    private JsonElement[] Verdicts() => [.. File.ReadLines(Path.Combine(Output, "verdicts.jsonl")).Select(l => JsonDocument.Parse(l).RootElement)];

    private byte[][] Files() => [.. Directory.EnumerateFiles(Output).Order(StringComparer.Ordinal).Select(File.ReadAllBytes)];

    private static IpAddr Ip(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text);

    private sealed record FrameOf(string Port, MacAddress DestinationMac, ushort SourcePort, TcpFlags Flags, uint Seq, uint Ack, byte[] Payload)
    {
        public bool Has(TcpFlags flags) => (Flags & flags) == flags;
    }
}
