using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>`by packet 40` gives each proxy its share, of one connection too, and nothing is relayed once its record is everywhere.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class SpreadTests
{
    [Test]
    public async Task Each_proxy_rewrites_its_share_and_a_slow_one_gets_less()
    {
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Proxies = 3, Share = "by packet 40" }, new ClusterOptions { ClientRate = "200mbit" });
        await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Get, ClusterTopology.VirtualAddress) { Connections = 3, Bytes = 20_000_000 }, shaVerified: 3);
        Assert.That(lab.Counter("relayedAfterRecord"), Is.Zero);
        double[] shares = Shares(lab, new long[3], out long[] counted);
        TestContext.Out.WriteLine(string.Join(' ', shares));
        var factors = Factors(lab);
        double total = factors.Sum();
        for (int i = 0; i < 3; i++)
        {
            Assert.That(shares[i], Is.EqualTo(factors[i] / total).Within(0.1), $"share of proxy {i + 1}");
        }

        ProcessFaults.CpuQuota(lab.Boxes[1].Host, 0.05);
        var load = ClusterLoad.Start(lab, new LoadOptions(LoadMode.Get, ClusterTopology.VirtualAddress) { Connections = 3, Bytes = 20_000_000 });
        bool shifted = false;
        while (!load.Process.HasExited)
        {
            shifted |= Factors(lab)[0] < 0.8 * Math.Max(Factors(lab)[1], Factors(lab)[2]);
            await Task.Delay(20);
        }
        ClusterLoad.AssertGood(lab, await load.Finish(), shaVerified: 3);
        ProcessFaults.CpuQuota(lab.Boxes[1].Host, null);
        double[] slow = Shares(lab, counted, out _);
        TestContext.Out.WriteLine(string.Join(' ', slow));
        Assert.That(shifted || slow[0] < shares[0], Is.True, "the slowed proxy was given less");
    }

    private static double[] Shares(ApplianceLab lab, long[] since, out long[] counted)
    {
        var all = lab.Proxies.Select(p => p.Counters().GetValueOrDefault("rewritten")).ToArray();
        counted = all;
        double sum = all.Zip(since, (a, s) => a - s).Sum();
        return all.Zip(since, (a, s) => (a - s) / sum).ToArray();
    }

    private static double[] Factors(ApplianceLab lab) => ApplianceBox.Rows(lab.Sharer.Show("peers"), "peers").Select(p => (double)p["factor"]!.GetValue<long>()).ToArray();
}
