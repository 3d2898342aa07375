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

    [TestCase(ShareMode.ByFlow, true)]
    [TestCase(ShareMode.ByFlow, false)]
    [TestCase(ShareMode.ByPacket, true)]
    [TestCase(ShareMode.ByPacket, false)]
    public void Every_byte_arrives_through_several_boxes(ShareMode share, bool acked)
    {
        SimulationAssert.AllComplete(ScenarioRunner.RunAll(ScenarioRunner.Seeds(50), 1, BoxScenarios.Cluster(share, acked)));
    }
}
