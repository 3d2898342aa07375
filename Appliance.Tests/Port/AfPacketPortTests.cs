using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Port.TestFrames;

namespace Appliance.Tests.Port;

/// <summary>Real packet sockets between real TCP stacks, in namespaces; needs root and fails without it.</summary>
[TestFixture, NonParallelizable]
public sealed class AfPacketPortTests
{
    private Namespaces _net = null!;

    [SetUp]
    public void Up() => _net = new Namespaces();

    [TearDown]
    public void Down() => _net.Dispose();

    [TestCase(ReceiveMode.Ring)]
    [TestCase(ReceiveMode.Messages)]
    public void A_transfer_through_a_forwarder_keeps_every_byte_and_its_super_frames(ReceiveMode mode)
    {
        const int bytes = 256 << 20;
        using var forwarder = new RunningForwarder(_net, new AfPacketOptions { Receive = mode });
        Transfer(8 << 20);
        forwarder.CountAllocations();
        (string sent, string received) = Transfer(bytes);
        forwarder.Stop();
        Assert.That(received, Is.EqualTo(sent));
        PortCounters a = forwarder.A.Counters, b = forwarder.B.Counters;
        Assert.Multiple(() =>
        {
            Assert.That(a.ReceivedBytes / a.ReceivedFrames, Is.GreaterThan(9000), "super-frames arrive whole");
            Assert.That(b.SentFrames + b.SendDrops + b.SendErrors, Is.EqualTo(a.ReceivedFrames));
            Assert.That(a.Truncated + b.Truncated, Is.Zero);
            Assert.That(a.SendErrors + b.SendErrors, Is.Zero);
            Assert.That(forwarder.Allocated, Is.Zero, "bytes allocated while forwarding");
        });
    }

    [Test]
    public void Only_frames_to_accepted_addresses_come_in_and_never_beats()
    {
        MacAddress own = Mac(Namespaces.OwnMacA), group = Mac("01:00:5e:00:00:12");
        OpenA([own, group], (port, speaker) =>
        {
            speaker.Send(Frame(Mac("02:00:00:00:0f:77"), 0x0800));
            speaker.Send(Frame(own, MacFilter.BeatEtherType));
            speaker.Send(Frame(MacAddress.Broadcast, 0x0800));
            speaker.Send(Frame(Mac("01:00:5e:00:00:13"), 0x0800));
            speaker.Send(Frame(MacAddress.Broadcast, 0x0806));
            speaker.Send(Frame(group, 0x0800));
            speaker.Send(Frame(own, 0x0800));
            Assert.That(ReceiveAll(port, 3).Select(f => MacAddress.Read(f).ToString()), Is.EqualTo((string[])["ff:ff:ff:ff:ff:ff", group.ToString(), own.ToString()]));

            var other = new MacFilter([Mac("02:00:00:00:0f:77")]);
            Assert.That(port.Accept(other), Is.True);
            speaker.Send(Frame(own, 0x0800));
            speaker.Send(Frame(group, 0x0800));
            speaker.Send(Frame(Mac("02:00:00:00:0f:77"), 0x0800));
            Assert.That(ReceiveAll(port, 1).Select(f => MacAddress.Read(f).ToString()), Is.EqualTo((string[])["02:00:00:00:0f:77"]));
        });
    }

    [TestCase(ReceiveMode.Ring)]
    [TestCase(ReceiveMode.Messages)]
    public void A_VLAN_tag_that_the_kernel_stripped_is_put_back(ReceiveMode mode)
    {
        Namespaces.Inside(_net.Forwarder, () =>
        {
            using var port = AfPacketPort.Open(Namespaces.PortA, new MacFilter([Mac(Namespaces.OwnMacA)]), new AfPacketOptions { Receive = mode });
            SendTagged(_net.Client, Namespaces.ClientLink, vlan: 7);
            var batch = new FrameBatch(16);
            WaitFor(port, batch);
            FrameRef frame = batch[0];
            Assert.That(Packet.TryParse(frame.Bytes, out Packet packet, out _), Is.True);
            Assert.That(packet.Layout.Vlan, Is.EqualTo(7));
            Assert.That(packet.IsTcp, Is.True);
            Assert.That(packet.DestinationMac, Is.EqualTo(Mac(Namespaces.OwnMacA)));
            Assert.That(frame.Vnet.NeedsChecksum, Is.True);
            Assert.That(frame.Vnet.ChecksumStart, Is.EqualTo(packet.Layout.Transport));
        });
    }

    [Test]
    public void The_hosts_own_traffic_on_the_same_interface_is_untouched()
    {
        Namespaces.Run($"ip -n {_net.Forwarder} addr add 10.97.0.2/24 dev {Namespaces.PortA}");
        Namespaces.Run($"ip -n {_net.Client} addr add 10.97.0.1/24 dev {Namespaces.ClientLink}");
        OpenA([Mac(Namespaces.OwnMacA)], (port, _) =>
        {
            var listener = new TcpListener(IPAddress.Parse("10.97.0.2"), 7001);
            listener.Start();
            var answer = new byte[5];
            Namespaces.Inside(_net.Client, () =>
            {
                using var client = new TcpClient();
                client.Connect("10.97.0.2", 7001);
                using TcpClient accepted = listener.AcceptTcpClient();
                accepted.GetStream().Write("hello"u8);
                client.GetStream().ReadExactly(answer);
            });
            listener.Stop();
            Assert.That(answer, Is.EqualTo("hello"u8.ToArray()));
            var batch = new FrameBatch(16);
            while (port.Receive(batch) > 0)
                for (int i = 0; i < batch.Count; i++) Assert.That(batch[i].Bytes[12..14].ToArray(), Is.EqualTo((byte[])[8, 6]), "only broadcast ARP is seen of it");
        });
    }

    [Test]
    public void Workers_see_both_directions_of_a_flow_and_all_of_them_together_see_all()
    {
        const int workers = 3, flows = 60;
        Namespaces.Inside(_net.Forwarder, () =>
        {
            var external = new AfPacketPort[workers];
            var inside = new AfPacketPort[workers];
            for (int i = 0; i < workers; i++)
            {
                external[i] = AfPacketPort.Open(Namespaces.PortA, new MacFilter([Mac(Namespaces.OwnMacA)]), new AfPacketOptions { ReceiveSlots = 15, Fanout = new(11, workers, ClientSide.Source) });
                inside[i] = AfPacketPort.Open(Namespaces.PortB, new MacFilter([Mac(Namespaces.OwnMacB)]), new AfPacketOptions { ReceiveSlots = 15, Fanout = new(12, workers, ClientSide.Destination) });
            }
            using RawLinkSocket client = Speaker(_net.Client, Namespaces.ClientLink), server = Speaker(_net.Server, Namespaces.ServerLink);
            var there = new Dictionary<ushort, int>();
            var back = new Dictionary<ushort, int>();
            for (ushort port = 1000; port < 1000 + flows; port++)
            {
                byte[] request = Tcp(Mac(Namespaces.OwnMacA), "10.1.1.1", "10.2.2.2", port, 80), answer = Tcp(Mac(Namespaces.OwnMacB), "10.3.3.3", "10.1.1.1", 8080, port);
                // Every other flow begins: what comes through the sockets for SYNs is spread alike.
                if (port % 2 == 0) request[47] = answer[47] = 0x02;
                client.Send(request);
                server.Send(answer);
                if (port % 10 == 9)
                {
                    Collect(external, there, source: true);
                    Collect(inside, back, source: false);
                }
            }
            Assert.That(there, Has.Count.EqualTo(flows));
            Assert.That(back, Is.EquivalentTo(there));
            Assert.That(there.Values.Distinct().Count(), Is.EqualTo(workers));
            foreach (AfPacketPort port in external.Concat(inside)) port.Dispose();
        });
    }

    [Test]
    public void Workers_see_nothing_of_what_the_host_sends()
    {
        Namespaces.Inside(_net.Forwarder, () =>
        {
            var filter = new MacFilter([Mac(Namespaces.OwnMacA)]);
            AfPacketPort[] workers = [.. Enumerable.Range(0, 2).Select(_ => AfPacketPort.Open(Namespaces.PortA, filter, new AfPacketOptions { ReceiveSlots = 15, Fanout = new(13, 2, ClientSide.Source) }))];
            using RawLinkSocket host = Speaker(_net.Forwarder, Namespaces.PortA), client = Speaker(_net.Client, Namespaces.ClientLink);
            host.Send(Tcp(Mac(Namespaces.OwnMacA), "10.1.1.1", "10.2.2.2", 666, 80));
            host.Send(Frame(MacAddress.Broadcast, 0x0806));
            client.Send(Frame(Mac(Namespaces.OwnMacA), 0x0800));
            Assert.That(ReceiveAll(workers[0], 1), Has.Count.EqualTo(1));
            Assert.That(workers[1].Receive(new FrameBatch(4)), Is.Zero);
            foreach (AfPacketPort port in workers) port.Dispose();
        });
    }

    [TestCase(ReceiveMode.Ring)]
    [TestCase(ReceiveMode.Messages)]
    public void SYNs_come_before_what_waits_and_do_not_keep_it_waiting(ReceiveMode mode)
    {
        Namespaces.Inside(_net.Forwarder, () =>
        {
            using var port = AfPacketPort.Open(Namespaces.PortA, new MacFilter([Mac(Namespaces.OwnMacA)]), new AfPacketOptions { Receive = mode, ReceiveSlots = 60 });
            using RawLinkSocket speaker = Speaker(_net.Client, Namespaces.ClientLink);
            for (ushort source = 1; source <= 40; source++) speaker.Send(Tcp(Mac(Namespaces.OwnMacA), "10.1.1.1", "10.2.2.2", source, 80));
            for (ushort source = 1001; source <= 1040; source++)
            {
                byte[] syn = Tcp(Mac(Namespaces.OwnMacA), "10.1.1.1", "10.2.2.2", source, 80);
                syn[47] = 0x02;
                speaker.Send(syn);
            }
            var batch = new FrameBatch(64);
            var sources = new List<int>();
            while (port.Receive(batch) > 0)
            {
                for (int i = 0; i < batch.Count; i++) sources.Add((batch[i].Bytes[34] << 8) | batch[i].Bytes[35]);
            }
            Assert.That(sources.Where(s => s > 1000), Is.EqualTo(Enumerable.Range(1001, 40)));
            Assert.That(sources.Where(s => s < 1000), Is.EqualTo(Enumerable.Range(1, 40)));
            Assert.That(sources.TakeWhile(s => s > 1000).Count(), Is.EqualTo(32));
            Assert.That(sources[32], Is.EqualTo(1));
            Assert.That(port.Counters.ReceivedFrames, Is.EqualTo(80));
            port.ReadDrops();
            Assert.That(port.Counters.ReceiveDrops, Is.Zero);
        });
    }

    [TestCase(ReceiveMode.Ring, 1)]
    [TestCase(ReceiveMode.Messages, 1)]
    [TestCase(ReceiveMode.Messages, 2)]
    public void An_interface_that_is_made_anew_is_opened_under_the_same_descriptors(ReceiveMode mode, int workers)
    {
        Namespaces.Inside(_net.Forwarder, () =>
        {
            var options = new AfPacketOptions { Receive = mode, ReceiveSlots = 15, Promiscuous = true };
            if (workers > 1) options = options with { Fanout = new(14, workers, ClientSide.Source) };
            AfPacketPort[] ports = [.. Enumerable.Range(0, workers).Select(_ => AfPacketPort.Open(Namespaces.PortA, new MacFilter([Mac(Namespaces.OwnMacA)]), options))];
            int[] handles = [.. ports.SelectMany(p => p.PollHandles)];
            for (int round = 1; round <= 3; round++)
            {
                _net.RemakeA(mtu: 1500 - round);
                AfPacketPort.Reopen(ports);
                using RawLinkSocket speaker = Speaker(_net.Client, Namespaces.ClientLink);
                for (ushort source = 1; source <= 20; source++)
                {
                    byte[] frame = Tcp(Mac(Namespaces.OwnMacA), "10.1.1.1", "10.2.2.2", source, 80);
                    if (source % 2 == 0) frame[47] = 0x02;
                    speaker.Send(frame);
                    speaker.Send(Frame(Mac("02:00:00:00:0f:77"), 0x0800));
                }
                var seen = new Dictionary<ushort, int>();
                Collect(ports, seen, source: true);
                Assert.That(seen, Has.Count.EqualTo(20), "all that is for us, SYNs too, and nothing else");
                Assert.That(seen.All(s => s.Value == ClientShare.Of(Ip("10.1.1.1"), s.Key, workers)), Is.True, "each at its worker");
                Assert.That(ports.Select(p => p.Mtu), Is.All.EqualTo(1500 - round));
                using var memory = new ScratchPool(1, 64);
                memory.TryTake(out nint address);
                Frame(MacAddress.Broadcast, 0x88b6).CopyTo(MemoryNative.Span(address, 60));
                ports[^1].Send(new FrameRef { Address = address, Length = 60 });
                ports[^1].Flush();
                Assert.That((ports[^1].Counters.SentFrames, ports[^1].Counters.SendErrors), Is.EqualTo(((long)round, 0L)));
                Assert.That(speaker.Receive(new byte[100]), Is.EqualTo(60));
                using var waiter = new Waiter(handles);
                Assert.That(waiter.Wait(0), Is.False, "nothing and no error waits");
                speaker.Send(Frame(Mac(Namespaces.OwnMacA), 0x0800));
                Assert.That(waiter.Wait(5_000_000_000), Is.True);
                Assert.That(ports[0].Receive(new FrameBatch(4)), Is.EqualTo(1));
                ports[0].Release();
            }
            Assert.That(ports.SelectMany(p => p.PollHandles), Is.EqualTo(handles));
            Namespaces.Run($"ip -n {_net.Forwarder} link del {Namespaces.PortA}");
            Assert.That(Assert.Throws<PortException>(() => AfPacketPort.Reopen(ports))!.Message, Does.EndWith("there is no such network interface."));
            foreach (AfPacketPort port in ports) port.Dispose();
        });
    }

    private static IpAddr Ip(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text);

    [Test]
    public void What_cannot_be_opened_is_said_in_a_sentence()
    {
        PortException missing = Assert.Throws<PortException>(() => AfPacketPort.Open("ports-none", new MacFilter([])))!;
        Assert.That(missing.Message, Is.EqualTo("ports-none: there is no such network interface."));
        PortException loopback = Assert.Throws<PortException>(() => AfPacketPort.Open("a name that is far too long", new MacFilter([])))!;
        Assert.That(loopback.Message, Does.EndWith("there is no such network interface."));
    }

    [Test]
    public void Frames_that_the_kernel_refuses_are_counted_and_the_others_still_go()
    {
        OpenA([Mac(Namespaces.OwnMacA)], (port, listener) =>
        {
            using var memory = new ScratchPool(4, 4096);
            memory.TryTake(out nint good);
            memory.TryTake(out nint tooLong);
            Frame(Mac(Namespaces.ClientMac), 0x88b6).CopyTo(MemoryNative.Span(good, 60));
            port.Send(new FrameRef { Address = good, Length = 60 });
            port.Send(new FrameRef { Address = tooLong, Length = 4000 });
            port.Send(new FrameRef { Address = good, Length = 60 });
            port.Flush();
            Assert.That(port.Counters.SendErrors, Is.EqualTo(1));
            Assert.That(port.Counters.SentFrames, Is.EqualTo(2));
            Namespaces.Run($"ip -n {_net.Forwarder} link set {Namespaces.PortA} down");
            port.Send(new FrameRef { Address = good, Length = 60 });
            port.Flush();
            Assert.That(port.Counters.SendErrors, Is.EqualTo(2));
        });
    }

    [Test]
    public void Frames_beyond_the_ring_are_counted_by_the_kernel()
    {
        Namespaces.Inside(_net.Forwarder, () =>
        {
            using var port = AfPacketPort.Open(Namespaces.PortA, new MacFilter([Mac(Namespaces.OwnMacA)]), new AfPacketOptions { Receive = ReceiveMode.Ring, ReceiveSlots = 15 });
            using RawLinkSocket speaker = Speaker(_net.Client, Namespaces.ClientLink);
            for (int i = 0; i < 40; i++) speaker.Send(Frame(Mac(Namespaces.OwnMacA), 0x0800));
            var batch = new FrameBatch(64);
            Assert.That(port.Receive(batch), Is.EqualTo(15));
            port.ReadDrops();
            Assert.That(port.Counters.ReceiveDrops, Is.EqualTo(25));
            for (int i = 0; i < 10; i++) speaker.Send(Frame(Mac(Namespaces.OwnMacA), 0x0800));
            Assert.That(port.Receive(batch), Is.Zero, "the frames borrowed before still fill the ring while they were sent");
            speaker.Send(Frame(Mac(Namespaces.OwnMacA), 0x0800));
            Assert.That(port.Receive(batch), Is.EqualTo(1));
        });
    }

    [Test]
    public void Frames_beyond_the_receive_buffer_are_counted_by_the_kernel()
    {
        Namespaces.Inside(_net.Forwarder, () =>
        {
            const int sent = 200;
            using var port = AfPacketPort.Open(Namespaces.PortA, new MacFilter([Mac(Namespaces.OwnMacA)]), new AfPacketOptions { Receive = ReceiveMode.Messages, ReceiveBuffer = 8192 });
            using RawLinkSocket speaker = Speaker(_net.Client, Namespaces.ClientLink);
            for (int i = 0; i < sent; i++) speaker.Send(Frame(Mac(Namespaces.OwnMacA), 0x0800));
            var batch = new FrameBatch(64);
            int received = 0;
            for (int count = port.Receive(batch); count > 0; count = port.Receive(batch)) received += count;
            port.ReadDrops();
            Assert.That(port.Counters.ReceiveDrops, Is.Positive);
            Assert.That(received + port.Counters.ReceiveDrops, Is.EqualTo(sent));
            speaker.Send(Frame(Mac(Namespaces.OwnMacA), 0x0800));
            Assert.That(port.Receive(batch), Is.EqualTo(1));
        });
    }

    [Test]
    public void A_link_that_loses_its_carrier_is_announced()
    {
        Namespaces.Inside(_net.Forwarder, () =>
        {
            using var monitor = new LinkMonitor();
            using var waiter = new Waiter([monitor.Handle]);
            int index = LinkInfo.Query(Namespaces.PortA).Index;
            Assert.That(LinkInfo.Query(Namespaces.PortA).HasCarrier, Is.True);
            Namespaces.Run($"ip -n {_net.Client} link set {Namespaces.ClientLink} down");
            Assert.That(Await(monitor, waiter, e => e.Index == index && e.IsUp && !e.HasCarrier), Is.True);
            Assert.That(LinkInfo.Query(Namespaces.PortA).HasCarrier, Is.False);
            Namespaces.Run($"ip -n {_net.Client} link set {Namespaces.ClientLink} up");
            Assert.That(Await(monitor, waiter, e => e.Index == index && e.HasCarrier && e.Mtu == 1500), Is.True);
            Namespaces.Run($"ip -n {_net.Forwarder} link set {Namespaces.PortA} mtu 1400");
            Assert.That(Await(monitor, waiter, e => e.Index == index && e.Mtu == 1400), Is.True);
        });
    }

    private static bool Await(LinkMonitor monitor, Waiter waiter, Func<LinkEvent, bool> wanted)
    {
        do
        {
            while (monitor.TryRead(out LinkEvent change))
                if (wanted(change)) return true;
        }
        while (waiter.Wait(5_000_000_000));
        return false;
    }

    // Tag in the frame, partial checksum: as a network card with offloads would be told to send it.
    private static void SendTagged(string name, string link, byte vlan) => Namespaces.Inside(name, () =>
    {
        using var port = AfPacketPort.Open(link, new MacFilter([]), new AfPacketOptions { ReceiveSlots = 15 });
        using var memory = new ScratchPool(1, 128);
        memory.TryTake(out nint address);
        Span<byte> frame = MemoryNative.Span(address, 58);
        byte[] plain = Tcp(Mac(Namespaces.OwnMacA), "10.98.0.1", "10.98.0.2", 1000, 80);
        plain.AsSpan(0, 12).CopyTo(frame);
        ((ReadOnlySpan<byte>)[0x81, 0, 0, vlan]).CopyTo(frame[12..]);
        plain.AsSpan(12, 42).CopyTo(frame[16..]);
        port.Send(new FrameRef { Address = address, Length = frame.Length, Vnet = new VnetHeader { Flags = VnetHeader.FlagNeedsChecksum, ChecksumStart = 38, ChecksumOffset = 16 } });
        port.Flush();
        Assert.That(port.Counters.SentFrames, Is.EqualTo(1));
    });

    private static RawLinkSocket Speaker(string name, string link)
    {
        RawLinkSocket? socket = null;
        Namespaces.Inside(name, () => socket = RawLinkSocket.Open(link, 0x88b6, []));
        return socket!;
    }

    private void OpenA(MacAddress[] accepted, Action<AfPacketPort, RawLinkSocket> test) => Namespaces.Inside(_net.Forwarder, () =>
    {
        using var port = AfPacketPort.Open(Namespaces.PortA, new MacFilter(accepted));
        using RawLinkSocket speaker = Speaker(_net.Client, Namespaces.ClientLink);
        test(port, speaker);
    });

    private static void WaitFor(AfPacketPort port, FrameBatch batch)
    {
        using var waiter = new Waiter([.. port.PollHandles]);
        while (port.Receive(batch) == 0) Assert.That(waiter.Wait(5_000_000_000), Is.True, "no frame within 5 s");
    }

    // Waits for as many frames as must come and then looks whether there are more.
    private static List<byte[]> ReceiveAll(AfPacketPort port, int expected)
    {
        var frames = new List<byte[]>();
        var batch = new FrameBatch(16);
        while (frames.Count < expected)
        {
            WaitFor(port, batch);
            for (int i = 0; i < batch.Count; i++) frames.Add(batch[i].Bytes.ToArray());
        }
        port.Release();
        using var waiter = new Waiter([.. port.PollHandles]);
        Assert.That(waiter.Wait(20_000_000), Is.False, "more frames than expected");
        return frames;
    }

    private static void Collect(AfPacketPort[] ports, Dictionary<ushort, int> seen, bool source)
    {
        var batch = new FrameBatch(64);
        for (int worker = 0; worker < ports.Length; worker++)
        {
            ports[worker].Receive(batch);
            for (int i = 0; i < batch.Count; i++)
            {
                Assert.That(Packet.TryParse(batch[i].Bytes, out Packet packet, out _), Is.True);
                seen.Add(source ? packet.SourcePort : packet.DestinationPort, worker);
            }
            ports[worker].Release();
        }
    }

    // A stream of pseudo-random bytes from client to server, with the digests of both ends.
    private (string Sent, string Received) Transfer(int bytes)
    {
        string received = "";
        using var listening = new ManualResetEventSlim();
        Thread server = Namespaces.Enter(_net.Server, () =>
        {
            var listener = new TcpListener(IPAddress.Parse(Namespaces.ServerAddress), 7000);
            listener.Start();
            listening.Set();
            using TcpClient peer = listener.AcceptTcpClient();
            listener.Stop();
            received = Convert.ToHexString(SHA256.HashData(peer.GetStream()));
        });
        listening.Wait();
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Namespaces.Inside(_net.Client, () =>
        {
            using var client = new TcpClient();
            client.Connect(Namespaces.ServerAddress, 7000);
            client.Client.SendTimeout = 20_000;
            var block = new byte[1 << 20];
            var random = new Random(1);
            for (int sent = 0; sent < bytes; sent += block.Length)
            {
                random.NextBytes(block);
                hash.AppendData(block);
                client.GetStream().Write(block);
            }
        });
        server.Join();
        return (Convert.ToHexString(hash.GetHashAndReset()), received);
    }
}
