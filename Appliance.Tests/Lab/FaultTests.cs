using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Appliance.Lab;
using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Servers;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Lab;

/// <summary>Faults do what they say, and every kind of box carries traffic.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class FaultTests
{
    [TestCase(BoxKind.Dnat)]
    [TestCase(BoxKind.HaproxyHttp)]
    [TestCase(BoxKind.HaproxyHttpSplice)]
    [TestCase(BoxKind.HaproxyTcpSplice)]
    [TestCase(BoxKind.NginxStream)]
    public async Task Every_kind_of_box_carries_verified_bytes(BoxKind kind)
    {
        await using var lab = LabNetwork.Create();
        var topology = ClusterTopology.Build(lab, new ClusterOptions { Kind = kind, Boxes = 1 });
        foreach (var backend in topology.Backends)
        {
            LabTool.StartServer(backend);
        }
        foreach (var mode in (LoadMode[])[LoadMode.Get, LoadMode.Put, LoadMode.Once, LoadMode.Short])
        {
            bool small = mode is LoadMode.Once or LoadMode.Short;
            var run = LabTool.StartClient(topology.Clients[0], mode.ToString(), new LoadOptions(mode, topology.ServiceAddress())
            {
                Connections = 4,
                Bytes = small ? 200 : 1_000_000,
                Count = small ? 40 : 0,
            });
            var summary = await run.Finish();
            Assert.That(summary.Broken, Is.Zero, $"{mode}: {new LoadLine { Summary = summary }}");
            Assert.That(summary.MismatchedBytes, Is.Zero);
            Assert.That(summary.Requests, Is.EqualTo(mode switch { LoadMode.Once => 160, LoadMode.Short => 40, _ => 4 }));
        }
    }

    [Test]
    public void Links_drop_what_they_are_told_to()
    {
        using var lab = LabNetwork.Create();
        var topology = ClusterTopology.Build(lab, new ClusterOptions { Kind = BoxKind.Router, Boxes = 1, Backends = 1 });
        var backend = topology.Backends[0];
        var link = backend.Link("eth0");
        var box = topology.Boxes[0].Link("eth1");
        Assert.That(Reaches(topology, wait: true), Is.True, "no fault");

        LinkFaults.Blackhole(link);
        Assert.That(Reaches(topology, wait: false), Is.False, "blackhole");
        Assert.That(Carrier(backend), Is.True, "a blackhole keeps the carrier");
        LinkFaults.Unblackhole(link);
        Assert.That(Reaches(topology, wait: true), Is.True, "after the blackhole");

        foreach (var direction in Enum.GetValues<Direction>())
        {
            LinkFaults.Block(box, direction);
            Assert.That(Reaches(topology, wait: false), Is.False, $"block {direction}");
            LinkFaults.Unblock(box, direction);
            Assert.That(Reaches(topology, wait: true), Is.True, $"after block {direction}");
        }

        LinkFaults.PortDown(link);
        Assert.That(Carrier(backend), Is.False, "a pulled cable");
        LinkFaults.PortUp(link);
        Assert.That(Reaches(topology, wait: true), Is.True, "after the pulled cable");

        LinkFaults.Down(link);
        Assert.That(Reaches(topology, wait: false), Is.False, "interface down");
        LinkFaults.Up(link);
        Assert.That(Reaches(topology, wait: true), Is.True, "interface up, routes back");
    }

    [Test]
    public async Task Killed_box_falls_silent_and_its_processes_die()
    {
        await using var lab = LabNetwork.Create();
        var topology = ClusterTopology.Build(lab, new ClusterOptions { Kind = BoxKind.HaproxyTcpSplice, Boxes = 2 });
        foreach (var backend in topology.Backends)
        {
            LabTool.StartServer(backend);
        }
        var run = LabTool.StartClient(topology.Clients[0], "requests", new LoadOptions(LoadMode.Requests, topology.ServiceAddress())
        {
            Connections = 4,
            Seconds = 30,
            StallSeconds = 1,
            Bins = true,
        });
        await run.Until(r => r.Bins.Count > 2 && r.Bins[^1].Requests > 0);
        ProcessFaults.KillBox(topology.Boxes[0]);
        var summary = await run.Finish();
        Assert.That(summary.Requests, Is.Positive);
        Assert.That(summary.Broken, Is.EqualTo(4));
        Assert.That(summary.Errors, Is.EquivalentTo(new Dictionary<string, int> { ["stalled"] = 4 }), "nobody may tell the client");
        Assert.That(topology.Boxes[0].Pids(), Is.Empty);
        Assert.That(topology.Boxes[1].Pids(), Is.Not.Empty);
    }

    [Test]
    public async Task Killed_process_resets_its_connections_and_a_stopped_one_goes_on()
    {
        await using var lab = LabNetwork.Create();
        var topology = ClusterTopology.Build(lab, new ClusterOptions { Kind = BoxKind.HaproxyHttp, Boxes = 1 });
        foreach (var backend in topology.Backends)
        {
            LabTool.StartServer(backend);
        }
        int pid = topology.Boxes[0].Processes[0].Pid;
        var run = LabTool.StartClient(topology.Clients[0], "requests", new LoadOptions(LoadMode.Requests, topology.ServiceAddress())
        {
            Connections = 4,
            Seconds = 30,
            Bins = true,
        });
        await run.Until(r => r.Bins.Count > 1 && r.Bins[^1].Requests > 0);
        ProcessFaults.Stop(pid);
        int bins = run.Bins.Count;
        await run.Until(r => r.Bins.Count > bins + 3);
        Assert.That(run.Bins[^1].Requests, Is.Zero, "stopped");
        ProcessFaults.Continue(pid);
        await run.Until(r => r.Bins[^1].Requests > 0);
        ProcessFaults.KillProcess(pid);
        var summary = await run.Finish();
        Assert.That(summary.Broken, Is.EqualTo(4));
        Assert.That(summary.Errors.Keys, Is.SubsetOf((string[])["reset", "closed"]));
        Assert.That(summary.LongestSilenceMs, Is.GreaterThan(200));
    }

    [Test]
    public async Task Cpu_quota_slows_a_host()
    {
        await using var lab = LabNetwork.Create();
        var host = lab.AddHost("busy");
        lab.Build();
        var process = host.Start(new ProcessSpec("spin", "sh", "-c", "read go; i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done") { Input = true });
        ProcessFaults.CpuQuota(host, 0.2);
        string group = $"/sys/fs/cgroup/cpu/{lab.Prefix}-busy";
        Assert.That(File.ReadAllLines(group + "/cgroup.procs"), Does.Contain(process.Pid.ToString(CultureInfo.InvariantCulture)));
        process.WriteLine("go");
        Assert.That(await process.WaitForExitAsync(), Is.Zero);
        Assert.That(Throttled(group), Is.GreaterThan(3));
        ProcessFaults.CpuQuota(host, null);
        Assert.That(File.ReadAllText(group + "/cpu.cfs_quota_us").Trim(), Is.EqualTo("-1"));
    }

    [Test]
    public async Task Process_has_exactly_the_capabilities_given()
    {
        await using var lab = LabNetwork.Create();
        var host = lab.AddHost("box");
        lab.Build();
        var process = host.Start(new ProcessSpec("status", "cat", "/proc/self/status") { User = "nobody", Capabilities = ["net_raw", "net_admin"] });
        Assert.That(await process.WaitForExitAsync(), Is.Zero);
        foreach (string set in (string[])["CapPrm", "CapEff", "CapBnd", "CapAmb"])
        {
            Assert.That(process.Log, Does.Contain($"{set}:\t0000000000003000"));
        }
        Assert.That(process.Log, Does.Not.Contain("Uid:\t0"));
    }

    [Test]
    public async Task Nginx_serves_files_of_known_sum_and_tells_names_apart()
    {
        await using var lab = LabNetwork.Create();
        var topology = ClusterTopology.Build(lab, new ClusterOptions { Kind = BoxKind.Router, Boxes = 1, Backends = 1 });
        var nginx = NginxServer.Start(topology.Backends[0], new NginxOptions
        {
            Files = new Dictionary<string, long> { ["big"] = 5_000_000 },
            TlsNames = ["a.example", "b.example"],
        });
        var run = LabTool.StartClient(topology.Clients[0], "get", new LoadOptions(LoadMode.Get, topology.ServiceAddress())
        {
            Connections = 2,
            Path = "/big",
            Sha256 = nginx.Sha256["big"],
        });
        var summary = await run.Finish();
        Assert.That(summary.Broken, Is.Zero);
        Assert.That(summary.ShaVerified, Is.EqualTo(2));
        foreach (string name in (string[])["a.example", "b.example"])
        {
            string answer = topology.Clients[0].Run("curl", "-sk", "--resolve", $"{name}:443:{topology.ServiceAddress()}", $"https://{name}/sni");
            Assert.That(answer.Trim(), Is.EqualTo(name));
        }
    }

    [Test]
    public void Schedule_of_a_seed_is_always_the_same()
    {
        static IEnumerable<string> Plan(int seed)
        {
            var schedule = new FaultSchedule(seed);
            schedule.Add("one", TimeSpan.Zero, TimeSpan.FromSeconds(5), () => { });
            schedule.Add("two", TimeSpan.Zero, TimeSpan.FromSeconds(5), () => { });
            return schedule.Plan;
        }
        var first = Plan(7).ToList();
        Assert.That(Plan(7), Is.EqualTo(first));
        Assert.That(Plan(8), Is.Not.EqualTo(first));
    }

    /// <summary>Whether a segment to a closed port of the backend is answered; with wait, whether that happens within five seconds.</summary>
    private static bool Reaches(ClusterTopology topology, bool wait) => topology.Clients[0].Enter(() =>
    {
        for (int i = 0; i < (wait ? 20 : 1); i++)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            var connect = socket.ConnectAsync(IPAddress.Parse(topology.ServiceAddress()), 9);
            try
            {
                connect.Wait(TimeSpan.FromMilliseconds(250));
            }
            catch (AggregateException e) when (e.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionRefused })
            {
                return true;
            }
        }
        return false;
    });

    private static bool Carrier(Host host) => !host.Run("ip", "link", "show", "dev", "eth0").Contains("NO-CARRIER", StringComparison.Ordinal);

    /// <summary>Periods in which the group wanted more than its quota.</summary>
    private static long Throttled(string group) => long.Parse(
        File.ReadAllLines(group + "/cpu.stat").First(l => l.StartsWith("nr_throttled ", StringComparison.Ordinal)).Split(' ')[1], CultureInfo.InvariantCulture);
}
