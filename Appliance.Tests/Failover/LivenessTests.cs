using Appliance.Control.Failover;
using Appliance.Control.Sealing;
using NUnit.Framework;

namespace Appliance.Tests.Failover;

[TestFixture]
public sealed class LivenessTests
{
    private const long Ms = LivenessCluster.Ms;

    [TestCase(2, false)]
    [TestCase(3, true)]
    [TestCase(5, false)]
    public void All_boxes_find_each_other_and_agree_on_the_table(int nodes, bool isSealed)
    {
        using var cluster = new LivenessCluster(nodes, 1, isSealed);
        cluster.Run(200 * Ms);
        ulong all = (1UL << nodes) - 1;
        foreach (LivenessNode node in cluster.Nodes)
        {
            Assert.That(node.Core.Alive, Is.EqualTo(all & ~(1UL << node.Id)));
            Assert.That(node.Core.Table, Is.EqualTo(all));
            Assert.That(node.Core.TableVersion, Is.EqualTo(cluster.Nodes[0].Core.TableVersion));
            Assert.That(node.Count(LivenessEventKind.NodeDied), Is.Zero);
        }
    }

    [Test]
    public void A_silent_death_is_noticed_within_the_bound_and_one_beat()
    {
        using var cluster = new LivenessCluster(3, 2);
        cluster.Run(200 * Ms);
        long at = cluster.Now;
        cluster.Stop(2);
        cluster.Run(100 * Ms);
        foreach (byte i in new byte[] { 0, 1 })
        {
            (long When, LivenessEvent Event) death = cluster.Nodes[i].Events.Single(e => e.Event.Kind == LivenessEventKind.NodeDied);
            Assert.That(death.Event.Node, Is.EqualTo(2));
            Assert.That(death.Event.Cause, Is.EqualTo(DeathCause.Silence));
            Assert.That(death.When - at, Is.InRange(9 * Ms, 16 * Ms));
            Assert.That(cluster.Nodes[i].Core.Table, Is.EqualTo(3UL));
        }
    }

    [Test]
    public void A_told_death_counts_at_once_and_late_beats_do_not_undo_it()
    {
        using var cluster = new LivenessCluster(3, 3);
        cluster.Run(200 * Ms);
        long at = cluster.Now;
        cluster.Stop(2);
        cluster.Nodes[0].Core.Told(2, 0, DeathCause.ConnectionClosed, at);
        Assert.That(cluster.Nodes[0].Core.Alive, Is.EqualTo(2UL));
        Assert.That(cluster.Nodes[0].Core.Table, Is.EqualTo(3UL));
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes[0].Events.Count(e => e.At >= at && e.Event.Kind == LivenessEventKind.NodeUp), Is.Zero);
        Assert.That(cluster.Nodes[0].Events.Last(e => e.Event.Kind == LivenessEventKind.NodeDied).Event.Cause, Is.EqualTo(DeathCause.ConnectionClosed));
    }

    [Test]
    public void The_last_beat_ends_an_incarnation_and_no_other([Values] bool isSealed)
    {
        using var cluster = new LivenessCluster(3, 8, isSealed);
        byte[] last = new byte[2048];
        int length = cluster.Nodes[2].Core.SealLastBeat(last);
        cluster.Run(200 * Ms);
        cluster.Stop(2);
        LivenessCore survivor = cluster.Nodes[0].Core;
        Assert.That(survivor.Receive(Links.External, last.AsSpan(0, length), cluster.Now), Is.EqualTo(RejectReason.Malformed), "it is said over sync");
        Assert.That(survivor.Alive, Is.EqualTo(6UL));
        byte[] wrong = [.. last[..length]];
        wrong[^1] ^= 1;
        Assert.That(survivor.Receive(Links.Sync, wrong, cluster.Now), Is.Not.EqualTo(RejectReason.None));
        Assert.That(cluster.Nodes[1].Core.Receive(Links.Sync, last.AsSpan(0, length), cluster.Now), Is.EqualTo(RejectReason.None));
        cluster.Run(2 * Ms);
        Assert.That(cluster.Nodes[1].Core.Alive, Is.EqualTo(1UL));
        Assert.That(cluster.Nodes[1].Events.Last(e => e.Event.Kind == LivenessEventKind.NodeDied).Event.Cause, Is.EqualTo(DeathCause.Supervisor));
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes[1].Core.Alive, Is.EqualTo(1UL), "what it had sent before does not wake it");
        cluster.Start(2);
        cluster.Run(200 * Ms);
        Assert.That(cluster.Nodes[1].Core.Alive, Is.EqualTo(5UL), "its successor is another");
        Assert.That(cluster.Nodes[1].Core.Receive(Links.Sync, last.AsSpan(0, length), cluster.Now), Is.EqualTo(RejectReason.OldIncarnation));
        Assert.That(cluster.Nodes[1].Core.Alive, Is.EqualTo(5UL));
    }

    [Test]
    public void A_pause_of_all_boxes_at_once_is_no_death([Values(20, 50, 200, 1000)] int pauseMs, [Range(1, 10)] int seed)
    {
        using var cluster = new LivenessCluster(2 + seed % 3, seed);
        cluster.Run(200 * Ms + seed * 700_000);
        foreach (LivenessNode node in cluster.Nodes) node.AwayUntil = cluster.Now + pauseMs * Ms + cluster.Random.NextInt64(2 * Ms);
        cluster.Run((pauseMs + 200) * Ms);
        foreach (LivenessNode node in cluster.Nodes)
        {
            Assert.That(node.Count(LivenessEventKind.NodeDied), Is.Zero, $"seed {seed}");
            Assert.That(node.Count(LivenessEventKind.OwnPause), Is.EqualTo(1));
            Assert.That(node.Events.Single(e => e.Event.Kind == LivenessEventKind.PauseResolved).Event.Value, Is.Zero);
        }
    }

    [Test]
    public void A_box_that_was_away_alone_learns_that_it_was_counted_dead()
    {
        using var cluster = new LivenessCluster(3, 4);
        cluster.Run(200 * Ms);
        LivenessNode away = cluster.Nodes[1];
        away.AwayUntil = cluster.Now + 5000 * Ms;
        cluster.Run(5100 * Ms);
        Assert.That(away.Count(LivenessEventKind.NodeDied), Is.Zero);
        Assert.That(away.Events.Single(e => e.Event.Kind == LivenessEventKind.PauseResolved).Event.Value, Is.EqualTo(1));
        Assert.That(cluster.Nodes[0].Count(LivenessEventKind.NodeDied), Is.EqualTo(1));
        Assert.That(cluster.Nodes[0].Core.Table, Is.EqualTo(7UL), "it is used again");
        Assert.That(away.Core.IsAsking, Is.False);
    }

    [Test]
    public void A_box_alone_goes_on_after_a_pause()
    {
        using var cluster = new LivenessCluster(2, 5);
        cluster.Stop(1);
        cluster.Run(200 * Ms);
        cluster.Nodes[0].AwayUntil = cluster.Now + 100 * Ms;
        cluster.Run(200 * Ms);
        Assert.That(cluster.Nodes[0].Events.Single(e => e.Event.Kind == LivenessEventKind.PauseResolved).Event.Value, Is.Zero);
    }

    [Test]
    public void One_dead_link_takes_a_proxy_out_of_the_table_but_it_is_not_dead([Values(0, 1)] int link)
    {
        using var cluster = new LivenessCluster(3, 6);
        cluster.Run(200 * Ms);
        cluster.Cut = (from, to, l) => l == link && (from == 2 || to == 2);
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes[0].Core.Table, Is.EqualTo(3UL));
        Assert.That(cluster.Nodes.Sum(n => n.Count(LivenessEventKind.NodeDied)), Is.Zero);
        cluster.Cut = (_, _, _) => false;
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes.Select(n => n.Core.Table), Is.All.EqualTo(7UL));
    }

    [Test]
    public void A_lost_carrier_is_told_by_the_box_itself()
    {
        using var cluster = new LivenessCluster(3, 7);
        cluster.Run(200 * Ms);
        cluster.Nodes[2].Core.SetCarrier(Links.Internal, up: false, cluster.Now);
        cluster.Nodes[2].Next = cluster.Now;
        cluster.Run(2 * Ms);
        Assert.That(cluster.Nodes[0].Core.Table, Is.EqualTo(3UL));
    }

    [Test]
    public void A_restart_is_the_death_of_the_previous_incarnation_and_needs_no_silence()
    {
        using var cluster = new LivenessCluster(3, 8, isSealed: true);
        cluster.Run(200 * Ms);
        cluster.Nodes[1].Core.Dispose();
        cluster.Start(1);
        cluster.Run(12 * Ms);
        Assert.That(cluster.Nodes[0].Events.Single(e => e.Event.Kind == LivenessEventKind.NodeDied).Event.Cause, Is.EqualTo(DeathCause.Restarted));
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes[0].Core.Table, Is.EqualTo(7UL));
        Assert.That(cluster.Nodes[1].Core.TableVersion, Is.EqualTo(cluster.Nodes[0].Core.TableVersion));
    }

    [Test]
    public void A_new_sharer_goes_beyond_the_versions_that_it_hears_and_without_one_the_table_stays()
    {
        using var cluster = new LivenessCluster(3, 9);
        cluster.Run(200 * Ms);
        ulong version = cluster.Nodes[1].Core.TableVersion;
        cluster.Stop(0);
        cluster.Run(200 * Ms);
        Assert.That(cluster.Nodes[1].Core.Table, Is.EqualTo(7UL), "no sharer: the last table stays");
        cluster.Start(0);
        cluster.Run(200 * Ms);
        Assert.That(cluster.Nodes[0].Core.TableVersion, Is.GreaterThan(version));
        Assert.That(cluster.Nodes.Select(n => (n.Core.TableVersion, n.Core.Table)).Distinct().Count(), Is.EqualTo(1));
        Assert.That(cluster.Nodes[0].Core.Table, Is.EqualTo(7UL));
    }

    [Test]
    public void A_box_whose_workers_stand_still_stops_beating()
    {
        using var cluster = new LivenessCluster(2, 10);
        cluster.Run(200 * Ms);
        cluster.Nodes[1].WorkersStuck = true;
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes[0].Core.Alive, Is.Zero);
        Assert.That(cluster.Nodes[1].Core.Withheld, Is.GreaterThan(0));
    }

    [Test]
    public void Clocks_that_differ_raise_an_alarm()
    {
        using var cluster = new LivenessCluster(2, 11);
        cluster.Nodes[1].WallOffset = 33_000;
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes[0].Count(LivenessEventKind.ClockSkew), Is.EqualTo(1));
        cluster.Nodes[1].WallOffset = 0;
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes[0].Count(LivenessEventKind.ClockAgrees), Is.EqualTo(1));
    }

    [Test]
    public void Another_configuration_is_told_once_for_each_and_nobody_is_left_out_for_it()
    {
        using var cluster = new LivenessCluster(3, 12, isSealed: true);
        cluster.Run(200 * Ms);
        LivenessNode first = cluster.Nodes[0];
        ulong[] Told() => [.. first.Events.Where(e => e.Event.Kind is LivenessEventKind.ConfigurationDiffers or LivenessEventKind.ConfigurationAgrees).Select(e => e.Event.Value)];
        Assert.That(Told(), Is.Empty);
        foreach (ulong next in (ulong[])[5, 5, 6, 0])
        {
            cluster.Configuration = next;
            cluster.Nodes[1].Core.Dispose();
            cluster.Start(1);
            cluster.Run(200 * Ms);
            Assert.That(first.Core.Table, Is.EqualTo(7UL));
        }
        Assert.That(Told(), Is.EqualTo(new ulong[] { 5, 6, 0 }), "once, though it was started twice with the first");
        Assert.That(first.Count(LivenessEventKind.ConfigurationAgrees), Is.EqualTo(1));
        Assert.That(cluster.Nodes[2].Count(LivenessEventKind.ConfigurationDiffers), Is.EqualTo(2));
    }

    [Test]
    public void A_second_box_with_the_same_name_is_told_once_and_a_recording_is_not([Values] bool isSealed)
    {
        using var cluster = new LivenessCluster(2, 13, isSealed);
        cluster.Run(200 * Ms);
        byte[][] earlier = Heard(cluster, LivenessCluster.Wall, isSealed), now = Heard(cluster, LivenessCluster.Wall + cluster.Now / Ms, isSealed);
        LivenessNode box = cluster.Nodes[1];
        foreach (byte[] datagram in earlier) box.Receive(Links.External, datagram, cluster.Now);
        Assert.That(box.Count(LivenessEventKind.NameTaken), Is.Zero, "it may have sent this itself, before it was started again");
        cluster.Run(2_000 * Ms);
        foreach (byte[] datagram in now) box.Receive(Links.External, datagram, cluster.Now);
        Assert.That(box.Count(LivenessEventKind.NameTaken), Is.EqualTo(1));
        Assert.That(box.Core.Rejected[(int)RejectReason.OwnName], Is.EqualTo(earlier.Length + now.Length));
        cluster.Run(100 * Ms);
        Assert.That(box.Count(LivenessEventKind.NodeDied), Is.Zero);
    }

    [Test]
    public void A_box_with_our_number_in_another_list_is_told_as_that([Values] bool isSealed)
    {
        using var cluster = new LivenessCluster(2, 14, isSealed);
        cluster.Run(200 * Ms);
        LivenessNode box = cluster.Nodes[1];
        byte[][] now = Heard(cluster, LivenessCluster.Wall + cluster.Now / Ms, isSealed, nodeList: 43);
        foreach (byte[] datagram in now) box.Receive(Links.External, datagram, cluster.Now);
        Assert.That(box.Count(LivenessEventKind.NameTaken), Is.Zero);
        Assert.That(box.Events.Where(e => e.Event.Kind == LivenessEventKind.NodeListDiffers).Select(e => e.Event.Node), Is.EqualTo(new byte[] { 1 }));
    }

    // What a second box 1 says to everybody on the external link in 50 ms.
    private static byte[][] Heard(LivenessCluster cluster, long wallMs, bool isSealed, uint nodeList = 42)
    {
        ClusterKeys keys = isSealed ? new ClusterKeys("0123456789abcdef"u8) : ClusterKeys.Unsealed;
        var salt = new byte[Incarnation.SaltBytes];
        cluster.Random.NextBytes(salt);
        var said = new Recorder();
        using var twin = new LivenessCore(new LivenessOptions { Self = 1, Peers = 3, NodeListHash = nodeList }, new Incarnation(salt), keys, said, cluster.Now, cluster.Random);
        for (long t = 0; t < 50; t++)
        {
            twin.WorkersAdvanced(cluster.Now + t * Ms);
            twin.Step(cluster.Now + t * Ms, wallMs + t);
        }
        return [.. said.External];
    }

    private sealed class Recorder : IBeatOutput
    {
        public List<byte[]> External { get; } = [];

        public void SendBeat(byte link, byte receiver, ReadOnlySpan<byte> datagram)
        {
            if (link == Links.External) External.Add(datagram.ToArray());
        }
    }

    [Test]
    public void Nobody_dies_without_silence([Range(1, 40)] int seed)
    {
        using var cluster = new LivenessCluster(2 + seed % 4, seed) { Loss = 0.05 };
        cluster.Run(100 * Ms);
        for (int i = 0; i < 40; i++)
        {
            // Pauses below the bound, on one box at a time, now and then.
            LivenessNode node = cluster.Nodes[cluster.Random.Next(cluster.Nodes.Length)];
            if (cluster.Random.Next(2) == 0) node.AwayUntil = cluster.Now + cluster.Random.NextInt64(4 * Ms);
            cluster.Run(20 * Ms);
        }
        // Three links lose one beat in twenty each: all of nine beats in a row is not what happens in 40 * 20 ms.
        Assert.That(cluster.Nodes.Sum(n => n.Count(LivenessEventKind.NodeDied)), Is.Zero, $"seed {seed}");
        cluster.Loss = 0;
        cluster.Run(100 * Ms);
        Assert.That(cluster.Nodes.Select(n => n.Core.Table).Distinct().Count(), Is.EqualTo(1), $"seed {seed}");
    }
}
