using Appliance.Lab.Load;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>What the service is for: bytes both ways, whole, over IPv4 and IPv6, in both sharing modes.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class FunctionTests
{
    [TestCase("by flow", 2, 1)]
    [TestCase("by packet 40", 2, 1)]
    [TestCase("by packet 40", 2, 2)]
    [TestCase("by flow", 1, 3)]
    public async Task Bytes_arrive_whole_both_ways(string share, int proxies, int workers)
    {
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Share = share, Proxies = proxies, Workers = workers });
        foreach (bool ipv6 in (bool[])[false, true])
        {
            foreach (var mode in (LoadMode[])[LoadMode.Get, LoadMode.Put])
            {
                await ClusterLoad.Good(lab, new LoadOptions(mode, lab.Topology.ServiceAddress(ipv6: ipv6)) { Connections = 4, Bytes = 5_000_000 }, shaVerified: 4);
            }
            await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Requests, lab.Topology.ServiceAddress(ipv6: ipv6)) { Connections = 4, Count = 100 });
            await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Short, lab.Topology.ServiceAddress(ipv6: ipv6)) { Connections = 4, Count = 100, Bytes = 1000 });
        }
        ClusterLoad.ChecksumsGood(lab);
    }
}
