using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Simulation;

/// <summary>A trivial box between the model hosts: proves the plumbing of nodes, faults and triggers.</summary>
[TestFixture]
public class NatBoxSimulationTests
{
    private static readonly string[] States = ["syn", "syn-ack", "data", "closing"];

    private static readonly ScenarioOptions Options = new() { Name = "nat", Boxes = scenario => scenario.AddBox(new NatBox(scenario, 0, Sabotage.None)) };

    [Test]
    public void Every_byte_arrives_through_a_box()
    {
        SimulationAssert.AllComplete(ScenarioRunner.RunAll(ScenarioRunner.Seeds(300), Options));
    }

    [Test]
    public void Super_frames_and_partial_checksums_arrive_through_a_box()
    {
        SimulationAssert.AllComplete(ScenarioRunner.RunAll(ScenarioRunner.Seeds(100), Options with { Name = "nat offloads", Offloads = true, Corruption = false }));
    }

    [Test]
    public void Jumbo_frames_arrive_through_a_box()
    {
        SimulationAssert.AllComplete(ScenarioRunner.RunAll(ScenarioRunner.Seeds(50), Options with { Name = "nat jumbo", Mtu = 9000 }));
    }

    [Test]
    public void A_stateless_box_may_pause_restart_and_lose_its_links_in_any_state()
    {
        ScenarioSummary summary = ScenarioRunner.RunAll(ScenarioRunner.Seeds(200), Options with
        {
            Name = "nat faults",
            Faults = 3,
            FaultStates = States,
            KeepOneHealthy = false,
        });
        TestContext.Out.WriteLine(summary.Coverage.Table());
        SimulationAssert.AllComplete(summary);
        if (summary.Results.Count < 100) return;
        Assert.That(summary.Results.Sum(r => r.FaultsFired), Is.GreaterThan(summary.Results.Count));
        foreach (string state in States)
        {
            foreach (FaultKind kind in Enum.GetValues<FaultKind>()) Assert.That(summary.Coverage[state, kind], Is.GreaterThan(0), $"{kind} in {state}");
        }
    }

    [Test]
    public void Same_seed_same_trace_with_faults()
    {
        ScenarioOptions options = Options with { Faults = 3, FaultStates = States, KeepOneHealthy = false };
        for (ulong seed = 1; seed <= 5; seed++)
        {
            ulong first = ScenarioRunner.Run(seed, options).TraceHash;
            Assert.That(ScenarioRunner.Run(seed, options).TraceHash, Is.EqualTo(first), $"seed {seed}");
        }
    }
}

/// <summary>Positive controls: each judge must count at least one when a box really does wrong.</summary>
[TestFixture]
public class JudgeTests
{
    [TestCase(nameof(Sabotage.CorruptByte), "wrong byte")]
    [TestCase(nameof(Sabotage.AckBeyond), "ack of offset")]
    [TestCase(nameof(Sabotage.ShrinkEdge), "right edge shrank")]
    [TestCase(nameof(Sabotage.TwoValues), "another value")]
    [TestCase(nameof(Sabotage.EchoFuture), "TSecr")]
    public void A_box_that_cheats_is_caught(string sabotage, string evidence)
    {
        const int Seeds = 10;
        int done = 0, caught = 0;
        for (ulong seed = 1; seed <= Seeds; seed++)
        {
            NatBox? box = null;
            ScenarioResult result = ScenarioRunner.Run(seed, new ScenarioOptions
            {
                External = new LinkProfile(),
                Internal = new LinkProfile(),
                Boxes = scenario => scenario.AddBox(box = new NatBox(scenario, 0, Enum.Parse<Sabotage>(sabotage))),
            });
            if (box!.Sabotaged == 0) continue;
            done++;
            if (result.Violations.Exists(violation => violation.Contains(evidence))) caught++;
            else TestContext.Out.WriteLine($"not caught: {result.Report()}");
        }
        TestContext.Out.WriteLine($"{sabotage}: caught {caught} of {done}");
        Assert.That(done, Is.GreaterThan(Seeds / 2));
        Assert.That(caught, Is.EqualTo(done));
    }

    [Test]
    public void A_request_that_is_run_at_two_servers_is_caught()
    {
        int done = 0, caught = 0;
        for (ulong seed = 1; seed <= 10; seed++)
        {
            bool sent = false;
            ScenarioResult result = ScenarioRunner.Run(seed, new ScenarioOptions
            {
                External = new LinkProfile(),
                Internal = new LinkProfile(),
                Boxes = scenario =>
                {
                    scenario.AddBox(new NatBox(scenario, 0, Sabotage.None));
                    RequestPlan? post = scenario.Traffic.Connections.SelectMany(c => c.Requests).FirstOrDefault(r => r.Method == "POST");
                    if (post is null) return;
                    var cheat = new SimHost(scenario.World, "cheat", 30, 0x0200_0000_0300) { Own4 = IpAddr.FromV4(0xc0a801c8) };
                    cheat.AddAddress(cheat.Own4);
                    cheat.Attach(scenario.Internal, scenario.InternalProfile);
                    for (int i = 0; i < scenario.Servers.Count; i++) cheat.Connect(cheat.Own4, (ushort)(1000 + i), scenario.Addresses.Server(i, false), 80, new TcpProfile(), new Repeater(post));
                    sent = true;
                },
            });
            if (!sent) continue;
            done++;
            if (result.Violations.Exists(violation => violation.Contains("ran twice"))) caught++;
        }
        Assert.That(done, Is.GreaterThan(0));
        Assert.That(caught, Is.EqualTo(done));
    }

    /// <summary>Sends somebody else's request.</summary>
    private sealed class Repeater(RequestPlan request) : SimApp
    {
        public override void OnConnected(ModelTcp tcp)
        {
            var bytes = new byte[request.RequestLength];
            request.FillRequest(bytes, 0);
            tcp.Write(bytes);
        }

        public override void OnReadable(ModelTcp tcp)
        {
        }

        public override void OnWritable(ModelTcp tcp)
        {
        }

        public override void OnEnd(ModelTcp tcp, TcpEnd end)
        {
        }
    }
}
