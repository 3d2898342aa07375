using Appliance.Lab.Experiments;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>
/// One proxy at a time dies, stops, loses a link, at a random instant under 100 uploads and 100 downloads of 10 MB: under `acked` no
/// connection breaks and no byte differs, and the box that comes back is refilled and used again. 12 runs of that; the smaller
/// ones are for what does not need the load. The seed is printed with every run, and what was seen: silences, and how
/// soon a killed engine was usable again.
/// </summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class KillMatrixTests
{
    [TestCase(1, "by flow", KillFault.Stop, KillFault.LinkDown, KillFault.Manager)]
    [TestCase(2, "by flow", KillFault.Engine, KillFault.Stop)]
    [TestCase(2, "by packet 40", KillFault.LinkDown, KillFault.Box)]
    [TestCase(3, "by flow", KillFault.LinkDown)]
    [TestCase(3, "by packet 40", KillFault.Engine, KillFault.Stop)]
    [TestCase(4, "by flow", KillFault.Box)]
    [TestCase(4, "by packet 40", KillFault.Engine)]
    public async Task Nothing_breaks(int proxies, string share, params KillFault[] faults) =>
        await RunAll(new KillOptions { Proxies = proxies, Share = share }, faults);

    [Test]
    public async Task Under_async_no_byte_differs_and_what_breaks_is_counted() =>
        await RunAll(new KillOptions { Proxies = 2, Share = "by packet 40", Durability = "async" }, KillFault.Engine, KillFault.Box);

    [Test]
    public async Task Nothing_breaks_with_several_workers() =>
        await RunAll(Small(2) with { Workers = 2 }, KillFault.Engine, KillFault.Box, KillFault.Stop);

    [Test]
    public async Task Leaving_and_killed_managers_lose_nothing() =>
        await RunAll(Small(2), KillFault.Manager, KillFault.Terminate);

    private static KillOptions Small(int proxies) => new()
    {
        Proxies = proxies,
        Share = "by packet 40",
        Puts = 20,
        Gets = 20,
        Bytes = 4_000_000,
        Requests = 10,
        PaceMbit = 15,
        LatestFaultSeconds = 1.2,
        OutageSeconds = 2,
        AfterSeconds = 0.5,
    };

    private static async Task RunAll(KillOptions options, params KillFault[] faults)
    {
        await using var experiment = KillExperiment.Start(options);
        foreach (var fault in faults)
        {
            int seed = Random.Shared.Next();
            var result = await experiment.Run(fault, seed);
            TestContext.Out.WriteLine(result);
            string errors = string.Join(", ", result.Errors) + "\n" + string.Join('\n', experiment.Lab.Boxes.Select(ClusterLoad.Counters));
            Assert.That(result.MismatchedBytes, Is.Zero, result.ToString());
            Assert.That(result.Requests, Is.Positive, result.ToString());
            if (options.Durability == "async")
            {
                continue;
            }
            Assert.That(result.Broken, Is.Zero, $"{result} {errors}");
            Assert.That(result.ShaVerified, Is.EqualTo(result.Transfers), result.ToString());
        }
    }
}
