using Appliance.Control.Runtime;
using Appliance.Lab.Load;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>The engine's own count of what its threads allocate (statistics segment) stands still under load: worker, liveness, replication.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class AllocationTests
{
    [Test]
    public async Task Threads_of_the_engine_allocate_nothing_under_load()
    {
        await using var lab = ApplianceLab.Start(new ApplianceOptions { Share = "by packet 40", Heartbeat = "20ms misses 10" });
        // What a first run touches first is made once in a process.
        await Load(lab);
        var before = lab.Boxes.Select(Allocated).ToList();
        await Load(lab);
        var after = lab.Boxes.Select(Allocated).ToList();
        TestContext.Out.WriteLine($"{string.Join(' ', before)} before, {string.Join(' ', after)} after");
        Assert.That(lab.Counter("splicesImported"), Is.Positive);
        Assert.That(after, Is.EqualTo(before), "bytes of worker, liveness, replication");
    }

    private static async Task Load(ApplianceLab lab)
    {
        await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Put, ClusterTopology.VirtualAddress) { Connections = 4, Bytes = 5_000_000 });
        await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Get, ClusterTopology.VirtualAddress) { Connections = 4, Bytes = 5_000_000 });
        await ClusterLoad.Good(lab, new LoadOptions(LoadMode.Short, lab.Topology.ServiceAddress(ipv6: true)) { Connections = 4, Count = 200, Bytes = 1000 });
    }

    private static (long Worker, long Liveness, long Replication) Allocated(ApplianceBox box)
    {
        using EngineView engine = EngineView.Open(box.RunDirectory)!;
        EngineHeader header = engine.Status.Header;
        // The count is published every 50 ms.
        ApplianceLab.WaitFor(() => engine.Status.Header.UpdatedWallMs > header.UpdatedWallMs + 200, "the engine publishes");
        header = engine.Status.Header;
        return (engine.Status.Workers.Sum(worker => worker.Allocated), header.LivenessAllocated, header.ReplicationAllocated);
    }
}
