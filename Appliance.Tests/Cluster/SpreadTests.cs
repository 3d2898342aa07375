using System.Diagnostics;
using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>`by packet 40` gives each proxy its share, of one connection too, and nothing is relayed once its record is everywhere; a slowed proxy gets less within a second.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class SpreadTests
{
    private const int Proxies = 3;

    private static ApplianceLab Start() => ApplianceLab.Start(
        new ApplianceOptions { Proxies = Proxies, Share = "by packet 40", Heartbeat = "20ms misses 15" }, new ClusterOptions { ClientRate = "400mbit" });

    private static LoadOptions Gets => new(LoadMode.Get, ClusterTopology.VirtualAddress) { Connections = 3, Bytes = 60_000_000 };

    [Test]
    public async Task Each_proxy_rewrites_its_share_and_nothing_is_relayed_after_its_record()
    {
        await using var lab = Start();
        long[] before = Rewritten(lab);
        var load = ClusterLoad.Start(lab, Gets);
        var said = new List<double[]>();
        do
        {
            double[] factors = Factors(lab);
            said.Add([.. factors.Select(f => f / factors.Sum())]);
        }
        while (!load.Process.WaitForExit(TimeSpan.FromMilliseconds(50)));
        ClusterLoad.AssertGood(lab, await load.Finish(), shaVerified: 3);
        Assert.That(lab.Counter("relayedAfterRecord"), Is.Zero);
        double[] shares = Shares(before, Rewritten(lab));
        for (int i = 0; i < Proxies; i++)
        {
            double due = said.Average(f => f[i]);
            TestContext.Out.WriteLine($"proxy {i + 1}: rewrote {shares[i]:f3} of the frames, its factors give {due:f3}");
            Assert.That(shares[i], Is.EqualTo(due).Within(10).Percent, $"share of proxy {i + 1}");
        }
    }

    [Test]
    public async Task A_slowed_proxy_is_handed_less()
    {
        await using var lab = Start();
        var load = ClusterLoad.Start(lab, Gets);
        double fair = Window(lab, 1000)[0];
        var clock = Stopwatch.StartNew();
        ProcessFaults.CpuQuota(lab.Boxes[1].Host, 0.1);
        try
        {
            double share = fair;
            ApplianceLab.WaitFor(() => (share = Window(lab, 400)[0]) < 0.7 * fair && Factors(lab) is var factors && factors[0] < 0.7 * factors.Skip(1).Min(), "the share shifts", () => string.Join('\n', lab.Boxes.Select(ClusterLoad.Counters)));
            TestContext.Out.WriteLine($"share {fair:f3}, {clock.ElapsedMilliseconds} ms after the quota {share:f3}, factors {string.Join(' ', Factors(lab))}");
        }
        finally
        {
            ProcessFaults.CpuQuota(lab.Boxes[1].Host, null);
        }
        ClusterLoad.AssertGood(lab, await load.Finish(), shaVerified: 3);
        Assert.That(lab.Sharer.Log, Does.Not.Contain("is dead"), "slow is not dead");
    }

    /// <summary>Shares of the next frames that the sharer hands on.</summary>
    private static double[] Window(ApplianceLab lab, int frames)
    {
        long[] before = Handed(lab), after = before;
        ApplianceLab.WaitFor(() => (after = Handed(lab)).Sum() >= before.Sum() + frames, "frames are handed on");
        return Shares(before, after);
    }

    private static double[] Shares(long[] before, long[] after) => [.. after.Zip(before, (a, b) => (double)(a - b) / (after.Sum() - before.Sum()))];

    private static long[] Rewritten(ApplianceLab lab) => [.. lab.Proxies.Select(p => p.Counters().GetValueOrDefault("rewritten"))];

    private static long[] Handed(ApplianceLab lab)
    {
        var counters = lab.Sharer.Counters();
        return [.. lab.Proxies.Select(p => counters.GetValueOrDefault("handed." + lab.Name(p)))];
    }

    private static double[] Factors(ApplianceLab lab) => [.. ApplianceBox.Rows(lab.Sharer.Show("peers"), "peers").Select(p => (double)p["factor"]!.GetValue<long>())];
}
