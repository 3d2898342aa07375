using System.Diagnostics;
using System.Globalization;
using Appliance.Lab;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Lab;

/// <summary>The lab itself: what it builds works, and nothing of it stays behind. Needs root, and fails without.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public class LabNetworkTests
{
    [Test]
    public void Topology_up_and_down_leaves_nothing_behind()
    {
        string prefix;
        string directory;
        int pid;
        using (var lab = LabNetwork.Create())
        {
            (prefix, directory) = (lab.Prefix, lab.Directory);
            var topology = ClusterTopology.Build(lab, new ClusterOptions { Clients = 2, Boxes = 3, Backends = 3 });
            Assert.That(Namespaces.Mounted().Count(n => n.StartsWith(prefix + "-", StringComparison.Ordinal)), Is.EqualTo(9));
            var process = topology.Boxes[0].Start(new ProcessSpec("sleep", "sleep", "600"));
            pid = process.Pid;
            Assert.That(topology.Boxes[0].Pids(), Does.Contain(pid));
        }
        Assert.That(Namespaces.Mounted().Where(n => n.StartsWith(prefix + "-", StringComparison.Ordinal)), Is.Empty);
        Assert.That(Directory.Exists(directory), Is.False);
        Assert.That(Directory.Exists($"/proc/{pid}"), Is.False);
    }

    [TestCase(2, false)]
    [TestCase(15, false)]
    [TestCase(9, true)]
    public async Task Lab_that_is_ended_by_a_signal_leaves_nothing_behind(int signal, bool needsSweep)
    {
        // Tests that run in the background of a shell ignore SIGINT, and so would what they start.
        var start = new ProcessStartInfo("env", ["--default-signal=INT", "dotnet", Path.Combine(AppContext.BaseDirectory, "appliance-lab.dll"), "up"])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        string? first = await process.StandardOutput.ReadLineAsync();
        Assert.That(first, Does.Contain("service"));
        string prefix = $"apl{process.Id}x";
        Assert.That(Left(prefix), Has.Length.EqualTo(5));
        using (var kill = Process.Start("kill", [$"-{signal}", process.Id.ToString(CultureInfo.InvariantCulture)]))
        {
            await kill.WaitForExitAsync();
        }
        await process.WaitForExitAsync().WaitAsync(TimeSpan.FromMinutes(1));
        if (needsSweep)
        {
            Assert.That(Left(prefix), Has.Length.EqualTo(5), "kill -9 leaves its namespaces");
            Assert.That(Namespaces.Sweep().Where(n => n.StartsWith(prefix, StringComparison.Ordinal)).ToList(), Has.Count.EqualTo(5));
        }
        Assert.That(Left(prefix), Is.Empty);
        Assert.That(Directory.GetDirectories(Path.Combine(Path.GetTempPath(), "appliance-lab"), prefix + "*"), Is.Empty);
    }

    private static string[] Left(string prefix) => Namespaces.Mounted().Where(n => n.StartsWith(prefix, StringComparison.Ordinal)).ToArray();

    [TestCase(false)]
    [TestCase(true)]
    public async Task Bulk_bytes_are_verified_both_ways_over_a_kernel_router(bool ipv6)
    {
        await using var lab = LabNetwork.Create();
        var topology = ClusterTopology.Build(lab, new ClusterOptions { Kind = BoxKind.Router, Boxes = 1, Backends = 1 });
        LabTool.StartServer(topology.Backends[0]);
        const long bytes = 3_000_001;
        string address = topology.ServiceAddress(ipv6: ipv6);
        var get = LabTool.StartClient(topology.Clients[0], "get", new LoadOptions(LoadMode.Get, address) { Connections = 8, Bytes = bytes, Wait = true });
        var put = LabTool.StartClient(topology.Clients[0], "put", new LoadOptions(LoadMode.Put, address) { Connections = 8, Bytes = bytes, Seed = 100, Wait = true });
        await LoadRun.GoTogether(get, put);
        foreach (var run in (LoadRun[])[get, put])
        {
            var summary = await run.Finish();
            TestContext.Out.WriteLine(new LoadLine { Summary = summary });
            Assert.That(summary.Broken, Is.Zero);
            Assert.That(summary.MismatchedBytes, Is.Zero);
            Assert.That(summary.ShaVerified, Is.EqualTo(8));
            Assert.That(summary.Bytes, Is.GreaterThanOrEqualTo(8 * bytes));
            Assert.That(run.Connections, Has.Count.EqualTo(8));
        }
    }
}
