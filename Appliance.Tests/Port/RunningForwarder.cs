using Appliance.DataPath.Port;

namespace Appliance.Tests.Port;

/// <summary>A <see cref="BarePassThrough"/> on its own thread between the two ports of <see cref="Namespaces"/>.</summary>
internal sealed class RunningForwarder : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Waiter _waiter;
    private readonly Thread _thread;
    private int _count;

    internal RunningForwarder(Namespaces net, AfPacketOptions options)
    {
        AfPacketPort? a = null, b = null;
        Namespaces.Inside(net.Forwarder, () =>
        {
            a = AfPacketPort.Open(Namespaces.PortA, new MacFilter([TestFrames.Mac(Namespaces.OwnMacA)]), options);
            b = AfPacketPort.Open(Namespaces.PortB, new MacFilter([TestFrames.Mac(Namespaces.OwnMacB)]), options);
        });
        (A, B) = (a!, b!);
        _waiter = new Waiter([.. A.PollHandles, .. B.PollHandles]);
        var forwarder = new BarePassThrough(A, B)
        {
            ToA = (TestFrames.Mac(Namespaces.ClientMac), TestFrames.Mac(Namespaces.OwnMacA)),
            ToB = (TestFrames.Mac(Namespaces.ServerMac), TestFrames.Mac(Namespaces.OwnMacB)),
        };
        CancellationToken token = _stop.Token;
        _thread = new Thread(() =>
        {
            long before = 0;
            while (!token.IsCancellationRequested)
            {
                if (Interlocked.Exchange(ref _count, 0) != 0) before = GC.GetAllocatedBytesForCurrentThread();
                if (forwarder.Cycle() == 0) _waiter.Wait(-1);
            }
            Allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        });
        _thread.Start();
    }

    internal AfPacketPort A { get; }

    internal AfPacketPort B { get; }

    internal long Allocated { get; private set; }

    /// <summary>Counts what the thread allocates from now on; what runs for the first time has run before.</summary>
    internal void CountAllocations()
    {
        Interlocked.Exchange(ref _count, 1);
        _waiter.Wake();
    }

    internal void Stop()
    {
        _stop.Cancel();
        _waiter.Wake();
        _thread.Join();
    }

    public void Dispose()
    {
        Stop();
        _waiter.Dispose();
        _stop.Dispose();
        A.Dispose();
        B.Dispose();
    }
}
