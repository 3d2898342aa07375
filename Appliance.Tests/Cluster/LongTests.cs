using System.Net;
using System.Net.Sockets;
using System.Text;
using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Servers;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>Connections that carry more than 32 bits can count, and halves that live on long after the other has closed.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class LongTests
{
    private const int Port = 8090;
    private const long AfterClose = 1_000_000_000;
    private const int Piece = 1 << 18;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly byte[] Request = Encoding.ASCII.GetBytes($"GET / HTTP/1.1\r\nHost: {ClusterTopology.VirtualAddress}\r\n\r\n");

    [Test]
    public async Task Five_gigabytes_each_way_on_one_connection_though_its_box_dies_after_three()
    {
        const long bytes = 5_000_000_000, before = 3_000_000_000;
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Share = "by flow" });
        var load = ClusterLoad.Start(lab, new LoadOptions(LoadMode.Both, ClusterTopology.VirtualAddress) { Bytes = bytes, Bins = true });
        ApplianceLab.WaitFor(() => load.Bins.Sum(b => b.Bytes) > before, $"{before} bytes");
        // Who takes over has seen none of them.
        ProcessFaults.KillBox(lab.Proxies.MaxBy(b => b.Counters()["rewritten"])!.Host);
        var summary = await load.Finish();
        ClusterLoad.AssertGood(lab, summary, shaVerified: 2);
        Assert.That(summary.Bytes, Is.GreaterThanOrEqualTo(2 * bytes));
        ClusterLoad.ChecksumsGood(lab);
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task One_half_closes_and_the_other_carries_a_gigabyte_more(bool clientCloses)
    {
        string backend = ClusterTopology.BackendAddress(1);
        await using var lab = ApplianceLab.Build(new ApplianceOptions
        {
            Services =
            [
                $"service RAW is {ClusterTopology.VirtualAddress} tcp {Port} splice durability acked", "pool raw for RAW", $"add {backend} to raw", "share RAW by packet 40",
            ],
        });
        using Socket listener = lab.Topology.Backends[0].Enter(() => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        listener.Bind(new IPEndPoint(IPAddress.Any, Port));
        listener.Listen();
        lab.StartBoxes();
        lab.WaitUsable();
        using Socket client = lab.Client.Enter(() => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true });
        Task<Socket> accepted = listener.AcceptAsync();
        await client.ConnectAsync(ClusterTopology.VirtualAddress, Port);
        await client.SendAsync(Request);
        if (clientCloses) client.Shutdown(SocketShutdown.Send);
        using Socket server = await accepted.WaitAsync(Patience);
        await Expect(server, Request);
        if (!clientCloses)
        {
            await server.SendAsync(Request);
            server.Shutdown(SocketShutdown.Send);
            await Expect(client, Request);
        }
        (Socket from, Socket to) = clientCloses ? (server, client) : (client, server);
        // The closed half says so before the other half's gigabyte begins.
        Assert.That(await from.ReceiveAsync(new byte[1]).WaitAsync(Patience), Is.Zero);
        Task sent = Send(from);
        Assert.That(await Receive(to).WaitAsync(Patience), Is.EqualTo((AfterClose, 0L)), "bytes, differing bytes");
        await sent;
        ClusterLoad.ChecksumsGood(lab);
    }

    private static async Task Expect(Socket socket, byte[] text)
    {
        byte[] buffer = new byte[text.Length];
        for (int got = 0; got < buffer.Length;)
        {
            int more = await socket.ReceiveAsync(buffer.AsMemory(got)).AsTask().WaitAsync(Patience);
            Assert.That(more, Is.Positive);
            got += more;
        }
        Assert.That(buffer, Is.EqualTo(text));
    }

    private static async Task Send(Socket socket)
    {
        byte[] piece = new byte[Piece];
        for (long at = 0; at < AfterClose; at += piece.Length)
        {
            Pattern.Fill(piece, 1, at);
            await socket.SendAsync(piece.AsMemory(0, (int)Math.Min(piece.Length, AfterClose - at)));
        }
        socket.Shutdown(SocketShutdown.Send);
    }

    private static async Task<(long Bytes, long Differing)> Receive(Socket socket)
    {
        byte[] piece = new byte[Piece];
        long bytes = 0, differing = 0;
        for (int got; (got = await socket.ReceiveAsync(piece)) > 0; bytes += got) differing += Pattern.Differences(piece.AsSpan(0, got), 1, bytes);
        return (bytes, differing);
    }
}
