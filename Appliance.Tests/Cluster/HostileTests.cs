using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Appliance.Control.Sealing;
using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>Floods and forgeries beside real load: no state, no memory, no broken connection; and they are counted.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class HostileTests
{
    private const int Frames = 20_000, CaptureHeader = 24;
    private const byte Syn = 0x02, Ack = 0x10, Rst = 0x04, Push = 0x08;

    private ApplianceLab _lab = null!;
    private Host _attacker = null!;
    private string _from = null!, _to = null!;

    [OneTimeSetUp]
    public void Build()
    {
        _lab = ApplianceLab.Start(new ApplianceOptions(), new ClusterOptions { Clients = 2 });
        _attacker = _lab.Topology.Clients[1];
        _attacker.Run("curl", "-s", "-m", "30", $"http://{ClusterTopology.VirtualAddress}/health");
        _from = _attacker.Link("eth0").MacAddress();
        _to = _attacker.Run("ip", "neigh", "show", ClusterTopology.VirtualAddress).Split("lladdr ")[1].Split(' ')[0];
    }

    [OneTimeTearDown]
    public async Task Remove() => await _lab.DisposeAsync();

    [TestCase(Syn)]
    [TestCase(Ack)]
    public async Task Flood_creates_no_state_and_takes_no_memory(byte flags)
    {
        var random = new Random(flags);
        await ClusterLoad.Good(_lab, new LoadOptions(LoadMode.Get, ClusterTopology.VirtualAddress) { Connections = 4, Bytes = 1_000_000 }, shaVerified: 4);
        // What a first flood makes the runtime touch once is not what a flood costs.
        _attacker.SendFrames("eth0", Flood(random, flags, Frames / 4));
        long spliced = _lab.Counter("splicesCreated");
        var load = ClusterLoad.Start(_lab, new LoadOptions(LoadMode.Requests, ClusterTopology.VirtualAddress) { Connections = 10, Seconds = 6, IntervalMs = 5, Bins = true });
        ApplianceLab.WaitFor(() => load.Bins.Sum(b => b.Requests) > 50 && _lab.Counter("splicesCreated") - spliced >= 10, "requests run on all connections");
        var before = _lab.Proxies.Select(p => (Memory: Rss(p.EnginePid), Counters: p.Counters())).ToList();
        _attacker.SendFrames("eth0", Flood(random, flags, Frames));
        string counter = flags == Syn ? "synReceived" : "drop.noRecord";
        ApplianceLab.WaitFor(() => _lab.Counter(counter) - before.Sum(b => b.Counters.GetValueOrDefault(counter)) > Frames / 2, $"{counter} counts the flood",
            () => string.Join('\n', _lab.Boxes.Select(ClusterLoad.Counters)));
        var after = _lab.Proxies.Select(p => (Memory: Rss(p.EnginePid), Counters: p.Counters())).ToList();
        ClusterLoad.AssertGood(_lab, await load.Finish());
        for (int i = 0; i < after.Count; i++)
        {
            Assert.That(after[i].Memory - before[i].Memory, Is.LessThanOrEqualTo(1 << 20), "resident memory");
            foreach (string name in (string[])["handshakesStarted", "splicesCreated"])
            {
                Assert.That(after[i].Counters.GetValueOrDefault(name), Is.EqualTo(before[i].Counters.GetValueOrDefault(name)), name);
            }
        }
    }

    [Test]
    public void Blind_resets_and_data_do_not_break_a_connection()
    {
        using var socket = _lab.Client.Enter(() =>
        {
            var made = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 30_000 };
            made.Connect(IPAddress.Parse(ClusterTopology.VirtualAddress), 80);
            return made;
        });
        Exchange(socket);
        var client = (IPEndPoint)socket.LocalEndPoint!;
        var service = (IPEndPoint)socket.RemoteEndPoint!;
        int seed = Random.Shared.Next();
        TestContext.Out.WriteLine($"seed {seed}");
        var random = new Random(seed);
        var forged = Enumerable.Range(0, 500).SelectMany(_ => (byte[][])
        [
            TestFrame.Tcp(_from, _to, client, service, (uint)random.NextInt64(1L << 32), (uint)random.NextInt64(1L << 32), Rst),
            TestFrame.Tcp(_from, _to, client, service, (uint)random.NextInt64(1L << 32), (uint)random.NextInt64(1L << 32), Syn),
            TestFrame.Tcp(_from, _to, client, service, (uint)random.NextInt64(1L << 32), (uint)random.NextInt64(1L << 32), Ack | Push, [0x41, 0x42]),
        ]);
        _attacker.SendFrames("eth0", forged);
        for (int i = 0; i < 5; i++)
        {
            Exchange(socket);
        }
    }

    /// <summary>RFC 5961 3.2: a reset inside the window that is not exact is answered by the true end, whose challenge comes back translated.</summary>
    [Test]
    public void A_reset_inside_the_window_gets_a_challenge_from_the_true_end()
    {
        using var socket = _lab.Client.Enter(() =>
        {
            var made = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 30_000 };
            made.Connect(IPAddress.Parse(ClusterTopology.VirtualAddress), 80);
            return made;
        });
        var client = (IPEndPoint)socket.LocalEndPoint!;
        var service = (IPEndPoint)socket.RemoteEndPoint!;
        var capture = Capture.Start(_lab.Client, "eth0", "challenge", filter: $"tcp port {client.Port.ToString(CultureInfo.InvariantCulture)}");
        Exchange(socket);
        var seen = Segments(capture.Stop());
        uint next = seen.Where(s => s.Port == client.Port).Max(s => s.Seq + (uint)s.Length), acked = seen.Where(s => s.Port == client.Port).Max(s => s.Ack);
        capture = Capture.Start(_lab.Client, "eth0", "challenge2", filter: $"tcp port {client.Port.ToString(CultureInfo.InvariantCulture)}");
        // One alone may be dropped by a box that was just away, or remain unanswered: ends answer so many a second (RFC 5961 7).
        var since = Stopwatch.StartNew();
        for (int sent = 0; new FileInfo(capture.Path).Length <= CaptureHeader;)
        {
            if (since.Elapsed >= TimeSpan.FromSeconds(sent)) _attacker.SendFrames("eth0", [TestFrame.Tcp(_from, _to, client, service, next + 100 + (uint)sent++, acked, Rst)]);
            Assert.That(sent, Is.LessThan(10), () => "no challenge\n" + string.Join('\n', _lab.Boxes.Select(ClusterLoad.Counters)));
            Thread.Sleep(10);
        }
        TestContext.Out.WriteLine($"a challenge after {since.ElapsedMilliseconds} ms");
        Exchange(socket);
        seen = Segments(capture.Stop());
        Assert.That(seen.Any(s => s.Port == service.Port && s.Length == 0 && s.Ack == next && s.Seq == acked), Is.True, "a challenge: an empty ACK with the exact numbers");

        List<(int Port, uint Seq, uint Ack, int Length)> Segments(string file) => [.. Command.Run(
                "tshark", ["-r", file, "-n", "-o", "tcp.relative_sequence_numbers:FALSE", "-T", "fields", "-e", "tcp.srcport", "-e", "tcp.seq_raw", "-e", "tcp.ack_raw", "-e", "tcp.len"])
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split('\t'))
            .Select(f => (int.Parse(f[0], CultureInfo.InvariantCulture), uint.Parse(f[1], CultureInfo.InvariantCulture), uint.Parse(f[2], CultureInfo.InvariantCulture), int.Parse(f[3], CultureInfo.InvariantCulture)))];
    }

    private static void Exchange(Socket socket)
    {
        socket.Send("GET /rr/200 HTTP/1.1\r\nHost: x\r\n\r\n"u8);
        byte[] buffer = new byte[4096];
        for (int got = 0; got < 200;)
        {
            int read = socket.Receive(buffer);
            Assert.That(read, Is.Positive, "the connection lives");
            got += read;
        }
    }

    [Test]
    public async Task Replayed_and_forged_datagrams_of_peers_are_rejected_and_counted()
    {
        var sharer = _lab.Sharer.Host;
        var alive = ClusterLoad.Start(_lab, new LoadOptions(LoadMode.Requests, ClusterTopology.VirtualAddress) { Connections = 5, Seconds = 15, IntervalMs = 20 });
        foreach (string link in (string[])["eth0", "eth2"])
        {
            var capture = Capture.Start(sharer, link, $"peers-{link}", snapLength: 0, filter: link == "eth2" ? $"udp and ether src {sharer.Link(link).MacAddress()}" : "ether multicast");
            await ClusterLoad.Good(_lab, new LoadOptions(LoadMode.Short, ClusterTopology.VirtualAddress) { Connections = 2, Count = 50 });
            var recorded = Recorded(capture.Stop()).Where(f => f.Length > 90).Take(500).ToList();
            Assert.That(recorded, Is.Not.Empty, link);
            // The kernel's datagrams were recorded with partial checksums: none at all is valid over IPv4, and passes.
            recorded.ForEach(f => f.AsSpan(link == "eth2" ? 40 : 0, link == "eth2" ? 2 : 0).Clear());
            // With a number that none had before, so that the seal has to decide.
            int number = (link == "eth2" ? 42 : 14) + 4 + Incarnation.SaltBytes;
            var forged = recorded.Select(f =>
            {
                byte[] copy = [.. f];
                copy[number + 1] ^= 0x5A;
                return copy;
            });
            foreach (var (reason, frames) in ((string, byte[][])[])[("replayed", [.. recorded]), ("wrongKey", [.. forged])])
            {
                long before = Rejected(reason), allBefore = RejectedOfPeers();
                // In small groups: a socket's buffer is not what is judged here.
                foreach (var group in frames.Chunk(50))
                {
                    long sent = Rejected(reason);
                    sharer.SendFrames(link, group);
                    ApplianceLab.WaitFor(() => Rejected(reason) >= sent + group.Length, $"datagrams on {link} are counted as {reason}");
                }
                Assert.That(Rejected(reason) - before, Is.GreaterThanOrEqualTo(frames.Length), $"{link} {reason}");
                Assert.That(RejectedOfPeers() - allBefore, Is.GreaterThanOrEqualTo(frames.Length), link);
            }
        }
        ClusterLoad.AssertGood(_lab, await alive.Finish());
        await ClusterLoad.Good(_lab, new LoadOptions(LoadMode.Put, ClusterTopology.VirtualAddress) { Connections = 2, Bytes = 2_000_000 }, shaVerified: 2);
        _lab.WaitUsable();

        long Rejected(string reason) => _lab.Boxes.SelectMany(b => ApplianceBox.Rows(b.Show("peers"), "rejected"))
            .Where(r => string.Equals(r["reason"]!.GetValue<string>(), reason, StringComparison.Ordinal)).Sum(r => r["datagrams"]!.GetValue<long>());

        long RejectedOfPeers() => _lab.Boxes.Sum(b => ApplianceBox.Rows(b.Show("peers"), "peers").Sum(p => p["rejected"]!.GetValue<long>()));
    }

    [Test]
    public async Task Stranger_with_another_key_is_not_believed()
    {
        await using var lab = ApplianceLab.Build(new ApplianceOptions { Strangers = [3] });
        lab.StartBoxes();
        lab.WaitUsable([lab.Boxes[0], lab.Boxes[1]]);
        ApplianceLab.WaitFor(() => lab.Sharer.Log.Contains("wrong-key", StringComparison.Ordinal), "the log says so", () => lab.Sharer.Log);
        Assert.That(lab.Sharer.Log, Does.Contain("gw3"));
    }

    private IEnumerable<byte[]> Flood(Random random, byte flags, int count)
    {
        var service = new IPEndPoint(IPAddress.Parse(ClusterTopology.VirtualAddress), 80);
        for (int i = 0; i < count; i++)
        {
            // A network that is not on the link: answers go to the gateway, which is not there.
            var source = new IPEndPoint(new IPAddress([198, 18, (byte)random.Next(256), (byte)random.Next(1, 255)]), random.Next(1024, 65536));
            yield return TestFrame.Tcp(_from, _to, source, service, (uint)random.NextInt64(1L << 32), flags == Syn ? 0 : (uint)random.NextInt64(1L << 32), flags);
        }
    }

    private static long Rss(int pid) => long.Parse(
        File.ReadLines($"/proc/{pid}/status").First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024;

    /// <summary>Frames of a pcap file in this machine's byte order.</summary>
    private static IEnumerable<byte[]> Recorded(string path)
    {
        byte[] file = File.ReadAllBytes(path);
        for (int at = 24; at + 16 <= file.Length;)
        {
            int length = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(at + 8));
            if (at + 16 + length > file.Length)
            {
                yield break;
            }
            yield return file[(at + 16)..(at + 16 + length)];
            at += 16 + length;
        }
    }
}
