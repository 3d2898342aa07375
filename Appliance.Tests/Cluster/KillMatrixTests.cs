using Appliance.Lab.Experiments;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>
/// One proxy at a time dies, stops, loses a link: under `acked` no connection breaks and no byte differs, and the box
/// that comes back is refilled and used again. The instants are random; their seed is printed with every run.
/// </summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class KillMatrixTests
{
    private static KillOptions Short(int proxies, string share) => new()
    {
        Proxies = proxies,
        Share = share,
        Puts = 20,
        Gets = 20,
        Bytes = 4_000_000,
        Requests = 10,
        ClientRate = "400mbit",
        LatestFaultSeconds = 1.2,
        OutageSeconds = 2,
        AfterSeconds = 0.5,
    };

    [TestCase(2, "by flow", KillFault.Box, KillFault.Engine, KillFault.Stop, KillFault.LinkDown)]
    [TestCase(3, "by packet 40", KillFault.Engine, KillFault.Box, KillFault.LinkDown, KillFault.Stop)]
    [TestCase(4, "by packet 40", KillFault.Box, KillFault.Engine)]
    [TestCase(4, "by flow", KillFault.Stop, KillFault.Box)]
    public async Task Nothing_breaks(int proxies, string share, params KillFault[] faults)
    {
        await using var experiment = KillExperiment.Start(Short(proxies, share));
        await RunAll(experiment, faults);
    }

    [Test]
    public async Task Nothing_breaks_with_several_workers()
    {
        await using var experiment = KillExperiment.Start(Short(2, "by packet 40") with { Workers = 2 });
        await RunAll(experiment, KillFault.Engine, KillFault.Box, KillFault.Stop);
    }

    [Test]
    public async Task Single_box_goes_on_after_a_stop_a_dead_link_and_a_dead_manager()
    {
        await using var experiment = KillExperiment.Start(Short(1, "by flow"));
        await RunAll(experiment, KillFault.Stop, KillFault.LinkDown, KillFault.Manager);
    }

    [Test]
    public async Task Leaving_and_killed_managers_lose_nothing()
    {
        await using var experiment = KillExperiment.Start(Short(2, "by packet 40"));
        await RunAll(experiment, KillFault.Manager, KillFault.Terminate);
    }

    internal static async Task RunAll(KillExperiment experiment, params KillFault[] faults)
    {
        foreach (var fault in faults)
        {
            int seed = Random.Shared.Next();
            var result = await experiment.Run(fault, seed);
            TestContext.Out.WriteLine(result);
            string errors = string.Join(", ", result.Errors) + "\n" + string.Join('\n', experiment.Lab.Boxes.Select(ClusterLoad.Counters));
            Assert.That(result.Broken, Is.Zero, $"{result} {errors}");
            Assert.That(result.MismatchedBytes, Is.Zero, result.ToString());
            Assert.That(result.ShaVerified, Is.EqualTo(result.Transfers), result.ToString());
            Assert.That(result.Requests, Is.Positive, result.ToString());
        }
    }
}
