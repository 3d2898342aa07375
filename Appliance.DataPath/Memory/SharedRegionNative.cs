using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Appliance.DataPath.Memory;

/// <summary>
/// Memory mapped as a whole: private to the process, or a file that other processes map too. It
/// starts zeroed and is committed page by page as it is touched, so a huge region costs only
/// what is used. A shared file should lie on a memory file system (/dev/shm, /run), in a directory
/// that only trusted processes write: one that shortens it would crash every reader. The
/// mapping outlives the file's name (<see cref="Unlink"/>), so a restarted process can leave old readers their old memory.
/// </summary>
public sealed unsafe partial class SharedRegion : IDisposable
{
    private const int ProtRead = 1, ProtWrite = 2, MapShared = 1, MapPrivate = 2, MapAnonymous = 0x20, MapNoReserve = 0x4000;
    private const int OpenReadWrite = 2, OpenCreate = 0x40, OpenExclusive = 0x80, OpenCloseOnExec = 0x80000, OwnerReadWrite = 0x180;

    private SharedRegion(nint address, long length, string? path, bool writable)
    {
        Address = address;
        Length = length;
        Path = path;
        IsWritable = writable;
    }

    /// <summary>First byte, on a page boundary; 0 after disposal.</summary>
    public nint Address { get; private set; }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>The file's name, or null for private memory.</summary>
    public string? Path { get; }

    /// <summary>False for a region opened for reading only: a write to it kills the process.</summary>
    public bool IsWritable { get; }

    /// <summary>Private zeroed memory.</summary>
    public static SharedRegion Anonymous(long length) =>
        new(Map(length, ProtRead | ProtWrite, MapPrivate | MapAnonymous | MapNoReserve, -1, "private memory"), length, null, writable: true);

    /// <summary>Creates file <paramref name="name"/> in <paramref name="directory"/>, which must not have it yet, readable and writable by its owner only.</summary>
    /// <exception cref="IOException">The file exists, or cannot be created or mapped.</exception>
    public static SharedRegion Create(string directory, string name, long length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        string path = System.IO.Path.Combine(directory, name);
        using SafeFileHandle file = OpenFile(path, OpenReadWrite | OpenCreate | OpenExclusive);
        RandomAccess.SetLength(file, length);
        return MapFile(file, path, length, writable: true);
    }

    /// <summary>Maps an existing file at its present length.</summary>
    /// <exception cref="IOException">There is no such file, it is empty, or it cannot be mapped.</exception>
    public static SharedRegion Open(string path, bool writable)
    {
        using SafeFileHandle file = OpenFile(path, writable ? OpenReadWrite : 0);
        long length = RandomAccess.GetLength(file);
        return length > 0 ? MapFile(file, path, length, writable) : throw new IOException($"{path}: the file is empty.");
    }

    /// <summary>Removes the file's name; the memory stays for all who have it mapped. Without effect if it is gone already.</summary>
    public void Unlink()
    {
        if (Path is not null) File.Delete(Path);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Address == 0) return;
        _ = MUnmap(Address, (nuint)Length);
        Address = 0;
    }

    private static SafeFileHandle OpenFile(string path, int flags)
    {
        int handle = Open(path, flags | OpenCloseOnExec, OwnerReadWrite);
        return handle >= 0 ? new SafeFileHandle(handle, ownsHandle: true) : throw new IOException($"{path}: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}.");
    }

    private static SharedRegion MapFile(SafeFileHandle file, string path, long length, bool writable) =>
        new(Map(length, writable ? ProtRead | ProtWrite : ProtRead, MapShared, (int)file.DangerousGetHandle(), path), length, path, writable);

    private static nint Map(long length, int protection, int flags, int handle, string what)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        nint address = MMap(0, (nuint)length, protection, flags, handle, 0);
        return address != -1 ? address : throw new IOException($"{what}: {length} bytes cannot be mapped: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}.");
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MMap(nint address, nuint length, int protection, int flags, int handle, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int MUnmap(nint address, nuint length);
}
