using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Simulation;

/// <summary>Real boxes between the model hosts.</summary>
[TestFixture]
public class BoxSimulationTests
{
    private static readonly LinkProfile Clean = new();

    [Test]
    public void Every_byte_arrives_through_one_box_over_clean_links()
    {
        SimulationAssert.AllComplete(ScenarioRunner.RunAll(ScenarioRunner.Seeds(50), 1, BoxScenarios.Alone() with { Name = "one box, clean", External = Clean, Internal = Clean }));
    }

    [Test]
    public void Every_byte_arrives_through_one_box()
    {
        SimulationAssert.AllComplete(ScenarioRunner.RunAll(ScenarioRunner.Seeds(200), 1, BoxScenarios.Alone()));
    }

    /// <summary>Explicit until no record is left behind: all bytes arrive, some boxes keep a record that they missed the end of.</summary>
    [Explicit]
    [TestCase(ShareMode.ByFlow, true)]
    [TestCase(ShareMode.ByFlow, false)]
    [TestCase(ShareMode.ByPacket, true)]
    [TestCase(ShareMode.ByPacket, false)]
    public void Every_byte_arrives_through_several_boxes(ShareMode share, bool acked)
    {
        SimulationAssert.AllComplete(ScenarioRunner.RunAll(ScenarioRunner.Seeds(50), 1, BoxScenarios.Cluster(share, acked)));
    }

    /// <summary>Explicit until it passes: a few connections in a thousand are reset.</summary>
    [Explicit]
    [TestCase(ShareMode.ByFlow, true)]
    [TestCase(ShareMode.ByFlow, false)]
    [TestCase(ShareMode.ByPacket, true)]
    [TestCase(ShareMode.ByPacket, false)]
    public void Boxes_die_one_at_a_time(ShareMode share, bool acked)
    {
        ScenarioSummary summary = ScenarioRunner.RunAll(ScenarioRunner.Seeds(50), 1, BoxScenarios.Cluster(share, acked) with
        {
            Name = $"deaths {share} {acked}",
            Faults = 6,
            FaultStates = BoxStates.Required,
            MayHit = BoxScenarios.OneAtATime,
            StartSpreadNs = 3 * SimWorld.Second,
        });
        TestContext.Out.WriteLine(summary.Coverage.Table());
        SimulationAssert.AllComplete(summary);
    }
}
