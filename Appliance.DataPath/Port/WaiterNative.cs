using Appliance.DataPath.Memory;

namespace Appliance.DataPath.Port;

/// <summary>
/// Lets one thread sleep until a descriptor is readable, somebody wakes it, or a time has passed (ppoll and
/// an eventfd). <see cref="Wake"/> may be called by any thread at any time and is a memory
/// operation unless the waiter sleeps; a wake between two waits ends the second one at once.
/// </summary>
public sealed unsafe class Waiter : IDisposable
{
    private const int EventFdFlags = SocketNative.SockNonBlock | SocketNative.SockCloExec;

    private readonly int _count, _event;
    private readonly SocketNative.PollFd* _polled;
    private nint _memory;
    private int _pending, _sleeping;

    /// <summary>Waits for <paramref name="handles"/>; negative ones (ports without a descriptor) are left out.</summary>
    public Waiter(ReadOnlySpan<int> handles)
    {
        _memory = MemoryNative.Allocate((nuint)((handles.Length + 1) * sizeof(SocketNative.PollFd)));
        _polled = (SocketNative.PollFd*)_memory;
        _event = SocketNative.EventFd(0, EventFdFlags);
        if (_event < 0) throw PortException.For("waiter", "an eventfd", SocketNative.Error);
        _polled[_count++] = new() { Handle = _event, Events = SocketNative.PollIn };
        foreach (int handle in handles)
            if (handle >= 0) _polled[_count++] = new() { Handle = handle, Events = SocketNative.PollIn };
    }

    /// <summary>True while the owner sleeps, as seen at some recent instant.</summary>
    public bool IsSleeping => Volatile.Read(ref _sleeping) != 0;

    /// <summary>Sleeps at most <paramref name="timeoutNs"/> (negative: without limit; 0: only looks); true if something is there.</summary>
    public bool Wait(long timeoutNs)
    {
        // The exchange orders our "sleeping" before our look at "pending"; Wake does the reverse, so one of the two sees the other.
        Interlocked.Exchange(ref _sleeping, 1);
        if (Volatile.Read(ref _pending) != 0) timeoutNs = 0;
        SocketNative.TimeSpec time = new() { Seconds = timeoutNs / 1_000_000_000, Nanoseconds = timeoutNs % 1_000_000_000 };
        int ready = SocketNative.PPoll(_polled, (nuint)_count, timeoutNs < 0 ? null : &time, null);
        Volatile.Write(ref _sleeping, 0);
        if (ready > 0 && _polled[0].Returned != 0)
        {
            ulong counter;
            _ = SocketNative.Read(_event, &counter, sizeof(ulong));
        }
        if (ready > 0) TakeErrors();
        return (Interlocked.Exchange(ref _pending, 0) != 0) | (ready > 0);
    }

    // An interface that goes down leaves an error on its sockets; untaken, it ends every wait at once until it is up again.
    private void TakeErrors()
    {
        for (int i = 1; i < _count; i++)
        {
            if ((_polled[i].Returned & SocketNative.PollErr) == 0) continue;
            int error;
            uint length = sizeof(int);
            _ = SocketNative.GetOption(_polled[i].Handle, SocketNative.SolSocket, SocketNative.SoError, &error, &length);
        }
    }

    /// <summary>Ends the current or the next wait.</summary>
    public void Wake()
    {
        if (Interlocked.Exchange(ref _pending, 1) != 0 || Volatile.Read(ref _sleeping) == 0) return;
        ulong one = 1;
        _ = SocketNative.Write(_event, &one, sizeof(ulong));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_memory == 0) return;
        _ = SocketNative.Close(_event);
        MemoryNative.Free(_memory);
        _memory = 0;
    }
}
