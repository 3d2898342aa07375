using System.Runtime.InteropServices;

namespace Appliance.DataPath.Memory;

/// <summary>
/// The only bridge between addresses of unmanaged memory and safe code. Callers own the memory
/// that an address points to and keep it alive while the span or reference is used.
/// </summary>
public static unsafe class MemoryNative
{
    /// <summary>A span over <paramref name="length"/> bytes at <paramref name="address"/>.</summary>
    public static Span<byte> Span(nint address, int length) => new((void*)address, length);

    /// <summary>A reference to a blittable value at <paramref name="address"/>.</summary>
    public static ref T Ref<T>(nint address) where T : unmanaged => ref *(T*)address;

    /// <summary>The address of a pinned or unmanaged span's first byte; the caller knows that it does not move.</summary>
    public static nint AddressOf(ReadOnlySpan<byte> pinned) =>
        (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref MemoryMarshal.GetReference(pinned));

    /// <summary>Zeroed memory, aligned to 64 bytes; give it back with <see cref="Free"/>.</summary>
    public static nint Allocate(nuint bytes)
    {
        void* p = NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(p, bytes);
        return (nint)p;
    }

    /// <summary>Frees what <see cref="Allocate"/> gave.</summary>
    public static void Free(nint address) => NativeMemory.AlignedFree((void*)address);

    /// <summary>Zeroed pages that cost memory only once they are touched; give them back with <see cref="Unreserve"/>.</summary>
    public static nint Reserve(nuint bytes)
    {
        nint address = mmap(0, bytes, ProtReadWrite, MapPrivateAnonymousNoReserve, -1, 0);
        if (address == -1) throw new OutOfMemoryException($"cannot reserve {bytes} bytes");
        return address;
    }

    /// <summary>Gives back what <see cref="Reserve"/> gave.</summary>
    public static void Unreserve(nint address, nuint bytes) => _ = munmap(address, bytes);

    /// <summary>Asks the processor to load the cache line at <paramref name="address"/>; never faults.</summary>
    public static void Prefetch(nint address)
    {
        if (System.Runtime.Intrinsics.X86.Sse.IsSupported) System.Runtime.Intrinsics.X86.Sse.Prefetch0((void*)address);
    }

    private const int ProtReadWrite = 3, MapPrivateAnonymousNoReserve = 0x4022;

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern nint mmap(nint address, nuint length, int protection, int flags, int descriptor, long offset);

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int munmap(nint address, nuint length);
}
