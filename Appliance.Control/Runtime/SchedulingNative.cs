using System.Runtime.InteropServices;

namespace Appliance.Control.Runtime;

/// <summary>
/// Asks the kernel's scheduler for short slices for the calling thread: a thread that mostly
/// sleeps is then run soon after it wakes, also on a busy machine (EEVDF: an earlier virtual deadline;
/// sched_setattr(2) with sched_runtime for SCHED_OTHER, Linux 6.12 and later; needs no privilege).
/// Without effect where the kernel does not know it.
/// </summary>
internal static unsafe class SchedulingNative
{
    private const long SetAttributes = 314;
    private const ulong ShortestSliceNs = 100_000;

    /// <summary>Applies to the calling thread.</summary>
    public static void AskForShortSlices()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64) return;
        Attributes attributes = new() { Size = (uint)sizeof(Attributes), RuntimeNs = ShortestSliceNs };
        _ = syscall(SetAttributes, 0, &attributes, 0);
    }

    /// <summary>Keeps the calling thread on one processor, counted from 0 among the first 64.</summary>
    public static void Pin(int processor)
    {
        ulong mask = 1ul << processor;
        _ = sched_setaffinity(0, sizeof(ulong), &mask);
    }

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int sched_setaffinity(int thread, nuint size, ulong* mask);

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern long syscall(long number, int pid, Attributes* attributes, uint flags);

    [StructLayout(LayoutKind.Sequential)]
    private struct Attributes
    {
        public uint Size, Policy;
        public ulong Flags;
        public int Nice;
        public uint Priority;
        public ulong RuntimeNs, DeadlineNs, PeriodNs;
    }
}
