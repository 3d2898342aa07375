using Appliance.Control.Failover;
using NUnit.Framework;

namespace Appliance.Tests.Failover;

[TestFixture]
public sealed class VrrpCoreTests
{
    private static VrrpLink Pair(byte first = 200, byte second = 100, bool preempt = true)
    {
        var link = new VrrpLink(1, VrrpLink.Options(0, first, preempt), VrrpLink.Options(1, second, preempt));
        foreach (VrrpLink.Router router in link.Routers) router.Start();
        return link;
    }

    [Test]
    public void Nobody_there_the_highest_becomes_active_after_the_silence_state_before_address()
    {
        VrrpLink link = Pair();
        // 3 x 10 ms and (256 - 200) / 256 of 10 ms.
        link.Run(32);
        Assert.That(link.Active, Is.Empty);
        link.Run(1);
        Assert.That(link.Active, Is.EqualTo(new[] { 0 }));
        Assert.That(link.Routers[0].Did.Take(4), Is.EqualTo(new[] { "Backup Started", "Active Silence", "advert 200", "announce" }));
        link.Run(7000);
        Assert.That(link.Active, Is.EqualTo(new[] { 0 }));
        Assert.That(link.Routers[1].Core.ActiveSource, Is.EqualTo(link.Routers[0].Options.Source));
        Assert.That(link.Routers[0].Did.Count(d => d == "announce"), Is.EqualTo(4), "repeated, and not for ever");
        Assert.That(link.Routers[1].Did, Is.EqualTo(new[] { "Backup Started" }));
    }

    [Test]
    public void The_owner_of_the_addresses_is_active_at_once()
    {
        var link = new VrrpLink(1, VrrpLink.Options(0, 255));
        link.Routers[0].Start();
        Assert.That(link.Routers[0].Did, Is.EqualTo(new[] { "Active Owner", "advert 255", "announce" }));
    }

    [TestCase(true)]
    [TestCase(false)]
    public void A_higher_one_that_comes_back_preempts_if_it_may(bool preempt)
    {
        VrrpLink link = Pair(preempt: preempt);
        link.Run(100);
        link.Routers[0].Pause();
        link.Run(100);
        Assert.That(link.Active, Is.EqualTo(new[] { 1 }));
        link.Routers[0].Restart();
        link.Run(200);
        Assert.That(link.Active, Is.EqualTo(new[] { preempt ? 0 : 1 }));
    }

    [Test]
    public void One_that_stops_says_so_and_the_next_waits_for_its_skew_only()
    {
        VrrpLink link = Pair();
        link.Run(100);
        long before = link.Now;
        link.Routers[0].Core.Stop(link.Now);
        link.Run(20);
        Assert.That(link.Routers[0].Did[^2..], Is.EqualTo(new[] { "advert 0", "Initialize Stopped" }));
        Assert.That((link.Routers[1].Core.State, link.Routers[1].Core.Cause), Is.EqualTo((VrrpState.Active, VrrpCause.Resigned)));
        // (256 - 100) / 256 of 10 ms, and the way.
        Assert.That(link.Routers[1].Core.Since - before, Is.InRange(6_000_000, 7_000_000));
    }

    [Test]
    public void A_box_that_is_known_to_be_dead_is_not_waited_for()
    {
        VrrpLink link = Pair();
        link.Run(100);
        link.Routers[0].Pause();
        long before = link.Now;
        link.Routers[1].Core.Died(VrrpLink.Parse("192.0.2.99"), link.Now);
        link.Routers[1].Core.Died(link.Routers[0].Options.Source, link.Now);
        link.Run(20);
        Assert.That((link.Routers[1].Core.State, link.Routers[1].Core.Cause), Is.EqualTo((VrrpState.Active, VrrpCause.ActiveDied)));
        Assert.That(link.Routers[1].Core.Since - before, Is.InRange(6_000_000, 6_200_000));
    }

    [Test]
    public void Between_equals_the_higher_address_stays()
    {
        VrrpLink link = Pair(100, 100);
        link.Cut.UnionWith([(0, 1), (1, 0)]);
        link.Run(100);
        Assert.That(link.Active, Is.EqualTo(new[] { 0, 1 }));
        link.Cut.Clear();
        link.Run(30);
        Assert.That(link.Active, Is.EqualTo(new[] { 1 }));
        Assert.That(link.Routers[0].Core.Cause, Is.EqualTo(VrrpCause.Preempted));
    }

    [Test]
    public void An_active_one_answers_a_lower_one_at_once()
    {
        VrrpLink link = Pair();
        link.Run(100);
        link.Cut.Add((0, 1));
        link.Run(60);
        Assert.That(link.Active, Is.EqualTo(new[] { 0, 1 }), "half a link");
        foreach (long other in link.Routers[1].AdvertsAt) Assert.That(link.Routers[0].AdvertsAt, Has.Some.InRange(other, other + 600_000));
        link.Cut.Clear();
        link.Run(20);
        Assert.That(link.Active, Is.EqualTo(new[] { 0 }));
    }

    [Test]
    public void One_that_is_not_fit_does_not_volunteer_and_gives_way()
    {
        VrrpLink link = Pair();
        link.Routers[1].Core.IsFit = false;
        link.Run(100);
        link.Routers[0].Pause();
        link.Run(200);
        Assert.That(link.Active, Is.Empty);
        Assert.That(link.Routers[1].Core.Withheld, Is.Positive);
        link.Routers[1].Core.IsFit = true;
        link.Run(11);
        Assert.That(link.Active, Is.EqualTo(new[] { 1 }));
        link.Routers[1].Core.IsFit = false;
        link.Routers[1].Turn();
        Assert.That(link.Routers[1].Did[^2..], Is.EqualTo(new[] { "advert 0", "Backup Unfit" }));
    }

    [Test]
    public void A_paused_active_one_transmits_nothing_before_it_has_listened()
    {
        VrrpLink link = Pair();
        link.Run(100);
        VrrpLink.Router zombie = link.Routers[0];
        zombie.Pause();
        link.Run(100);
        Assert.That(link.Active, Is.EqualTo(new[] { 1 }));
        int before = zombie.Did.Count;
        zombie.Resume();
        Assert.That(zombie.Did.Skip(before), Is.EqualTo(new[] { "Backup Away" }));
        link.Run(9);
        Assert.That(zombie.Did, Has.Count.EqualTo(before + 1), "an interval and its skew");
        link.Run(100);
        Assert.That(link.Active, Is.EqualTo(new[] { 0 }), "and preempts as anybody would");
    }

    [Test]
    public void One_that_was_late_itself_listens_once_more()
    {
        VrrpLink link = Pair();
        link.Run(100);
        VrrpLink.Router backup = link.Routers[1];
        // Asleep while nothing came in: the wire was cut, and is not any more.
        backup.Pause();
        link.Cut.Add((0, 1));
        link.Run(100);
        link.Cut.Clear();
        backup.Resume();
        Assert.That(backup.Core.State, Is.EqualTo(VrrpState.Backup));
        link.Run(100);
        Assert.That(link.Active, Is.EqualTo(new[] { 0 }));
        Assert.That(backup.Did, Is.EqualTo(new[] { "Backup Started" }));
    }

    /// <summary>Peers that hear of a death take over sooner than three intervals: who was away knows of it from its own clock.</summary>
    [Test]
    public void One_that_was_counted_dead_listens_when_it_is_told_that_it_was_away()
    {
        VrrpLink link = Pair();
        link.Run(100);
        link.Routers[0].Pause();
        link.Routers[1].Core.Died(link.Routers[0].Options.Source, link.Now);
        link.Run(15);
        Assert.That(link.Active, Is.EqualTo(new[] { 1 }));
        int before = link.Routers[0].Did.Count;
        link.Routers[0].Core.Away(link.Now);
        link.Routers[0].Resume();
        Assert.That(link.Routers[0].Did.Skip(before), Is.EqualTo(new[] { "Backup Away" }));
    }

    [Test]
    public void What_comes_back_of_its_own_is_no_answer_and_contradictions_make_no_storm()
    {
        var link = new VrrpLink(1, VrrpLink.Options(0, 100), VrrpLink.Options(0, 100), VrrpLink.Options(2, 50));
        foreach (VrrpLink.Router router in link.Routers) router.Start();
        link.Run(1000);
        Assert.That(link.Active, Is.EqualTo(new[] { 0, 1 }), "two boxes of one address: nothing can be done, but it is counted");
        Assert.That(link.Routers[0].Core.OwnSource, Is.GreaterThan(50));
        Assert.That(link.Routers[0].AdvertsAt, Has.Count.LessThan(110));
        for (int i = 0; i < 1000; i++) link.Send(link.Routers[2], 50);
        link.Run(10);
        Assert.That(link.Routers[0].AdvertsAt, Has.Count.LessThan(115));
    }

    [Test]
    public void One_that_was_told_to_give_way_does_not_preempt_until_it_may()
    {
        VrrpLink link = Pair();
        link.Run(100);
        link.Routers[0].Core.MayPreempt = false;
        link.Routers[0].Core.Resign(VrrpCause.Stopped, link.Now);
        link.Run(500);
        Assert.That(link.Active, Is.EqualTo(new[] { 1 }));
        link.Routers[0].Core.MayPreempt = true;
        link.Run(100);
        Assert.That(link.Active, Is.EqualTo(new[] { 0 }));
    }

    [Test]
    public void A_priority_of_zero_from_one_that_is_not_active_means_nothing()
    {
        var link = new VrrpLink(1, VrrpLink.Options(0, 200), VrrpLink.Options(1, 100), VrrpLink.Options(2, 50));
        foreach (VrrpLink.Router router in link.Routers) router.Start();
        link.Run(100);
        link.Send(link.Routers[2], 0);
        link.Run(100);
        Assert.That(link.Routers[1].Did, Is.EqualTo(new[] { "Backup Started" }));
    }

    /// <summary>
    /// Loss, cuts, pauses, restarts, false deaths at any instant: a router advertises only while active (its wire asserts it); when all can
    /// hear each other again exactly one is active, and it is the highest.
    /// </summary>
    [Test]
    public void Whatever_happened_one_is_active_in_the_end([Values(2, 3, 5)] int routers)
    {
        for (int seed = 1; seed <= 300; seed++)
        {
            var random = new Random(seed);
            var link = new VrrpLink(seed, [.. Enumerable.Range(0, routers).Select(i => VrrpLink.Options(i, (byte)(50 + (i * 40))))]) { Loss = random.NextDouble() * 0.3 };
            foreach (VrrpLink.Router router in link.Routers) router.Start();
            for (int fault = 0; fault < 10; fault++)
            {
                link.Run(random.Next(1, 150));
                int victim = random.Next(routers), other = random.Next(routers);
                switch (random.Next(9))
                {
                    case 0: link.Routers[victim].Pause(); break;
                    case 1: if (!link.Routers[victim].IsRunning) link.Routers[victim].Resume(); break;
                    case 2: link.Routers[victim].Restart(); break;
                    case 3: link.Cut.Add((victim, other)); break;
                    case 4: link.Cut.Clear(); break;
                    case 5: link.Routers[victim].Core.IsFit = !link.Routers[victim].Core.IsFit; break;
                    case 6: link.Routers[victim].Core.Died(link.Routers[other].Options.Source, link.Now); break;
                    case 7: if (link.Routers[victim].IsRunning) link.Routers[victim].Core.Resign(VrrpCause.Stopped, link.Now); break;
                    case 8: if (link.Routers[victim].IsRunning) link.Routers[victim].Core.Away(link.Now); break;
                }
            }
            link.Loss = 0;
            link.Cut.Clear();
            foreach (VrrpLink.Router router in link.Routers)
            {
                router.Core.IsFit = true;
                if (!router.IsRunning) router.Resume();
            }
            link.Run(300);
            Assert.That(link.Active, Is.EqualTo(new[] { routers - 1 }), $"seed {seed}");
            int[] before = [.. link.Routers.Select(r => r.AdvertsAt.Count)];
            link.Run(300, () => Assert.That(link.Active, Has.Length.EqualTo(1), $"seed {seed}"));
            for (int i = 0; i < routers - 1; i++) Assert.That(link.Routers[i].AdvertsAt, Has.Count.EqualTo(before[i]), $"seed {seed}");
        }
    }

    [Test]
    public void Nothing_is_allocated()
    {
        var sink = new Silent();
        var core = new VrrpCore(VrrpLink.Options(0, 100), sink);
        core.Start(0);
        var lower = new byte[12];
        VrrpView.Write(lower, VrrpLink.Parse("192.0.2.9"), VrrpLink.Parse("224.0.0.18"), 10, 50, 1, [VrrpLink.Parse("203.0.113.10")]);
        void Turn(long now)
        {
            if (VrrpView.TryParse(lower, VrrpLink.Parse("192.0.2.9"), VrrpLink.Parse("224.0.0.18"), 255, out VrrpView view) == VrrpReject.None) core.Receive(view, default, now);
            core.Step(now);
        }
        for (long now = 0; now < 100_000_000; now += 1_000_000) Turn(now);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (long now = 100_000_000; now < 500_000_000; now += 1_000_000) core.Step(now);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(sink.Adverts, Is.GreaterThan(100));
    }

    private sealed class Silent : IVrrpOutput
    {
        public int Adverts { get; private set; }

        public void SendAdvert(byte priority) => Adverts++;

        public void Became(VrrpState state, VrrpCause cause)
        {
        }

        public void Announce()
        {
        }
    }
}
