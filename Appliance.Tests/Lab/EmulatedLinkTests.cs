using Appliance.DataPath.Port;
using Appliance.Lab;
using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using NUnit.Framework;

namespace Appliance.Tests.Lab;

/// <summary>An emulated wire does what its plan says, and TCP repairs it.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class EmulatedLinkTests
{
    [Test]
    public async Task Bytes_survive_a_bad_wire_and_the_wire_counts_what_it_did()
    {
        await using var lab = LabNetwork.Create();
        var net = lab.AddSwitch("net");
        var client = lab.AddHost("client");
        var server = lab.AddHost("server");
        var wire = EmulatedLink.Connect(lab, client, net, new LinkOptions("eth0") { Addresses = ["203.0.113.1/24"] });
        server.Connect(net, new LinkOptions("eth0") { Addresses = ["203.0.113.2/24"] });
        lab.Build();
        LabTool.StartServer(server);
        var bad = new FaultPlan { Loss = 0.01, Duplicate = 0.01, Reorder = 0.02, ReorderNs = 2_000_000, DelayNs = 5_000_000 };
        wire.Start(bad, bad, seed: 42);
        foreach (var mode in (LoadMode[])[LoadMode.Get, LoadMode.Put])
        {
            var run = LabTool.StartClient(client, mode.ToString(), new LoadOptions(mode, "203.0.113.2") { Connections = 4, Bytes = 1_000_000 });
            var summary = await run.Finish();
            Assert.That(summary.Broken, Is.Zero, $"{mode}: {new LoadLine { Summary = summary }}");
            Assert.That(summary.ShaVerified, Is.EqualTo(4));
        }
        var slow = LabTool.StartClient(client, "requests", new LoadOptions(LoadMode.Requests, "203.0.113.2") { Count = 20 });
        Assert.That((await slow.Finish()).P50Us, Is.GreaterThanOrEqualTo(10_000), "5 ms each way");
        var report = wire.Stop();
        TestContext.Out.WriteLine(report);
        foreach (var side in (EmulatorCounts?[])[report.Forth, report.Back])
        {
            Assert.That(side!.Segments, Is.GreaterThan(2800), "wire segments, not super-frames");
            Assert.That(side.Lost, Is.Positive);
            Assert.That(side.Duplicated, Is.Positive);
            Assert.That(side.Reordered, Is.Positive);
        }
    }
}
