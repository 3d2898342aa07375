using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.State;

[TestFixture]
internal sealed class NeighborTableTests
{
    private const long Second = 1_000_000_000;
    private static readonly IpAddr Hop = IpAddr.FromV4(0xc0a8_010b);
    private static readonly MacAddress Mac = new(0x0200_0000_0001), OtherMac = new(0x0200_0000_0002);

    private readonly NeighborAction[] _actions = new NeighborAction[8];

    private static NeighborTable Table() => new(4, 12, 2000);

    private List<NeighborAction> Poll(NeighborTable table, long now)
    {
        int count = table.Poll(now, _actions);
        return [.. _actions.AsSpan(0, count)];
    }

    [Test]
    public void Frames_wait_for_the_answer_and_come_out_in_order()
    {
        using NeighborTable table = Table();
        ushort index = table.Resolve(1, Hop);
        Assert.That(index, Is.Not.Zero);
        Assert.That(table.Resolve(1, Hop), Is.EqualTo(index));
        Assert.That(table.Resolve(2, Hop), Is.Not.EqualTo(index), "same address on another link");
        Assert.That(table.TryGetMac(index, out _, out _), Is.False);
        for (byte i = 0; i < NeighborTable.MaxQueue; i++)
        {
            NeighborVerdict verdict = table.Enqueue(index, [i, i], new VnetHeader { GsoSize = i }, 0, out NeighborAction action);
            Assert.That(verdict, Is.EqualTo(NeighborVerdict.Queued));
            NeighborAction wanted = i == 0 ? new NeighborAction(NeighborActionKind.Request, 1, Hop, default) : default;
            Assert.That(action, Is.EqualTo(wanted), "one question for all");
        }
        Assert.That(table.Enqueue(index, [99], default, 0, out _), Is.EqualTo(NeighborVerdict.QueueFull));
        Assert.That(table.Learn(1, Hop, Mac, solicited: true, overrides: true, 5), Is.EqualTo(index));
        Assert.That(table.TryGetMac(index, out MacAddress mac, out byte link), Is.True);
        Assert.That((mac, link), Is.EqualTo((Mac, (byte)1)));
        for (byte i = 0; i < NeighborTable.MaxQueue; i++)
        {
            Assert.That(table.TryDequeue(index, out FrameRef frame, out int slot), Is.True);
            Assert.That(frame.Bytes.ToArray(), Is.EqualTo(new[] { i, i }));
            Assert.That(frame.Vnet.GsoSize, Is.EqualTo(i));
            table.Release(slot);
        }
        Assert.That(table.TryDequeue(index, out _, out _), Is.False);
        Assert.That(table.Enqueue(index, [1], default, 6, out _), Is.EqualTo(NeighborVerdict.Resolved));
    }

    [Test]
    public void Asks_three_times_then_fails_and_starts_anew_after_a_rest()
    {
        using NeighborTable table = Table();
        ushort index = table.Resolve(0, Hop);
        Assert.That(Poll(table, 0), Is.Empty, "nobody sends to it");
        table.Enqueue(index, [1], default, 0, out NeighborAction first);
        Assert.That(first.Kind, Is.EqualTo(NeighborActionKind.Request));
        Assert.That(table.NextDeadline(), Is.EqualTo(Second));
        Assert.That(Poll(table, Second - 1), Is.Empty);
        Assert.That(Poll(table, Second), Has.Count.EqualTo(1));
        Assert.That(Poll(table, Second), Is.Empty);
        Assert.That(Poll(table, 2 * Second), Has.Count.EqualTo(1));
        Assert.That(Poll(table, 3 * Second), Is.Empty);
        Assert.That(table.StateOf(index), Is.EqualTo(NeighborState.Failed));
        Assert.That(table.DroppedFrames, Is.EqualTo(1));
        Assert.That(table.Enqueue(index, [1], default, 3 * Second, out _), Is.EqualTo(NeighborVerdict.Unresolved));
        Assert.That(table.Enqueue(index, [1], default, 4 * Second, out NeighborAction again), Is.EqualTo(NeighborVerdict.Queued));
        Assert.That(again.Kind, Is.EqualTo(NeighborActionKind.Request));
    }

    [Test]
    public void A_used_neighbour_is_probed_when_stale_and_an_unused_one_left_alone()
    {
        using NeighborTable table = Table();
        ushort index = table.Resolve(0, Hop);
        table.Learn(0, Hop, Mac, solicited: true, overrides: true, 0);
        long now = NeighborTable.ReachableNs;
        Assert.That(Poll(table, now), Is.Empty);
        Assert.That(table.StateOf(index), Is.EqualTo(NeighborState.Stale));
        now += Second;
        Assert.That(Poll(table, now), Is.Empty, "not used since");
        Assert.That(table.TryGetMac(index, out _, out _), Is.True, "stale is good enough");
        now += Second;
        Assert.That(Poll(table, now), Is.EqualTo(new[] { new NeighborAction(NeighborActionKind.Probe, 0, Hop, Mac) }));
        table.Learn(0, Hop, Mac, solicited: true, overrides: false, now);
        Assert.That(table.StateOf(index), Is.EqualTo(NeighborState.Reachable));
        now += NeighborTable.ReachableNs;
        Poll(table, now);
        table.TryGetMac(index, out _, out _);
        var kinds = new List<NeighborActionKind>();
        for (int i = 0; i < 8; i++)
        {
            now += Second;
            kinds.AddRange(Poll(table, now).Select(a => a.Kind));
        }
        NeighborActionKind probe = NeighborActionKind.Probe, request = NeighborActionKind.Request;
        Assert.That(kinds, Is.EqualTo(new[] { probe, probe, probe, request, request, request }));
        Assert.That(table.StateOf(index), Is.EqualTo(NeighborState.Failed));
        Assert.That(table.TryGetMac(index, out _, out _), Is.False);
    }

    [TestCase(2)]
    [TestCase(5)]
    [TestCase(7)]
    public void A_link_that_is_back_is_asked_over_at_once(int asked)
    {
        using NeighborTable table = Table();
        ushort index = table.Resolve(0, Hop), other = table.Resolve(1, Hop);
        table.Pin(0, Hop);
        table.Pin(1, Hop);
        foreach (byte link in new byte[] { 0, 1 }) table.Learn(link, Hop, Mac, solicited: true, overrides: true, 0);
        table.TryGetMac(index, out _, out _);
        long now = NeighborTable.ReachableNs;
        Poll(table, now);
        table.TryGetMac(index, out _, out _);
        for (int i = 0; i < asked; i++) Poll(table, now += Second);
        table.Restart(0, now + 1);
        Assert.That(Poll(table, now + 1), Is.EqualTo(new[] { new NeighborAction(asked < 4 ? NeighborActionKind.Probe : NeighborActionKind.Request, 0, Hop, asked < 4 ? Mac : default) }));
        Assert.That(table.StateOf(other), Is.EqualTo(NeighborState.Stale), "another link");
        table.Learn(0, Hop, Mac, solicited: true, overrides: true, now + 2);
        Assert.That(table.StateOf(index), Is.EqualTo(NeighborState.Reachable));
    }

    [Test]
    public void After_a_link_is_back_nobody_rests()
    {
        using NeighborTable table = Table();
        ushort index = table.Resolve(0, Hop);
        table.Enqueue(index, [1], default, 0, out _);
        for (int i = 1; i <= 3; i++) Poll(table, i * Second);
        Assert.That(table.Enqueue(index, [1], default, 3 * Second, out _), Is.EqualTo(NeighborVerdict.Unresolved));
        table.Restart(0, 3 * Second);
        Assert.That(Poll(table, 3 * Second), Is.Empty, "nobody needs it");
        Assert.That(table.Enqueue(index, [1], default, 3 * Second, out NeighborAction action), Is.EqualTo(NeighborVerdict.Queued));
        Assert.That(action.Kind, Is.EqualTo(NeighborActionKind.Request));
    }

    [Test]
    public void Only_known_neighbours_are_learnt_and_a_gratuitous_change_is_confirmed_soon()
    {
        using NeighborTable table = Table();
        Assert.That(table.Learn(0, Hop, Mac, solicited: false, overrides: true, 0), Is.Zero);
        Assert.That(table.Count, Is.Zero);
        ushort index = table.Resolve(0, Hop);
        table.Learn(0, Hop, Mac, solicited: true, overrides: true, 0);
        Assert.That(table.Learn(1, Hop, OtherMac, solicited: true, overrides: true, 0), Is.Zero, "another link");
        Assert.That(table.Learn(0, Hop, MacAddress.Broadcast, solicited: true, overrides: true, 0), Is.Zero);
        Assert.That(table.Learn(0, Hop, OtherMac, solicited: false, overrides: false, 0), Is.Zero, "may not override");
        table.TryGetMac(index, out MacAddress mac, out _);
        Assert.That(mac, Is.EqualTo(Mac));
        Assert.That(table.Learn(0, Hop, OtherMac, solicited: false, overrides: true, 0), Is.EqualTo(index));
        table.TryGetMac(index, out mac, out _);
        Assert.That(mac, Is.EqualTo(OtherMac));
        Assert.That(Poll(table, Second), Is.EqualTo(new[] { new NeighborAction(NeighborActionKind.Probe, 0, Hop, OtherMac) }));
    }

    [Test]
    public void A_frame_longer_than_a_slot_does_not_wait()
    {
        using NeighborTable table = Table();
        Assert.That(table.Enqueue(table.Resolve(0, Hop), new byte[2001], default, 0, out _), Is.EqualTo(NeighborVerdict.QueueFull));
    }

    [Test]
    public void A_full_table_gives_up_what_was_resolved_longest_ago_and_nobody_uses()
    {
        using NeighborTable table = Table();
        ushort[] index = [0, .. Enumerable.Range(1, 4).Select(i => table.Resolve(0, Address(i)))];
        Assert.That(index, Is.EqualTo(new[] { 0, 1, 2, 3, 4 }));
        table.AddUser(index[1]);
        table.Enqueue(index[2], [1], default, 0, out _);
        table.Learn(0, Address(2), Mac, solicited: true, overrides: true, 0);
        table.Resolve(0, Address(3));

        ushort fifth = table.Resolve(0, Address(5));
        Assert.That((fifth, table.Evicted, table.Count), Is.EqualTo((index[2], 1L, 4)), "1 has a user, 3 was needed since");
        Assert.That((table.AddressOf(fifth), table.StateOf(fifth), table.TryGetMac(fifth, out _, out _)), Is.EqualTo((Address(5), NeighborState.Failed, false)), "nothing of the old one is left");
        Assert.That(table.DroppedFrames, Is.EqualTo(1), "nor what waited for it");
        Assert.That(table.Learn(0, Address(2), Mac, solicited: true, overrides: true, 0), Is.Zero);
        Assert.That(table.Resolve(0, Address(6)), Is.EqualTo(index[4]));
        Assert.That(table.AddressOf(index[1]), Is.EqualTo(Address(1)));

        table.RemoveUser(index[1]);
        foreach (int i in (int[])[7, 8, 9, 10]) table.Resolve(0, Address(i));
        Assert.That(table.AddressOf(index[1]), Is.Not.EqualTo(Address(1)), "without its user it is as the others");
    }

    [Test]
    public void Who_is_only_expected_takes_no_other_ones_place_and_pinned_ones_keep_theirs()
    {
        using NeighborTable table = Table();
        table.Pin(0, Hop);
        for (int i = 1; i < 100; i++) table.Expect(1, Address(i));
        Assert.That((table.Count, table.Evicted), Is.EqualTo((4, 0L)));
        Assert.That(table.Learn(1, Address(3), Mac, solicited: false, overrides: true, 0), Is.Not.Zero);
        Assert.That(table.Learn(1, Address(4), Mac, solicited: false, overrides: true, 0), Is.Zero);
        for (int i = 1; i < 100; i++) Assert.That(table.Resolve(0, Address(i)), Is.Not.Zero);
        Assert.That(table.Learn(0, Hop, Mac, solicited: true, overrides: true, 0), Is.EqualTo(1));
    }

    [Test]
    public void Two_hops_of_one_splice_never_share_an_index()
    {
        using NeighborTable table = Table();
        for (int i = 1; i <= 2; i++) table.AddUser(table.Resolve(0, Address(i)));
        ushort toServer = table.Resolve(0, Address(3)), toClient = table.Resolve(0, Address(4));
        for (int i = 5; i < 50; i += 2)
        {
            (toServer, toClient) = (table.Resolve(0, Address(i)), table.Resolve(0, Address(i + 1)));
            Assert.That(toServer, Is.Not.EqualTo(toClient));
        }
        table.AddUser(toServer);
        Assert.That(table.Resolve(0, Address(60)), Is.Zero, "the one that is left may be in somebody's hands");
    }

    [Test]
    public void Many_that_are_due_one_after_the_other_are_looked_for_together()
    {
        using NeighborTable table = Table();
        for (int i = 1; i <= 4; i++) table.Enqueue(table.Resolve(0, Address(i)), [1], default, i, out _);
        Assert.That(Poll(table, Second + 1), Has.Count.EqualTo(1));
        Assert.That(Poll(table, Second + 4), Is.Empty);
        Assert.That(Poll(table, table.NextDeadline()), Has.Count.EqualTo(3));
    }

    [TestCase(1)]
    [TestCase(2)]
    public void Indexes_in_use_keep_their_meaning_whatever_else_is_asked_for(int seed)
    {
        const int capacity = 50;
        using NeighborTable table = new(capacity, 12, 2000);
        var random = new Random(seed);
        var used = new List<(ushort Index, IpAddr Address)>();
        for (int i = 0; i < 20_000; i++)
        {
            IpAddr address = Address(random.Next(1, 200));
            ushort index = table.Resolve(0, address);
            int unused = capacity - used.Select(u => u.Index).Distinct().Count();
            if (index == 0) Assert.That(unused, Is.LessThan(2), "full only if all are used");
            else Assert.That(table.AddressOf(index), Is.EqualTo(address));
            if (index != 0 && random.Next(2) == 0)
            {
                table.AddUser(index);
                used.Add((index, address));
            }
            while (used.Count > 0 && random.Next(used.Count < 60 ? 3 : 2) == 0)
            {
                int which = random.Next(used.Count);
                table.RemoveUser(used[which].Index);
                used.RemoveAt(which);
            }
            if (used.Count > 0) Assert.That(used[random.Next(used.Count)] is var (held, meant) && table.AddressOf(held) == meant, Is.True);
        }
        Assert.That(used.TrueForAll(u => table.AddressOf(u.Index) == u.Address), Is.True);
        Assert.That(table.Evicted, Is.Positive);
    }

    private static IpAddr Address(int last) => IpAddr.FromV4(0x0a00_0000 + (uint)last);

    [Test]
    public void A_poll_that_fills_its_span_goes_on_next_time()
    {
        using NeighborTable table = Table();
        for (uint i = 1; i <= 4; i++) table.Enqueue(table.Resolve(0, IpAddr.FromV4(i)), [1], default, 0, out _);
        var seen = new HashSet<IpAddr>();
        var one = new NeighborAction[1];
        while (table.Poll(Second, one) == 1) seen.Add(one[0].Address);
        Assert.That(seen, Has.Count.EqualTo(4));
    }

    [Test]
    public void Nothing_is_allocated_after_construction()
    {
        using NeighborTable table = Table();
        Run(table, 0);
        long before = GC.GetAllocatedBytesForCurrentThread();
        int sent = Run(table, 1000 * Second);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(sent, Is.Positive);
    }

    private int Run(NeighborTable table, long now)
    {
        int sent = 0;
        for (uint i = 1; i <= 4; i++)
        {
            ushort index = table.Resolve(0, IpAddr.FromV4(i));
            table.Enqueue(index, [1, 2, 3], default, now, out _);
            table.Learn(0, IpAddr.FromV4(i), Mac, solicited: true, overrides: true, now);
            while (table.TryDequeue(index, out _, out int slot)) table.Release(slot);
            ushort other = table.Resolve(1, IpAddr.FromV4(i + (uint)(now >> 30)));
            table.AddUser(other);
            table.RemoveUser(other);
        }
        for (; now % (1000 * Second) < 100 * Second; now += Second)
        {
            for (ushort index = 1; index <= 4; index++) table.TryGetMac(index, out _, out _);
            sent += table.Poll(now, _actions);
        }
        return sent;
    }
}
