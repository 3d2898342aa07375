using Appliance.Control.Failover;
using Appliance.Control.Runtime;
using Appliance.DataPath.Balance;
using Appliance.DataPath.Memory;
using Appliance.DataPath.State;
using NUnit.Framework;
using Membership = Appliance.DataPath.Paths.Membership;

namespace Appliance.Tests.Failover;

/// <summary>What the sharer's workers are told of a proxy that dies, and of one that lives and loses a link.</summary>
[TestFixture]
public sealed class LivenessBridgeTests
{
    private const long Ms = LivenessCluster.Ms;

    private SpscQueue<SpliceCommand> _commands = null!;
    private Membership _membership = null!;

    [SetUp]
    public void Begin()
    {
        _commands = new SpscQueue<SpliceCommand>(64);
        _membership = new Membership([.. new[] { "gw1", "gw2", "gw3" }.Select(MaglevTable.NameHash)]);
    }

    [Test]
    public void A_proxy_that_loses_a_link_is_cut_off_and_not_dead([Values] bool isLate)
    {
        using var cluster = new LivenessCluster(3, 11);
        cluster.Nodes[0].Bridge = new LivenessBridge(cluster.Nodes[0].Core, 0, _membership, _commands);
        Settle(cluster);
        cluster.Nodes[2].Core.SetCarrier(Links.Internal, up: false, cluster.Now);
        cluster.Run(2 * Ms);
        if (isLate)
        {
            // The worker has not taken the table yet when the link is back, and so is the proxy.
            cluster.Nodes[2].Core.SetCarrier(Links.Internal, up: true, cluster.Now);
            cluster.Run(100 * Ms);
            Assert.That(Take(cluster.Now).Count(c => c.Kind == SpliceCommandKind.NodeCutOff), Is.EqualTo(1));
            return;
        }
        Assert.That(Take(cluster.Now), Is.EqualTo(new[] { (SpliceCommandKind.Membership, true), (SpliceCommandKind.NodeCutOff, false) }));
        Assert.That(_membership.Current!.Live, Is.EqualTo(7UL));
        Assert.That(_membership.Current.Usable, Is.EqualTo(3UL));
    }

    [Test]
    public void A_proxy_that_is_silent_on_a_link_is_cut_off_and_one_that_is_silent_everywhere_is_dead()
    {
        using var cluster = new LivenessCluster(3, 12);
        cluster.Nodes[0].Bridge = new LivenessBridge(cluster.Nodes[0].Core, 0, _membership, _commands);
        Settle(cluster);
        cluster.Cut = (from, to, link) => link == Links.External && (from == 2 || to == 2);
        cluster.Run(30 * Ms);
        Assert.That(Take(cluster.Now).Select(c => c.Kind), Does.Contain(SpliceCommandKind.NodeCutOff).And.Not.Contain(SpliceCommandKind.NodeDied));
        cluster.Run(30 * Ms);
        Take(cluster.Now);
        cluster.Stop(1);
        // Its links fall silent one after the other.
        List<SpliceCommandKind> told = [];
        for (int i = 0; i < 6; i++)
        {
            cluster.Run(5 * Ms);
            told.AddRange(Take(cluster.Now).Select(c => c.Kind));
        }
        Assert.That(told.Count(k => k == SpliceCommandKind.NodeDied), Is.EqualTo(1));
        Assert.That(told.LastIndexOf(SpliceCommandKind.NodeCutOff), Is.LessThan(told.IndexOf(SpliceCommandKind.NodeDied)));
    }

    [Test]
    public void A_proxy_that_leaves_goes_on_forwarding_and_is_not_cut_off()
    {
        using var cluster = new LivenessCluster(3, 13);
        cluster.Nodes[0].Bridge = new LivenessBridge(cluster.Nodes[0].Core, 0, _membership, _commands);
        Settle(cluster);
        cluster.Nodes[2].Core.SetLocal(new LocalState { Flags = NodeFlags.Proxy | NodeFlags.Refilled | NodeFlags.Ready | NodeFlags.Leaving, Workload = 1000 });
        cluster.Run(30 * Ms);
        Assert.That(Take(cluster.Now).Select(c => c.Kind), Has.All.EqualTo(SpliceCommandKind.Membership));
    }

    private void Settle(LivenessCluster cluster)
    {
        for (int i = 0; i < 40; i++)
        {
            cluster.Run(5 * Ms);
            Take(cluster.Now);
        }
        Assert.That(_membership.Current!.Usable, Is.EqualTo(7UL));
    }

    // As a worker does it; the second says whether a table was taken.
    private List<(SpliceCommandKind Kind, bool Taken)> Take(long now)
    {
        List<(SpliceCommandKind, bool)> taken = [];
        while (_commands.TryDequeue(out SpliceCommand command))
        {
            bool table = command.Kind == SpliceCommandKind.Membership;
            if (table) _membership.Apply(command.Node, now);
            taken.Add((command.Kind, table));
        }
        return taken;
    }
}
