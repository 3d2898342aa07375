using System.Numerics;
using Appliance.DataPath.Balance;
using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Balance;

[TestFixture]
internal sealed class MaglevTableTests
{
    private static ulong[] Names(int count) => [.. Enumerable.Range(0, count).Select(i => FlowKey.HashEndpoint(IpAddr.FromV4((uint)i), 1, 99))];

    private static byte[] Contents(MaglevTable table)
    {
        var contents = new byte[MaglevTable.Size];
        for (int i = 0; i < contents.Length; i++)
        {
            // The smallest hash whose high half scales to i.
            ulong high = (((ulong)i << 32) + MaglevTable.Size - 1) / MaglevTable.Size;
            contents[i] = table.Lookup(high << 32);
        }
        return contents;
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    [TestCase(7)]
    [TestCase(64)]
    public void Every_node_has_an_equal_share(int nodes)
    {
        var table = new MaglevTable(Names(nodes));
        table.Rebuild(ulong.MaxValue);
        var counts = new int[nodes];
        foreach (byte node in Contents(table)) counts[node]++;
        Assert.That(counts, Is.All.InRange(MaglevTable.Size / nodes, MaglevTable.Size / nodes + 1));
        Assert.That(BitOperations.PopCount(table.Usable), Is.EqualTo(nodes));
    }

    [TestCase(2)]
    [TestCase(3)]
    [TestCase(5)]
    [TestCase(16)]
    public void Removing_one_moves_its_share_and_little_else(int nodes)
    {
        var table = new MaglevTable(Names(nodes));
        ulong all = (1ul << nodes) - 1;
        for (int gone = 0; gone < nodes; gone++)
        {
            table.Rebuild(all);
            byte[] before = Contents(table);
            table.Rebuild(all & ~(1ul << gone));
            byte[] after = Contents(table);
            int needless = 0;
            for (int i = 0; i < before.Length; i++)
            {
                Assert.That(after[i], Is.Not.EqualTo(gone));
                if (before[i] != gone && before[i] != after[i]) needless++;
            }
            // The paper finds a few percent with this many entries per node.
            Assert.That(needless, Is.LessThan(MaglevTable.Size / 20));
            table.Rebuild(all);
            Assert.That(Contents(table), Is.EqualTo(before), "the way back is the same");
        }
    }

    [Test]
    public void The_table_depends_on_names_and_set_only()
    {
        MaglevTable x = new(Names(5)), y = new(Names(5));
        y.Rebuild(0b00110);
        x.Rebuild(0b10111);
        y.Rebuild(0b10111);
        Assert.That(Contents(x), Is.EqualTo(Contents(y)));
    }

    [Test]
    public void Without_nodes_there_is_none()
    {
        var table = new MaglevTable(Names(3));
        Assert.That(table.Lookup(12345), Is.EqualTo(NodeIds.None));
        table.Rebuild(0b1000);
        Assert.That(table.Lookup(ulong.MaxValue), Is.EqualTo(NodeIds.None));
        table.Rebuild(0b100);
        Assert.That(table.Lookup(ulong.MaxValue), Is.EqualTo(2));
    }

    [Test]
    public void Rebuilding_allocates_nothing()
    {
        var table = new MaglevTable(Names(8));
        table.Rebuild(0xff);
        long before = GC.GetAllocatedBytesForCurrentThread();
        table.Rebuild(0x7f);
        table.Rebuild(0xfe);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }
}
