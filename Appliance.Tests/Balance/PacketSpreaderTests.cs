using Appliance.DataPath.Balance;
using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Balance;

[TestFixture]
internal sealed class PacketSpreaderTests
{
    [Test]
    public void Packets_go_in_bursts_in_turn()
    {
        var spreader = new PacketSpreader(40);
        spreader.Update(0b101, [7, 7, 7]);
        for (int turn = 0; turn < 6; turn++)
        {
            for (int i = 0; i < 40; i++) Assert.That(spreader.Next(), Is.EqualTo(turn % 2 == 0 ? 0 : 2));
        }
    }

    [TestCase(1)]
    [TestCase(45)]
    public void Shares_follow_the_factors(int largest)
    {
        byte[] factors = [10, 20, 0, 70];
        var spreader = new PacketSpreader(40);
        spreader.Update(0b1111, factors);
        var random = new Random(11);
        var packets = new double[4];
        double total = 0;
        for (int i = 0; i < 200_000; i++)
        {
            int segments = random.Next(largest) + 1;
            packets[spreader.Next(segments)] += segments;
            total += segments;
        }
        Assert.That(packets[2], Is.Zero);
        foreach (int node in (int[])[0, 1, 3]) Assert.That(packets[node] / total, Is.EqualTo(factors[node] / 100d).Within(0.001));
    }

    [Test]
    public void A_node_that_joins_is_not_given_what_it_missed()
    {
        var spreader = new PacketSpreader(1);
        spreader.Update(0b01, []);
        for (int i = 0; i < 1000; i++) spreader.Next();
        spreader.Update(0b11, []);
        int joined = 0;
        for (int i = 0; i < 100; i++) joined += spreader.Next();
        Assert.That(joined, Is.InRange(49, 51));
    }

    [Test]
    public void A_burst_on_a_node_that_left_ends_at_once()
    {
        var spreader = new PacketSpreader(40);
        spreader.Update(0b11, []);
        byte first = spreader.Next();
        spreader.Update(0b11 & ~(1ul << first), []);
        Assert.That(spreader.Next(), Is.EqualTo(1 - first));
        spreader.Update(0, []);
        Assert.That(spreader.Next(), Is.EqualTo(NodeIds.None));
    }

    [Test]
    public void All_factors_zero_means_equal_shares()
    {
        var spreader = new PacketSpreader(1);
        spreader.Update(0b11, [0, 0]);
        int second = 0;
        for (int i = 0; i < 100; i++) second += spreader.Next();
        Assert.That(second, Is.EqualTo(50));
    }
}
