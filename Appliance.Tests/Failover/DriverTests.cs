using Appliance.Control.Failover;
using Appliance.Control.Replication;
using Appliance.Control.Sealing;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Failover;

/// <summary>The socket drivers over loopback; waiting is for an event, never for a time.</summary>
[TestFixture]
public sealed class DriverTests
{
    private static readonly IpAddr Loopback = IpAddr.FromV4(0x7f000001);

    [Test]
    public void Closing_the_other_end_tells_its_death()
    {
        var keys = new ClusterKeys("0123456789abcdef"u8);
        var me = Incarnation.Create();
        using var told = new BlockingCollectionOfDeaths();
        using var a = new DeathBell(0, 3, Incarnation.Create(), keys, Loopback, 0, told.Add);
        var b = new DeathBell(1, 3, me, keys, Loopback, 0, (_, _) => { });
        a.AddPeer(1, Loopback, b.Port);
        SpinWait.SpinUntil(() => a.Proved == 1 && b.Proved == 1, 10_000);
        b.Dispose();
        Assert.That(told.Take(), Is.EqualTo(((byte)1, me.Id)));
    }

    [Test]
    public void A_stranger_rings_no_bell()
    {
        using var told = new BlockingCollectionOfDeaths();
        using var a = new DeathBell(0, 3, Incarnation.Create(), new ClusterKeys("0123456789abcdef"u8), Loopback, 0, told.Add);
        using (var b = new DeathBell(1, 3, Incarnation.Create(), new ClusterKeys("another key, sixteen"u8), Loopback, 0, (_, _) => { }))
        {
            a.AddPeer(1, Loopback, b.Port);
            SpinWait.SpinUntil(() => a.Proved > 0, 300);
        }
        Assert.That(a.Proved, Is.Zero);
        Assert.That(told.Count, Is.Zero);
    }

    [Test]
    public void Datagrams_pass_without_allocation_and_a_closed_port_is_noticed()
    {
        using var a = new UdpPeerSocket(Loopback, 0);
        var b = new UdpPeerSocket(Loopback, 0);
        a.AddPeer(1, Loopback, b.Port);
        byte[] room = new byte[2000];
        Assert.That(b.Receive(room), Is.Zero);
        long before = 0;
        for (int i = 0; i < 2_000; i++)
        {
            if (i == 1_000) before = GC.GetAllocatedBytesForCurrentThread();
            a.Send(1, "a record"u8);
            int got = 0;
            while (got == 0) got = b.Receive(room);
            if (got != 8) Assert.Fail("wrong length");
        }
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(a.TakeRefused(), Is.Zero);
        b.Dispose();
        ulong refused = 0;
        SpinWait.SpinUntil(() =>
        {
            a.Send(1, "anybody?"u8);
            return (refused |= a.TakeRefused()) != 0;
        }, 10_000);
        Assert.That(refused, Is.EqualTo(2UL));
    }

    private sealed class BlockingCollectionOfDeaths : IDisposable
    {
        private readonly System.Collections.Concurrent.BlockingCollection<(byte, ulong)> _queue = [];

        public int Count => _queue.Count;

        public void Add(byte node, ulong incarnation) => _queue.Add((node, incarnation));

        public (byte, ulong) Take() => _queue.TryTake(out (byte, ulong) death, 10_000) ? death : default;

        public void Dispose() => _queue.Dispose();
    }
}
