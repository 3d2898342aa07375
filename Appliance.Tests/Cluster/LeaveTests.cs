using Appliance.Lab.Load;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>SIGTERM: the box says that it leaves, forwards what still comes, and ends; nobody else is taken for dead, no segment is lost.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class LeaveTests
{
    /// <summary>Linux's least retransmission timeout: a lost segment of request or response would cost that.</summary>
    private const double LeastTimeoutMs = 200;

    [TestCase("by flow")]
    [TestCase("by packet 40")]
    public async Task A_leaving_proxy_loses_nothing(string share)
    {
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Share = share, Heartbeat = "20ms misses 10" });
        var load = ClusterLoad.Start(lab, new LoadOptions(LoadMode.Requests, ClusterTopology.VirtualAddress) { Connections = 10, Seconds = 4, IntervalMs = 2, Bins = true });
        ApplianceLab.WaitFor(() => load.Bins.Sum(b => b.Requests) > 200, "requests run");
        var leaver = lab.Boxes[2];
        Assert.That(leaver.Process!.Terminate(ApplianceLab.Patience), Is.True);
        Assert.That(leaver.Process.ExitCode, Is.Zero, leaver.Log);
        var summary = await load.Finish();
        ClusterLoad.AssertGood(lab, summary);
        Assert.That(summary.LongestSilenceMs, Is.LessThan(LeastTimeoutMs));
        foreach (var box in lab.Boxes.Take(2))
        {
            ApplianceLab.WaitFor(() => box.Log.Contains("it had announced that it leaves", StringComparison.Ordinal), "the peers log the leave", () => box.Log);
            string[] deaths = box.Log.Split('\n').Where(l => l.Contains("peer-died", StringComparison.Ordinal)).ToArray();
            Assert.That(deaths, Has.Length.EqualTo(1).And.All.Contains("gw3"), "nobody else is counted dead");
        }
    }
}
