using System.Runtime.InteropServices;

namespace Appliance.Control.Runtime;

/// <summary>What .NET does not offer about processes: signals, and the bond of a child to its parent (prctl(2), kill(2)).</summary>
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

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int pid, int signal);

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    private static partial int Prctl(int option, nuint arg2, nuint arg3, nuint arg4, nuint arg5);

    [LibraryImport("libc", EntryPoint = "getppid")]
    private static partial int GetParent();
}
