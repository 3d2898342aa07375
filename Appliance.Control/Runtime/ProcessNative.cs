using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Appliance.Control.Runtime;

/// <summary>What .NET does not offer about processes: signals, and the bond of a child to its parent (prctl(2), kill(2)), and memory that children inherit as a file (memfd_create(2)).</summary>
internal static partial class ProcessNative
{
    public const int SigKill = 9, SigTerm = 15;

    private const int SetParentDeathSignal = 1;

    /// <summary>Sends a signal; false if there is no such process or it is another user's.</summary>
    public static bool Signal(int pid, int signal) => Kill(pid, signal) == 0;

    /// <summary>True while a process with this id exists, whoever it belongs to.</summary>
    public static bool Exists(int pid) => pid > 0 && Directory.Exists($"/proc/{pid}");

    /// <summary>
    /// The kernel kills this process when the thread that started it ends. False if the parent is not
    /// <paramref name="parent"/> (any more): then it died before the bond was made.
    /// </summary>
    public static bool DieWith(int parent) => Prctl(SetParentDeathSignal, SigKill, 0, 0, 0) == 0 && GetParent() == parent;

    /// <summary>A file without a place on any disk, which every child finds open under the same number.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    public static SafeFileHandle InheritedFile(string name, string text)
    {
        SafeFileHandle file = new(MemoryFile(name, 0), ownsHandle: true);
        if (file.IsInvalid) throw new IOException($"memory for the {name}: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");
        RandomAccess.Write(file, Encoding.UTF8.GetBytes(text), 0);
        return file;
    }

    /// <summary>Path by which a process opens a file that it has inherited.</summary>
    public static string PathOf(SafeFileHandle file) => $"/proc/self/fd/{file.DangerousGetHandle()}";

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemoryFile(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int pid, int signal);

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    private static partial int Prctl(int option, nuint arg2, nuint arg3, nuint arg4, nuint arg5);

    [LibraryImport("libc", EntryPoint = "getppid")]
    private static partial int GetParent();
}
