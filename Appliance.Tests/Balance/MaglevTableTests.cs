using System.Numerics;
using Appliance.DataPath.Balance;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Paths;
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
        MaglevTable table = new MaglevTables(Names(nodes), 1).For(ulong.MaxValue);
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
        var tables = new MaglevTables(Names(nodes), 1);
        ulong all = (1ul << nodes) - 1;
        for (int gone = 0; gone < nodes; gone++)
        {
            byte[] before = Contents(tables.For(all));
            byte[] after = Contents(tables.For(all & ~(1ul << gone)));
            int needless = 0;
            for (int i = 0; i < before.Length; i++)
            {
                Assert.That(after[i], Is.Not.EqualTo(gone));
                if (before[i] != gone && before[i] != after[i]) needless++;
            }
            // The paper finds a few percent with this many entries per node.
            Assert.That(needless, Is.LessThan(MaglevTable.Size / 20));
            Assert.That(Contents(tables.Build(tables.For(1), all)), Is.EqualTo(before), "built again it is the same");
        }
    }

    [Test]
    public void The_table_depends_on_names_and_set_only()
    {
        MaglevTables x = new(Names(5), 1), y = new(Names(5), 1);
        y.For(0b00110);
        Assert.That(Contents(x.For(0b10111)), Is.EqualTo(Contents(y.For(0b10111))));
    }

    [Test]
    public void Without_nodes_there_is_none()
    {
        var tables = new MaglevTables(Names(3), 1);
        Assert.That(tables.For(0).Lookup(12345), Is.EqualTo(NodeIds.None));
        Assert.That(tables.For(0b1000).Lookup(ulong.MaxValue), Is.EqualTo(NodeIds.None));
        Assert.That(tables.For(0b100).Lookup(ulong.MaxValue), Is.EqualTo(2));
        Assert.That(tables.Build(tables.For(0b100), 0).Lookup(ulong.MaxValue), Is.EqualTo(NodeIds.None));
    }

    [Test]
    public void What_one_death_would_ask_for_is_built_ahead_one_at_a_time()
    {
        var tables = new MaglevTables(Names(5), 3);
        tables.For(0b11111);
        int ahead = 0;
        while (tables.BuildAhead(0b11111)) Assert.That(++ahead, Is.LessThanOrEqualTo(5));
        Assert.That(ahead, Is.EqualTo(5));
        long built = tables.Built;
        for (int gone = 0; gone < 5; gone++) tables.For(0b11111 & ~(1ul << gone));
        Assert.That(tables.Built, Is.EqualTo(built));
        tables.For(0b00111);
        Assert.That(tables.Built, Is.EqualTo(built + 1), "two deaths are built when they come");
    }

    [Test]
    public void A_table_that_a_slot_holds_stays_while_others_come_and_go()
    {
        const int Nodes = 9;
        var membership = new Membership(Names(Nodes));
        MembershipSlot slot = membership.Prepare(out _)!;
        slot.Use(0b1_1111_1111);
        byte[] before = Contents(slot.Table);
        for (ulong set = 1; set < 1ul << Nodes; set++) membership.Tables.For(set);
        while (membership.Tables.BuildAhead(0b1111)) { }
        Assert.That(Contents(slot.Table), Is.EqualTo(before));
        slot.Use(0b11);
        Assert.That(Contents(slot.Table), Is.All.LessThan(2));
    }

    [Test]
    public void Building_allocates_nothing()
    {
        var tables = new MaglevTables(Names(8), 1);
        tables.For(0xff);
        tables.BuildAhead(0xff);
        long before = GC.GetAllocatedBytesForCurrentThread();
        tables.For(0x7f);
        tables.For(0xfe);
        tables.BuildAhead(0xff);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }
}
