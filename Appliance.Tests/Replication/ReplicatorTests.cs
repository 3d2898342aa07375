using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Replication;

[TestFixture]
public sealed class ReplicatorTests
{
    private const long Ms = SyncCluster.Ms;

    [TestCase(2, true)]
    [TestCase(3, true)]
    [TestCase(5, false)]
    public void A_change_arrives_at_every_peer_at_once_and_is_confirmed(int nodes, bool isSealed)
    {
        using var cluster = new SyncCluster(nodes, 1, isSealed);
        cluster.AllLive();
        cluster.Run(50 * Ms);
        Assert.That(cluster.Nodes.All(n => n.Replicator.IsRefilled && n.Replicator.Live != 0), Is.True);

        SpliceRecord record = ModelTable.RandomRecord(cluster.Random, 0, 77);
        cluster.Nodes[0].Change(record, ModelTable.RandomProgress(cluster.Random), wantsConfirm: true);
        cluster.Run(200_000);
        Assert.That(cluster.Nodes.All(n => n.Table.Records.ContainsKey(77)), Is.True);
        Assert.That(cluster.Nodes[0].Table.Confirmations, Does.Contain((RecordKind.Splice, 77UL, 1U)));
        Assert.That(cluster.Nodes[0].Replicator.HeldByAny(1, cluster.Nodes[0].Replicator.LastStamp), Is.True);
    }

    [Test]
    public void A_joining_peer_is_refilled_before_it_says_so()
    {
        using var cluster = new SyncCluster(3, 2, isSealed: true);
        cluster.AllLive();
        cluster.Run(50 * Ms);
        for (ulong id = 1; id <= 5000; id++) cluster.Nodes[(int)(id % 3)].Change(ModelTable.RandomRecord(cluster.Random, (byte)(id % 3), id), ModelTable.RandomProgress(cluster.Random));
        cluster.Run(50 * Ms);
        Assert.That(cluster.Difference(), Is.Null);

        cluster.Restart(1);
        Assert.That(cluster.Nodes[1].Replicator.IsRefilled, Is.False);
        cluster.Run(500 * Ms);
        Assert.That(cluster.Nodes[1].Replicator.IsRefilled, Is.True);
        Assert.That(cluster.Nodes[1].Table.Records, Has.Count.EqualTo(5000));
        Assert.That(cluster.Difference(), Is.Null);
    }
}
