using Appliance.Control.Runtime;
using Appliance.DataPath.Balance;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>The loop of workload factor and spreading, in virtual time: three proxies of which one is slowed, and then no longer.</summary>
public sealed class WorkloadFactorTests
{
    private const int Boxes = 3;
    private const double FairShare = 1.0 / Boxes;

    [TestCase(0.05, 0.9)]
    [TestCase(0.2, 0.9)]
    [TestCase(0.05, 1.8)]
    public void A_slowed_box_is_given_less_within_a_second_and_its_share_does_not_swing(double quota, double load)
    {
        var cluster = new Model(load);
        cluster.Run(5);
        Assert.That(cluster.Share(0, 1), Is.EqualTo(FairShare).Within(0.1 * FairShare));
        cluster.Quota[0] = quota;
        cluster.Run(1);
        Assert.That(cluster.Share(0, 0.2), Is.LessThan(0.7 * FairShare), "within a second");
        cluster.Run(4);
        double[] shares = new double[20];
        for (int i = 0; i < shares.Length; i++)
        {
            cluster.Run(1);
            shares[i] = cluster.Share(0, 1);
        }
        double mean = shares.Average();
        TestContext.Out.WriteLine($"mean {mean:f3}: " + string.Join(' ', shares.Select(s => s.ToString("f3", System.Globalization.CultureInfo.InvariantCulture))));
        // What it can carry, not much more.
        Assert.That(mean * load, Is.InRange(0.7 * quota, 2.0 * quota));
        Assert.That(shares, Is.All.InRange(0.6 * mean, 1.5 * mean), "no swinging");
        cluster.Quota[0] = 1;
        cluster.Run(10);
        Assert.That(cluster.Share(0, 1), Is.EqualTo(FairShare).Within(0.2 * FairShare), "it comes back");
    }

    [Test]
    public void A_box_that_waits_little_keeps_its_factor()
    {
        var factor = new WorkloadFactor();
        for (int i = 1; i <= 100; i++) factor.Update(i * 1_000_000, WorkloadFactor.StepNs);
        Assert.That(factor.Value, Is.GreaterThan(62_000));
    }

    /// <summary>Boxes with quotas of processor time in periods of 10 ms, as a kernel's CPU group gives them; a backlog of at most 50 ms of work each, then senders hold back.</summary>
    private sealed class Model(double load)
    {
        private const int PeriodNs = 10_000_000, PeriodsPerStep = 5, WorkNs = 10_000;
        private const double MostBacklogNs = 50_000_000;

        private readonly WorkloadFactor[] _factors = [new(), new(), new()];
        private readonly PacketSpreader _spreader = new(40);
        private readonly double[] _backlog = new double[Boxes];
        private readonly long[] _waited = new long[Boxes];
        private readonly List<int[]> _handed = [];

        public double[] Quota { get; } = [1, 1, 1];

        /// <summary>Share of what was handed out in the last <paramref name="seconds"/>.</summary>
        public double Share(int box, double seconds)
        {
            var last = _handed.TakeLast((int)(seconds * 100)).ToList();
            return (double)last.Sum(h => h[box]) / last.Sum(h => h.Sum());
        }

        public void Run(int seconds)
        {
            Span<byte> said = stackalloc byte[Boxes];
            for (int period = 0; period < seconds * 100; period++)
            {
                if (period % PeriodsPerStep == 0)
                {
                    for (int i = 0; i < Boxes; i++)
                    {
                        _factors[i].Update(_waited[i], WorkloadFactor.StepNs);
                        said[i] = (byte)Math.Max(_factors[i].Value >> 8, 1);
                    }
                    _spreader.Update(7, said);
                }
                Period();
            }
        }

        private void Period()
        {
            int[] handed = new int[Boxes];
            for (int packet = 0; packet < load * PeriodNs / WorkNs; packet++) handed[_spreader.Next()]++;
            for (int i = 0; i < Boxes; i++)
            {
                double wanted = _backlog[i] + handed[i] * (double)WorkNs, ran = Math.Min(wanted, Quota[i] * PeriodNs);
                if (wanted > ran) _waited[i] += (long)(PeriodNs - ran);
                _backlog[i] = Math.Min(wanted - ran, MostBacklogNs);
            }
            _handed.Add(handed);
        }
    }
}
