using System.Net;
using System.Net.Sockets;
using Appliance.Lab.Judges;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Lab;

/// <summary>
/// Every judge must find nothing on a good connection and count exactly one bad frame (positive controls).
/// </summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class JudgeTests
{
    private const string ServerIp = "203.0.113.2";
    private const string ClientIp = "203.0.113.1";

    private LabNetwork _lab = null!;
    private Host _client = null!;
    private Host _server = null!;

    [SetUp]
    public void Build()
    {
        _lab = LabNetwork.Create();
        var to = _lab.AddSwitch("net");
        _client = _lab.AddHost("client");
        _server = _lab.AddHost("server");
        _client.Connect(to, new LinkOptions("eth0") { Addresses = [ClientIp + "/24"], Offloads = Offloads.Off });
        _server.Connect(to, new LinkOptions("eth0") { Addresses = [ServerIp + "/24"], Offloads = Offloads.Off });
        _lab.Build();
    }

    [TearDown]
    public void Remove() => _lab.Dispose();

    [Test]
    public void Conntrack_finds_nothing_on_a_good_connection_and_counts_one_bad_segment()
    {
        var atClient = ConntrackJudge.Attach(_client);
        var atServer = ConntrackJudge.Attach(_server);
        using var pair = new Pair(_client, _server);
        pair.Exchange(100_000);
        Assert.That(atClient.Verdict().Invalid, Is.Zero);
        Assert.That(atServer.Verdict().Invalid, Is.Zero);
        Assert.That(atClient.Verdict().Seen, Is.GreaterThan(20));

        const byte synFin = 0x03;
        _server.SendFrame("eth0", pair.FrameToClient(flags: synFin));
        pair.Exchange(1000);
        Assert.That(atClient.Verdict().InvalidIn, Is.EqualTo(1));
        // Of two numbers half the sequence space apart one is ahead of any window; what is behind it is let pass as old.
        _server.SendFrame("eth0", pair.FrameToClient());
        _server.SendFrame("eth0", pair.FrameToClient(seq: 7 + (1u << 31)));
        pair.Exchange(1000);
        Assert.That(atClient.Verdict().InvalidIn, Is.InRange(2, 3));
        Assert.That(atClient.Verdict().InvalidOut, Is.Zero);
        Assert.That(atServer.Verdict().Invalid, Is.Zero);
        Assert.That(atClient.Explain(), Does.Contain("Flags [FS]"));
    }

    [Test]
    public void Kernel_counts_one_bad_checksum()
    {
        using var pair = new Pair(_client, _server);
        pair.Exchange(100_000);
        Assert.That(ChecksumJudge.Errors(_client).Tcp, Is.Zero);
        _server.SendFrame("eth0", pair.FrameToClient(badChecksum: true));
        pair.Exchange(1000);
        Assert.That(ChecksumJudge.Errors(_client).Tcp, Is.EqualTo(1));
    }

    [Test]
    public void Tshark_finds_nothing_on_a_good_connection_and_one_bad_checksum()
    {
        var good = Capture.Start(_client, "eth0", "good", snapLength: 0, filter: "tcp");
        using (var pair = new Pair(_client, _server))
        {
            pair.Exchange(100_000);
        }
        var reference = TsharkJudge.Findings(good.Stop(), checksums: true);
        Assert.That(good.LostFrames(), Is.Zero);

        var bad = Capture.Start(_client, "eth0", "bad", snapLength: 0, filter: "tcp");
        using (var pair = new Pair(_client, _server))
        {
            pair.Exchange(100_000);
            _server.SendFrame("eth0", pair.FrameToClient(badChecksum: true));
            pair.Exchange(1000);
        }
        var unexpected = TsharkJudge.Unexpected(TsharkJudge.Findings(bad.Stop(), checksums: true), reference);
        Assert.That(reference.Keys, Has.All.Contains("connection closing"));
        Assert.That(unexpected.Where(u => u.Key.Contains("hecksum", StringComparison.Ordinal)).Sum(u => u.Value), Is.EqualTo(1), string.Join(", ", unexpected));
        Assert.That(unexpected.Keys, Has.Some.Contains("retransmission"));
    }

    [Test]
    public void Probe_sees_the_machine()
    {
        using var probe = new SchedulingProbe();
        ApplianceLab.WaitFor(() => probe.Count > 10, "the probe runs");
        var late = probe.Stop();
        Assert.That(late.Count, Is.GreaterThan(10));
        Assert.That(late.Max, Is.GreaterThanOrEqualTo(late.Quantile(0.5)));
    }

    /// <summary>A TCP connection whose two ends stand in two hosts.</summary>
    private sealed class Pair : IDisposable
    {
        private readonly Socket _clientEnd;
        private readonly Socket _serverEnd;
        private readonly string _clientMac;
        private readonly string _serverMac;

        public Pair(Host client, Host server)
        {
            using var listener = server.Enter(() =>
            {
                var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                socket.Bind(new IPEndPoint(IPAddress.Parse(ServerIp), 0));
                socket.Listen();
                return socket;
            });
            _clientEnd = client.Enter(() =>
            {
                var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                socket.Connect(listener.LocalEndPoint!);
                return socket;
            });
            _serverEnd = listener.Accept();
            _clientMac = client.Link("eth0").MacAddress();
            _serverMac = server.Link("eth0").MacAddress();
        }

        /// <summary>Sends bytes both ways and waits for them.</summary>
        public void Exchange(int bytes)
        {
            OneWay(_clientEnd, _serverEnd, bytes);
            OneWay(_serverEnd, _clientEnd, bytes);
        }

        /// <summary>A segment of this connection whose numbers are of no use to anybody.</summary>
        public byte[] FrameToClient(bool badChecksum = false, byte flags = 0x10, uint seq = 7) => TestFrame.Tcp(
            _serverMac, _clientMac, (IPEndPoint)_serverEnd.LocalEndPoint!, (IPEndPoint)_clientEnd.LocalEndPoint!, seq, ack: 9, flags, [1, 2, 3], badChecksum);

        public void Dispose()
        {
            _clientEnd.Dispose();
            _serverEnd.Dispose();
        }

        private static void OneWay(Socket from, Socket to, int bytes)
        {
            byte[] buffer = new byte[10_000];
            for (int done = 0; done < bytes;)
            {
                int sent = from.Send(buffer.AsSpan(0, Math.Min(buffer.Length, bytes - done)));
                for (int received = 0; received < sent;)
                {
                    received += to.Receive(buffer);
                }
                done += sent;
            }
        }
    }
}
