using Appliance.DataPath.Port;
using NUnit.Framework;

namespace Appliance.Tests.Port;

public sealed class WaiterTests
{
    [Test]
    public void A_wake_before_the_wait_ends_it_at_once_and_only_once()
    {
        using var waiter = new Waiter([-1]);
        waiter.Wake();
        waiter.Wake();
        Assert.That(waiter.Wait(-1), Is.True);
        Assert.That(waiter.Wait(0), Is.False);
        Assert.That(waiter.Wait(1000), Is.False);
    }

    [Test]
    public void No_wake_of_many_is_missed()
    {
        // Each side goes on only when the other has woken it: a lost wake would hang, so waits are bounded and checked.
        const int rounds = 20_000;
        using var here = new Waiter([]);
        using var there = new Waiter([]);
        int ball = 0, misses = 0;
        var other = new Thread(() =>
        {
            for (int i = 0; i < rounds; i++)
            {
                while (Volatile.Read(ref ball) != (2 * i) + 1)
                    if (!there.Wait(10_000_000_000)) Interlocked.Increment(ref misses);
                Volatile.Write(ref ball, (2 * i) + 2);
                here.Wake();
            }
        });
        other.Start();
        for (int i = 0; i < rounds; i++)
        {
            Volatile.Write(ref ball, (2 * i) + 1);
            there.Wake();
            while (Volatile.Read(ref ball) != (2 * i) + 2)
                if (!here.Wait(10_000_000_000)) Interlocked.Increment(ref misses);
        }
        other.Join();
        Assert.That(misses, Is.Zero);
    }

    [Test]
    public void Waiting_and_waking_allocate_nothing()
    {
        using var waiter = new Waiter([]);
        waiter.Wake();
        waiter.Wait(1);
        waiter.Wait(1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            waiter.Wake();
            waiter.Wait(-1);
            waiter.Wait(1);
        }
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }
}
