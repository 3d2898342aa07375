using Appliance.DataPath.Paths;
using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Simulation;

/// <summary>
/// A cluster of whole boxes (a sharer, three proxies, sealed beats and records) allocates nothing on the managed heap:
/// the workers never, liveness and replication only while somebody joins. Frames of fixed forms (fragments, ICMP, strays) are in
/// the tests of paths.
/// </summary>
[TestFixture]
public class AllocationTests
{
    private const int MessagesWanted = 1_000_000;

    private static readonly LinkProfile Links = new() { DelayNs = 200 * SimWorld.Microsecond, LossPpm = 5_000, ReorderPpm = 20_000, ReorderNs = 300 * SimWorld.Microsecond, DuplicatePpm = 5_000 };

    private static readonly Counter[] Seen =
    [
        Counter.SynReceived, Counter.CookiesSent, Counter.CookiesAccepted, Counter.HandshakesStarted, Counter.HeadsComplete, Counter.BackendSyns,
        Counter.BackendSynAcks, Counter.SplicesCreated, Counter.SplicesImported, Counter.SplicesClosed, Counter.SplicesReset,
        Counter.HandedToPeers, Counter.Relayed, Counter.EarlyAcks, Counter.OwnedRetransmissions, Counter.ConfirmationsReceived, Counter.ArpAnswered, Counter.NeighborRequests,
        Counter.ProbesAnswered, Counter.TimersFired,
    ];

    [Test]
    public void A_settled_cluster_allocates_nothing()
    {
        var sum = new Sum();
        // What the first run touches first (tables of types, of the cipher) is made once in a process.
        Run(1, faults: 0, new Sum());
        for (ulong seed = 2; sum.Messages < MessagesWanted; seed++) Run(seed, faults: 0, sum);
        TestContext.Out.WriteLine(sum);
        Assert.That((sum.Worker, sum.Liveness, sum.Replication), Is.EqualTo((0L, 0L, 0L)), sum.ToString());
        foreach (Counter counter in Seen) Assert.That(sum[counter], Is.Positive, counter.ToString());
    }

    [Test]
    public void When_boxes_die_and_join_workers_allocate_nothing_and_the_others_a_bounded_amount()
    {
        // A key of a new salt, and what it replaces.
        const int bytesPerKey = 2000;
        var sum = new Sum();
        Run(1, faults: 6, new Sum());
        for (ulong seed = 2; seed < 10; seed++) Run(seed, faults: 6, sum);
        TestContext.Out.WriteLine(sum);
        Assert.That(sum.Faults, Is.Positive);
        Assert.That(sum.Worker, Is.Zero, sum.ToString());
        Assert.That(sum.Liveness + sum.Replication + sum.Joining, Is.LessThanOrEqualTo(sum.Keys * bytesPerKey), sum.ToString());
        foreach (Counter counter in (Counter[])[Counter.Replayed, Counter.RelayedOn, Counter.QueriesSent, Counter.HandshakesTakenOver]) Assert.That(sum[counter], Is.Positive, counter.ToString());
    }

    private static void Run(ulong seed, int faults, Sum sum)
    {
        BoxPlan? plan = null;
        ScenarioOptions options = BoxScenarios.Cluster(ShareMode.ByFlow, acked: true) with
        {
            Name = "allocation",
            Faults = faults,
            Connections = faults > 0 ? 20 : 100,
            LingerNs = SimWorld.Second,
            MaxThinkNs = 20 * SimWorld.Millisecond,
            External = Links,
            Internal = Links,
            FaultStates = BoxStates.Required,
            MayHit = BoxScenarios.OneAtATime,
            StartSpreadNs = faults > 0 ? 3 * SimWorld.Second : SimWorld.Second,
            Offloads = seed % 2 == 0,
            Sync = new DatagramProfile { LossPpm = 20_000, DuplicatePpm = 5_000, ReorderPpm = 20_000 },
            Boxes = scenario => plan = AddBoxes(scenario, seed % 3 == 0 ? ShareMode.ByPacket : ShareMode.ByFlow),
            Finish = scenario =>
            {
                // Longer than a record stays after a reset.
                if (faults == 0) scenario.World.RunUntil(scenario.World.Now + 11 * SimWorld.Second);
                foreach (BoxNode box in scenario.Boxes.Concat(scenario.Spared).Cast<BoxNode>().Where(b => b.IsAlive)) sum.Add(box.Box.Statistics);
                BoxScenarios.Finish(scenario);
            },
        };
        ScenarioResult result = ScenarioRunner.Run(seed, options);
        sum.Add(plan!.Meter);
        sum.Faults += result.FaultsFired;
    }

    private static BoxPlan AddBoxes(Scenario scenario, ShareMode share)
    {
        const int proxies = 3;
        var plan = new BoxPlan { Roles = [.. Enumerable.Repeat(BoxRoles.Proxy, proxies), BoxRoles.Sharer], Services = BoxScenarios.DrawServices(scenario, share, acked: true), Sealed = true };
        for (int i = 0; i < proxies; i++) scenario.AddBox(new BoxNode(scenario, i, plan));
        scenario.AddSpared(new BoxNode(scenario, proxies, plan));
        return plan;
    }

    private sealed class Sum
    {
        private readonly long[] _counters = new long[Statistics.CounterRoom];

        public long Worker { get; private set; }

        public long Liveness { get; private set; }

        public long Replication { get; private set; }

        public long Joining { get; private set; }

        public long Messages => this[Counter.Received] + ControlCalls;

        public long ControlCalls { get; private set; }

        public long Faults { get; set; }

        public long Keys { get; private set; }

        public long this[Counter counter] => _counters[(int)counter];

        public void Add(Statistics statistics)
        {
            foreach (Counter counter in Enum.GetValues<Counter>()) _counters[(int)counter] += statistics[counter];
        }

        public void Add(AllocationMeter meter)
        {
            Worker += meter[Component.Worker];
            Liveness += meter[Component.Liveness];
            Replication += meter[Component.Replication];
            Keys += meter.Keys;
            Joining += meter.WhileJoining(Component.Liveness) + meter.WhileJoining(Component.Replication);
            ControlCalls += meter.Calls(Component.Liveness) + meter.Calls(Component.Replication);
        }

        public override string ToString() =>
            $"{Messages} messages ({this[Counter.Received]} frames); worker {Worker} B, liveness {Liveness} B, replication {Replication} B, while joining {Joining} B, {Keys} keys; {Faults} faults; "
            + string.Join(' ', Enum.GetValues<Counter>().Where(c => this[c] != 0).Select(c => $"{c}={this[c]}"));
    }
}
