using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;
using Appliance.DataPath.Memory;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using Microsoft.Win32.SafeHandles;

namespace Appliance.Control.Runtime;

/// <summary>
/// A page that an engine shares with its supervisor: in it what is to be said when the engine is dead (its last beat, sealed
/// beforehand), to whom, and a robust mutex that the engine holds as long as it lives (pthread_mutexattr_setrobust(3)). The kernel gives such a mutex
/// up first of all when it ends a process; its memory, its sockets and the news of its exit come later, tens of milliseconds if
/// packet sockets are among them. One writer, the engine, before it takes the mutex; read by the supervisor after it has got it.
/// </summary>
public sealed unsafe partial class ExitNoticeNative : IDisposable
{
    /// <summary>Longest notice; most addresses.</summary>
    public const int MaxNotice = 1024, MaxAddresses = NodeIds.Max + 1;

    private const int PageBytes = 4096, SemaphoreAt = 64, HeldAt = 128, LengthAt = 132, CountAt = 136, AddressesAt = 192, AddressBytes = 18, NoticeAt = 2048;
    private const int ProcessShared = 1, Robust = 1, OwnerDead = 130;

    private readonly SharedRegion _page;

    private ExitNoticeNative(SharedRegion page) => _page = page;

    private byte* Base => (byte*)_page.Address;

    private ref int Held => ref *(int*)(Base + HeldAt);

    /// <summary>The supervisor's side: a page in a file that children inherit.</summary>
    /// <exception cref="IOException">The kernel or the C library refuses.</exception>
    public static ExitNoticeNative Create(out SafeFileHandle file)
    {
        file = ProcessNative.InheritedFile("exit notice", "");
        try
        {
            RandomAccess.SetLength(file, PageBytes);
            var notice = new ExitNoticeNative(SharedRegion.Open(ProcessNative.PathOf(file), writable: true));
            if (notice.TryInitialize()) return notice;
            notice.Dispose();
            throw new IOException("exit notice: the C library has no robust mutexes between processes");
        }
        catch (IOException)
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The engine's side.</summary>
    /// <exception cref="IOException">There is no such file.</exception>
    public static ExitNoticeNative Open(string path) => new(SharedRegion.Open(path, writable: true));

    /// <summary>Engine: writes the notice and addresses, at most <see cref="MaxAddresses"/>: the one it comes from, then those whom it is for. Before <see cref="Hold"/>.</summary>
    public void Write(ReadOnlySpan<byte> notice, ReadOnlySpan<(IpAddr Address, int Port)> addresses)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(notice.Length, MaxNotice);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(addresses.Length, MaxAddresses);
        *(int*)(Base + LengthAt) = notice.Length;
        *(int*)(Base + CountAt) = addresses.Length;
        notice.CopyTo(new Span<byte>(Base + NoticeAt, MaxNotice));
        for (int i = 0; i < addresses.Length; i++)
        {
            Span<byte> at = new(Base + AddressesAt + i * AddressBytes, AddressBytes);
            addresses[i].Address.WriteV6(at);
            BinaryPrimitives.WriteUInt16BigEndian(at[16..], (ushort)addresses[i].Port);
        }
    }

    /// <summary>Engine: takes the mutex for the calling thread, which must live as long as the process, and lets the supervisor know.</summary>
    public void Hold()
    {
        if (MutexLock(Base) != 0) return;
        Volatile.Write(ref Held, 1);
        _ = SemaphorePost(Base + SemaphoreAt);
    }

    /// <summary>Supervisor: waits until the engine holds the mutex; false if it ended before (<see cref="GiveUp"/>).</summary>
    public bool WaitUntilHeld()
    {
        // Interrupted by a signal: again.
        while (SemaphoreWait(Base + SemaphoreAt) != 0) { }
        return Volatile.Read(ref Held) != 0;
    }

    /// <summary>Supervisor: waits until the engine has died; false if it gave the mutex up alive, which it does not.</summary>
    public bool WaitForEnd()
    {
        int answer = MutexLock(Base);
        // Not ours to keep: the page goes before this thread does.
        if (answer == OwnerDead) _ = MutexConsistent(Base);
        if (answer is 0 or OwnerDead) _ = MutexUnlock(Base);
        return answer == OwnerDead;
    }

    /// <summary>Supervisor: the engine has ended; whoever waits for it to begin goes on.</summary>
    public void GiveUp() => _ = SemaphorePost(Base + SemaphoreAt);

    /// <summary>Supervisor: what the engine left.</summary>
    public ReadOnlySpan<byte> Notice => new(Base + NoticeAt, Math.Clamp(*(int*)(Base + LengthAt), 0, MaxNotice));

    /// <summary>Supervisor: the addresses that go with it.</summary>
    public IPEndPoint[] Addresses()
    {
        var addresses = new IPEndPoint[Math.Clamp(*(int*)(Base + CountAt), 0, MaxAddresses)];
        for (int i = 0; i < addresses.Length; i++)
        {
            ReadOnlySpan<byte> at = new(Base + AddressesAt + i * AddressBytes, AddressBytes);
            addresses[i] = new IPEndPoint(IpAddr.ReadV6(at).ToIPAddress(), BinaryPrimitives.ReadUInt16BigEndian(at[16..]));
        }
        return addresses;
    }

    /// <inheritdoc/>
    public void Dispose() => _page.Dispose();

    private bool TryInitialize()
    {
        byte* attributes = stackalloc byte[64];
        return MutexAttributesInit(attributes) == 0 && MutexAttributesSetShared(attributes, ProcessShared) == 0 && MutexAttributesSetRobust(attributes, Robust) == 0
            && MutexInit(Base, attributes) == 0 && SemaphoreInit(Base + SemaphoreAt, ProcessShared, 0) == 0;
    }

    [LibraryImport("libc", EntryPoint = "pthread_mutexattr_init")]
    private static partial int MutexAttributesInit(byte* attributes);

    [LibraryImport("libc", EntryPoint = "pthread_mutexattr_setpshared")]
    private static partial int MutexAttributesSetShared(byte* attributes, int shared);

    [LibraryImport("libc", EntryPoint = "pthread_mutexattr_setrobust")]
    private static partial int MutexAttributesSetRobust(byte* attributes, int robust);

    [LibraryImport("libc", EntryPoint = "pthread_mutex_init")]
    private static partial int MutexInit(byte* mutex, byte* attributes);

    [LibraryImport("libc", EntryPoint = "pthread_mutex_lock")]
    private static partial int MutexLock(byte* mutex);

    [LibraryImport("libc", EntryPoint = "pthread_mutex_consistent")]
    private static partial int MutexConsistent(byte* mutex);

    [LibraryImport("libc", EntryPoint = "pthread_mutex_unlock")]
    private static partial int MutexUnlock(byte* mutex);

    [LibraryImport("libc", EntryPoint = "sem_init")]
    private static partial int SemaphoreInit(byte* semaphore, int shared, uint value);

    [LibraryImport("libc", EntryPoint = "sem_wait")]
    private static partial int SemaphoreWait(byte* semaphore);

    [LibraryImport("libc", EntryPoint = "sem_post")]
    private static partial int SemaphorePost(byte* semaphore);
}
