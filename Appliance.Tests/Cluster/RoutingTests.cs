using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Appliance.Lab.Load;
using Appliance.Lab.Servers;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>Routes by host, path and SNI, PROXY headers, backends that are gone, and unusual clients, before real nginx.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class RoutingTests
{
    private static readonly string[] Services =
    [
        $"service WWW is {ClusterTopology.VirtualAddress} tcp 80 splice durability acked",
        $"service WWW6 is {ClusterTopology.VirtualAddress6} tcp 80 splice durability acked",
        $"service SHOP is {ClusterTopology.VirtualAddress} tcp 443 splice durability acked",
        $"service TOLD is {ClusterTopology.VirtualAddress} tcp 8080 splice durability acked",
        $"service GONE is {ClusterTopology.VirtualAddress} tcp 81 splice durability acked",
        $"service HALF is {ClusterTopology.VirtualAddress} tcp 82 splice durability acked",
        "pool one for WWW", "pool two for WWW", "pool one6 for WWW6", "pool shop for SHOP", "pool shop_b for SHOP", "pool told for TOLD proxy", "pool gone for GONE", "pool half for HALF",
        $"add {ClusterTopology.BackendAddress(1)} to one", $"add {ClusterTopology.BackendAddress(2)} to two", $"add {ClusterTopology.BackendAddress6(1)} to one6",
        $"add {ClusterTopology.BackendAddress(1)} to shop", $"add {ClusterTopology.BackendAddress(2)} to shop_b", $"add {ClusterTopology.BackendAddress(3)} to told port 80",
        $"add {ClusterTopology.BackendAddress(1)} to gone port 9", $"add {ClusterTopology.BackendAddress(2)} to gone port 9",
        $"add {ClusterTopology.BackendAddress(1)} to half port 9", $"add {ClusterTopology.BackendAddress(2)} to half port 80",
        "route WWW host two.example to two", "route WWW path /two/ to two", "route SHOP sni b.example to shop_b",
        "share WWW by packet 40",
    ];

    private ApplianceLab _lab = null!;
    private NginxServer[] _servers = null!;

    [OneTimeSetUp]
    public void Build()
    {
        _lab = ApplianceLab.Build(new ApplianceOptions { Services = Services }, new ClusterOptions { Backends = 3 });
        var files = new Dictionary<string, long>(StringComparer.Ordinal) { ["big"] = 3_000_000 };
        _servers = _lab.Topology.Backends.Select((b, i) => NginxServer.Start(b, i == 2
            ? new NginxOptions { Files = files, ProxyProtocol = true }
            : new NginxOptions { Files = files, TlsNames = [i == 0 ? "a.example" : "b.example"] })).ToArray();
        _lab.StartBoxes();
        _lab.WaitUsable();
    }

    [OneTimeTearDown]
    public async Task Remove() => await _lab.DisposeAsync();

    [Test]
    public void Host_and_path_choose_the_pool()
    {
        Assert.That(Get("http://203.0.113.10/name"), Is.EqualTo("backend1"));
        Assert.That(Get("http://203.0.113.10/name", "-H", "Host: two.example"), Is.EqualTo("backend2"));
        Assert.That(Get("http://203.0.113.10/two/name", "-o", "/dev/null", "-D", "-"), Does.Contain("Server-Name: backend2"));
        Assert.That(Get("http://203.0.113.10/one/name", "-o", "/dev/null", "-D", "-"), Does.Contain("Server-Name: backend1"));
        Assert.That(Get($"http://[{ClusterTopology.VirtualAddress6}]/name"), Is.EqualTo("backend1"));
    }

    [Test]
    public void Server_name_of_TLS_chooses_the_pool()
    {
        foreach (string name in (string[])["a.example", "b.example"])
        {
            Assert.That(Get($"https://{name}/sni", "-k", "--resolve", $"{name}:443:{ClusterTopology.VirtualAddress}"), Is.EqualTo(name));
        }
    }

    [Test]
    public async Task Proxy_header_tells_the_client_s_address()
    {
        await ClusterLoad.Good(_lab, new LoadOptions(LoadMode.Get, ClusterTopology.VirtualAddress, 8080) { Connections = 3, Path = "/big", Sha256 = _servers[2].Sha256["big"] }, shaVerified: 3);
        await ClusterLoad.Good(_lab, new LoadOptions(LoadMode.Put, ClusterTopology.VirtualAddress, 8080) { Bytes = 50_000_000, Seed = 77, Path = "/put/{seed}" });
        Assert.That(Pattern.DifferencesOfFile(_servers[2].UploadedFile(77), 77, 50_000_000), Is.Zero);
        Assert.That(_servers[2].ClientAddresses, Is.Not.Empty.And.All.EqualTo(ClusterTopology.ClientAddress(1)));
    }

    [Test]
    public void Dead_backend_is_replaced_and_dead_pool_is_a_reset()
    {
        for (int i = 0; i < 8; i++)
        {
            Assert.That(Get("http://203.0.113.10:82/name"), Is.EqualTo("backend2"));
        }
        const int curlReset = 56, curlEmpty = 52;
        Assert.That(_lab.Client.TryRun("curl", "-s", "-m", "30", "http://203.0.113.10:81/name").ExitCode, Is.EqualTo(curlReset).Or.EqualTo(curlEmpty));
    }

    [Test]
    public void Head_in_thirty_segments_half_close_and_keep_alive()
    {
        string answer = _lab.Client.Enter(() =>
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 30_000 };
            socket.Connect(IPAddress.Parse(ClusterTopology.VirtualAddress), 80);
            string first = "GET /name HTTP/1.1\r\nHost: two.example\r\n" + string.Concat(Enumerable.Range(0, 20).Select(i => string.Create(CultureInfo.InvariantCulture, $"X-{i}: {i}\r\n"))) + "\r\n";
            byte[] head = Encoding.ASCII.GetBytes(first);
            int piece = (head.Length + 29) / 30;
            for (int at = 0; at < head.Length; at += piece)
            {
                socket.Send(head.AsSpan(at, Math.Min(piece, head.Length - at)));
            }
            string one = Read(socket, "backend2\n");
            // The second request goes where the first went, whatever it says; then our half closes.
            socket.Send("GET /name HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n"u8);
            socket.Shutdown(SocketShutdown.Send);
            return one + Read(socket, until: null);
        });
        Assert.That(answer.Split("backend2\n"), Has.Length.EqualTo(3), answer);
    }

    private static string Read(Socket socket, string? until)
    {
        var text = new StringBuilder();
        byte[] buffer = new byte[4096];
        while ((until is null || !text.ToString().EndsWith(until, StringComparison.Ordinal)) && socket.Receive(buffer) is var got and > 0)
        {
            text.Append(Encoding.ASCII.GetString(buffer, 0, got));
        }
        return text.ToString();
    }

    private string Get(string url, params string[] options) => _lab.Client.Run("curl", ["-s", "-S", "-m", "30", .. options, url]).Trim();
}
