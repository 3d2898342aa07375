using System.Runtime.InteropServices;

namespace Appliance.Tests.Fuzz;

/// <summary>Maps memory between two pages that nobody may touch (mmap(2), mprotect(2)).</summary>
internal static unsafe partial class GuardedBufferNative
{
    private const int ProtNone = 0, ProtReadWrite = 3, MapPrivateAnonymous = 0x22;

    /// <summary>Maps <paramref name="bytes"/> (a multiple of the page size) with a guard page on either side; gives the first usable byte.</summary>
    internal static nint Map(nuint bytes, nuint page)
    {
        nint start = MMap(0, bytes + 2 * page, ProtNone, MapPrivateAnonymous, -1, 0);
        if (start == -1) throw new InvalidOperationException("mmap failed: errno " + Marshal.GetLastPInvokeError());
        if (MProtect(start + (nint)page, bytes, ProtReadWrite) != 0) throw new InvalidOperationException("mprotect failed: errno " + Marshal.GetLastPInvokeError());
        return start + (nint)page;
    }

    /// <summary>Unmaps what <see cref="Map"/> gave.</summary>
    internal static void Unmap(nint usable, nuint bytes, nuint page) => _ = MUnmap(usable - (nint)page, bytes + 2 * page);

    internal static Span<byte> Span(nint address, int length) => new((void*)address, length);

    /// <summary>True if one byte at <paramref name="address"/> may be read; asks the kernel (write(2) to a pipe gives EFAULT otherwise).</summary>
    internal static bool IsReadable(nint address)
    {
        int* ends = stackalloc int[2];
        if (Pipe(ends) != 0) throw new InvalidOperationException("pipe failed: errno " + Marshal.GetLastPInvokeError());
        bool readable = Write(ends[1], address, 1) == 1;
        _ = Close(ends[0]);
        _ = Close(ends[1]);
        return readable;
    }

    [LibraryImport("libc", EntryPoint = "pipe", SetLastError = true)]
    private static partial int Pipe(int* ends);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int descriptor, nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MMap(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int MProtect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MUnmap(nint address, nuint length);
}
