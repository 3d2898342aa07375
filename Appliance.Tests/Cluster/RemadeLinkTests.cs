using Appliance.Control.Runtime;
using Appliance.DataPath.State;
using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>An interface that is deleted and made anew under the same name: the box says so, is not used meanwhile, and goes on with the new one.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class RemadeLinkTests
{
    [Test]
    public async Task A_lone_box_goes_on_with_the_new_interface()
    {
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Proxies = 1 });
        ApplianceBox box = lab.Boxes[0];
        int engine = box.EnginePid;
        var load = ClusterLoad.Start(lab, new LoadOptions(LoadMode.Requests, ClusterTopology.VirtualAddress) { Connections = 4, Count = 4000, IntervalMs = 1 });
        Until(box, () => box.Counters().GetValueOrDefault("splicesCreated") == 4, "all are joined");
        foreach (LinkRole role in (LinkRole[])[LinkRole.Internal, LinkRole.External])
        {
            Link link = LinkOf(box, role);
            LinkFaults.Remove(link);
            Until(box, () => StateOf(box, role) == "gone" && Logged(box, "link-gone", role) == 1, "it says that the interface is gone");
            LinkFaults.Remake(link);
            Until(box, () => StateOf(box, role) == "up" && Logged(box, "link-reopened", role) == 1, "it has opened the new one");
            int downs = Logged(box, "carrier-down", role);
            LinkFaults.PortDown(link);
            Until(box, () => StateOf(box, role) == "down" && Logged(box, "carrier-down", role) == downs + 1, "it follows the new one, and logs it without peers");
            LinkFaults.PortUp(link);
            Until(box, () => StateOf(box, role) == "up", "it is up again");
        }
        ClusterLoad.AssertGood(lab, await load.Finish());
        Assert.That(box.EnginePid, Is.EqualTo(engine), "the same engine");
    }

    [Test]
    public async Task A_proxy_is_not_used_meanwhile_and_all_its_workers_go_on()
    {
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Proxies = 2, Workers = 2 });
        ApplianceBox box = lab.Boxes[1];
        Link link = LinkOf(box, LinkRole.Internal);
        for (int round = 0; round < 2; round++)
        {
            LinkFaults.Remove(link);
            Until(box, () => !lab.Sharer.Uses("gw2"), "the sharer uses it no more");
            LinkFaults.Remake(link);
            Until(box, () => lab.Sharer.Uses("gw2"), "the sharer uses it again");
        }
        Link sync = LinkOf(box, LinkRole.Sync);
        bool Synced() => ApplianceBox.Rows(lab.Sharer.Show("peers"), "peers").Single(r => r["peer"]!.GetValue<string>() == "gw2")["links"]!.GetValue<string>().Contains("sync", StringComparison.Ordinal);
        LinkFaults.Remove(sync);
        Until(box, () => !Synced(), "nothing comes on sync");
        LinkFaults.Remake(sync);
        Until(box, Synced, "its sockets there need no more than their address");
        lab.WaitUsable();
        await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Short, ClusterTopology.VirtualAddress) { Connections = 4, Count = 200, Bytes = 1000 });
        Assert.That(box.Counters().GetValueOrDefault("splicesCreated"), Is.InRange(40, 160), ClusterLoad.Counters(box));
    }

    [Test]
    public async Task An_engine_that_is_started_anew_meanwhile_waits_for_the_interface()
    {
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Proxies = 1 });
        ApplianceBox box = lab.Boxes[0];
        Link link = LinkOf(box, LinkRole.External);
        LinkFaults.Remove(link);
        Until(box, () => StateOf(box, LinkRole.External) == "gone", "it is gone");
        box.Host.Run("kill", "-9", $"{box.EnginePid}");
        Until(box, () => box.Log.Contains("the engine waits for it", StringComparison.Ordinal), "the next engine waits");
        LinkFaults.Remake(link);
        lab.WaitUsable();
        Assert.That(RunState.Read(box.RunDirectory)!.Restarts.Engine, Is.EqualTo(1));
        await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Short, ClusterTopology.VirtualAddress) { Connections = 2, Count = 20, Bytes = 1000 });
    }

    private static Link LinkOf(ApplianceBox box, LinkRole role) => box.Host.Links.Single(l => l.Interface == $"eth{(int)role}");

    private static string? StateOf(ApplianceBox box, LinkRole role) =>
        ApplianceBox.Rows(box.Show("ports"), "ports").SingleOrDefault(r => r["link"]!.GetValue<string>() == NameOf(role))?["state"]!.GetValue<string>();

    private static string NameOf(LinkRole role) => role.ToString().ToLowerInvariant();

    private static int Logged(ApplianceBox box, string what, LinkRole role) =>
        box.Log.Split('\n').Count(l => l.Contains($" {what} link={NameOf(role)}", StringComparison.Ordinal));

    private static void Until(ApplianceBox box, Func<bool> holds, string what) => ApplianceLab.WaitFor(holds, what, () => box.Log);
}
