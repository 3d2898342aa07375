using Appliance.Lab.Faults;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>An engine that is killed: its peers hear of it from its supervisor, and of its successor's start after that.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class EngineDeathTests
{
    [Test]
    public async Task A_supervisor_tells_the_peers_that_its_engine_is_dead()
    {
        // So patient that no silence is noticed first.
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Heartbeat = "20ms misses 10" });
        var victim = lab.Boxes[2];
        var peers = lab.Boxes.Take(2).ToList();
        // Twice: the second engine is a standby that was called.
        for (int i = 0; i < 2; i++)
        {
            ApplianceLab.WaitFor(() => victim.HasStandby, "a standby waits", () => victim.Log);
            var before = peers.Select(box => Deaths(box).Length).ToList();
            int pid = victim.EnginePid;
            ProcessFaults.KillProcess(pid);
            for (int peer = 0; peer < peers.Count; peer++)
            {
                var box = peers[peer];
                ApplianceLab.WaitFor(() => Deaths(box).Length > before[peer], "the death is logged", () => box.Log);
                Assert.That(Deaths(box)[before[peer]], Does.Contain("its supervisor announced the exit"), box.Log);
            }
            ApplianceLab.WaitFor(() => victim.EnginePid is not 0 and var next && next != pid && lab.Boxes.All(box => box.Agrees(["gw2", "gw3"], ["gw1", "gw2", "gw3"])), "its successor is used", () => victim.Log);
        }
    }

    private static string[] Deaths(ApplianceBox box) => [.. box.Log.Split('\n').Where(l => l.Contains("peer-died peer=gw3", StringComparison.Ordinal))];
}
