using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Simulation;

/// <summary>What the model hosts do beside TCP: packet-too-big, resets for strangers, reuse of four names.</summary>
[TestFixture]
public class PathMtuSimulationTests
{
    [TestCase(false)]
    [TestCase(true)]
    public void Packet_too_big_is_honoured(bool v6)
    {
        ScenarioResult result = ScenarioRunner.Run(7, new ScenarioOptions
        {
            Ipv6Percent = v6 ? 100 : 0,
            External = new LinkProfile(),
            Internal = new LinkProfile(),
            Boxes = scenario => scenario.AddBox(new NatBox(scenario, 0, Sabotage.None) { NarrowMtu = 1280 }),
        });
        Assert.That(result.Violations, Is.Empty);
        Assert.That(result[Outcome.Complete], Is.EqualTo(result.Connections), result.Report());
    }

    [Test]
    public void Checksum_agrees_with_the_plain_definition()
    {
        SimRandom random = new(11);
        byte[] bytes = new byte[4000];
        for (int i = 0; i < bytes.Length; i++) bytes[i] = (byte)random.Next();
        for (int length = 0; length < 200; length++)
        {
            ReadOnlySpan<byte> part = bytes.AsSpan(random.Below(1000), length + (random.Below(2) * 1400));
            uint plain = 0;
            for (int i = 0; i < part.Length; i++) plain += (uint)part[i] << ((i & 1) == 0 ? 8 : 0);
            while (plain >> 16 != 0) plain = (plain >> 16) + (plain & 0xffff);
            Assert.That((uint)SimChecksum.Fold(SimChecksum.Add(0, part)), Is.EqualTo(plain), $"length {part.Length}");
        }
    }

    [Test]
    public void Segment_for_no_connection_is_reset_exactly()
    {
        var world = new SimWorld(1);
        var lan = new SimLan(world, "ext", 1);
        var a = new SimHost(world, "a", 1, 0x0200_0000_0001) { Own4 = IpAddr.FromV4(0xcb007101) };
        var b = new SimHost(world, "b", 2, 0x0200_0000_0002) { Own4 = IpAddr.FromV4(0xcb007102) };
        a.AddAddress(a.Own4);
        b.AddAddress(b.Own4);
        a.Attach(lan, new LinkProfile());
        b.Attach(lan, new LinkProfile());
        var app = new Watcher();
        ModelTcp tcp = a.Connect(a.Own4, 1000, b.Own4, 80, new TcpProfile { InitialSequence = uint.MaxValue }, app);
        world.RunUntil(SimWorld.Second);
        Assert.That(app.End, Is.EqualTo(TcpEnd.Reset));
        Assert.That(tcp.State, Is.EqualTo(TcpState.Closed));
        Assert.That(b.ResetsSent, Is.EqualTo(1));
    }

    private sealed class Watcher : SimApp
    {
        public TcpEnd End { get; private set; }

        public override void OnConnected(ModelTcp tcp)
        {
        }

        public override void OnReadable(ModelTcp tcp)
        {
        }

        public override void OnWritable(ModelTcp tcp)
        {
        }

        public override void OnEnd(ModelTcp tcp, TcpEnd end) => End = end;
    }
}
