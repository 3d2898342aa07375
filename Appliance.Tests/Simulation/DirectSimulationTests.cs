using NUnit.Framework;

namespace Appliance.Tests.Simulation;

/// <summary>The model hosts among themselves: what must hold before a box may be blamed for anything.</summary>
[TestFixture]
public class DirectSimulationTests
{
    private static readonly ScenarioOptions Options = new();

    [Test]
    public void Every_byte_arrives_once_and_in_order_over_bad_links()
    {
        ScenarioSummary summary = ScenarioRunner.RunAll(ScenarioRunner.Seeds(300), Options);
        SimulationAssert.AllComplete(summary);
    }

    [Test]
    public void Same_seed_same_trace()
    {
        for (ulong seed = 1; seed <= 5; seed++)
        {
            ScenarioResult first = ScenarioRunner.Run(seed, Options), second = ScenarioRunner.Run(seed, Options);
            Assert.That(second.TraceHash, Is.EqualTo(first.TraceHash), $"seed {seed}");
            Assert.That(second.Events, Is.EqualTo(first.Events), $"seed {seed}");
        }
        Assert.That(ScenarioRunner.Run(1, Options).TraceHash, Is.Not.EqualTo(ScenarioRunner.Run(2, Options).TraceHash));
    }
}

/// <summary>What the tests of this folder ask of many seeds.</summary>
internal static class SimulationAssert
{
    /// <summary>No violation, every connection as planned; prints the counts, and the first failures with their evidence.</summary>
    public static void AllComplete(ScenarioSummary summary)
    {
        Assert.That(summary.Results.Sum(r => r.Lost), Is.Zero);
        NoneLostNeedlessly(summary);
    }

    /// <summary>The same, but for connections that no box knew that was left, and for at most <paramref name="needless"/> others.</summary>
    public static void NoneLostNeedlessly(ScenarioSummary summary, int needless = 0)
    {
        TestContext.Out.WriteLine(summary);
        ScenarioResult[] lossy = [.. summary.Results.Where(r => r[Outcome.Complete] + r.Lost != r.Connections)];
        bool tooMany = lossy.Sum(r => r.Connections - r[Outcome.Complete] - r.Lost) > needless;
        ScenarioResult[] bad = [.. summary.Results.Where(r => r.Violations.Count > 0 || r.ServersOpen > 0 || (tooMany && lossy.Contains(r)))];
        foreach (ScenarioResult result in lossy.Union(bad).Take(6)) TestContext.Out.WriteLine(result.Report());
        Assert.That(bad.Select(r => r.Seed).Take(20), Is.Empty, "seeds that failed");
    }
}
