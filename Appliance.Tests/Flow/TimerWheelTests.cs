using Appliance.DataPath.Flow;
using NUnit.Framework;

namespace Appliance.Tests.Flow;

[TestFixture]
internal sealed class TimerWheelTests
{
    private struct Recorder(Dictionary<int, long> due, long[] again) : ITimerHandler
    {
        public int Fires;
        public long Last;

        public long Fired(int handle, int kind, int data, long nowNs)
        {
            Assert.That(due.Remove(data, out long deadline), Is.True, "fires once, and only what runs");
            Assert.That(deadline, Is.LessThanOrEqualTo(nowNs), "never early");
            Assert.That(kind, Is.EqualTo(data & 7));
            Fires++;
            Last = nowNs;
            long next = again[data];
            again[data] = 0;
            if (next != 0) due[data] = next;
            return next;
        }
    }

    private struct Counter : ITimerHandler
    {
        public int Fires;

        public long Fired(int handle, int kind, int data, long nowNs)
        {
            Fires++;
            return nowNs + data;
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    [TestCase(4)]
    public void Fires_what_is_due_in_time_and_nothing_else(int seed)
    {
        TestContext.Out.WriteLine($"seed {seed}");
        var random = new Random(seed);
        const int capacity = 300;
        long now = random.NextInt64(1L << random.Next(1, 62));
        var wheel = new TimerWheel(capacity, now);
        var due = new Dictionary<int, long>();
        var handles = new int[capacity];
        var again = new long[capacity];
        var recorder = new Recorder(due, again);
        for (int step = 0; step < 30_000; step++)
        {
            int data = random.Next(capacity);
            long deadline = now + random.NextInt64(1L << random.Next(1, 48)) - (1 << 10);
            bool runs = due.ContainsKey(data);
            switch (random.Next(6))
            {
                case 0 or 1 when !runs:
                    handles[data] = wheel.Schedule(deadline, data & 7, data);
                    Assert.That(handles[data], Is.Not.Zero);
                    due.Add(data, deadline);
                    if (random.Next(4) == 0) again[data] = deadline + random.NextInt64(1L << 34);
                    break;
                case 2 when runs:
                    wheel.Reschedule(handles[data], deadline);
                    due[data] = deadline;
                    break;
                case 3 when runs:
                    wheel.Cancel(handles[data]);
                    due.Remove(data);
                    again[data] = 0;
                    break;
                case 4:
                    now += random.NextInt64(1L << random.Next(1, 44));
                    while (wheel.Advance(now, ref recorder, 1 + random.Next(50))) Assert.That(wheel.NextDeadline(), Is.Zero);
                    foreach (long pending in due.Values) Assert.That(pending, Is.GreaterThan(now - TimerWheel.TickNs), "at most a tick late");
                    Assert.That(wheel.NextDeadline(), Is.GreaterThan(now));
                    if (due.Count > 0) Assert.That(wheel.NextDeadline(), Is.LessThan(due.Values.Max() + TimerWheel.TickNs));
                    break;
            }
            Assert.That(wheel.Count, Is.EqualTo(due.Count));
        }
        Assert.That(recorder.Fires, Is.GreaterThan(100));
    }

    [Test]
    public void The_budget_bounds_the_work_of_one_call()
    {
        var wheel = new TimerWheel(1000, 0);
        for (int i = 0; i < 1000; i++) wheel.Schedule(5_000_000_000, 0, 0);
        var counter = default(Counter);
        int calls = 0;
        while (counter.Fires < 1000)
        {
            int before = counter.Fires;
            wheel.Advance(6_000_000_000, ref counter, 10);
            Assert.That(counter.Fires - before, Is.LessThanOrEqualTo(10));
            calls++;
        }
        Assert.That(calls, Is.LessThan(600));
    }

    [Test]
    public void A_full_wheel_refuses_and_an_empty_one_has_no_deadline()
    {
        var wheel = new TimerWheel(2, 0);
        Assert.That(wheel.NextDeadline(), Is.EqualTo(long.MaxValue));
        int first = wheel.Schedule(100, 0, 0);
        Assert.That(wheel.Schedule(long.MaxValue, 0, 0), Is.Not.Zero);
        Assert.That(wheel.Schedule(100, 0, 0), Is.Zero);
        wheel.Cancel(first);
        Assert.That(wheel.Schedule(100, 0, 0), Is.EqualTo(first));
    }

    [Test]
    public void Nothing_is_allocated_after_construction()
    {
        var wheel = new TimerWheel(100, 0);
        for (int i = 0; i < 100; i++) wheel.Schedule(i * 1_000_000L, 0, 1_000_000 + i * 10_000);
        var counter = default(Counter);
        wheel.Advance(1_000_000_000, ref counter, 1000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (long now = 1_000_000_000; now < 2_000_000_000; now += 300_000) wheel.Advance(now, ref counter, 1000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(counter.Fires, Is.GreaterThan(10_000));
    }
}
