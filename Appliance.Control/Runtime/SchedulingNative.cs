using System.Numerics;
using System.Runtime.InteropServices;

namespace Appliance.Control.Runtime;

/// <summary>
/// Asks the kernel's scheduler to run the calling thread soon after it wakes, also on a busy machine: at real-time
/// priority (SCHED_FIFO) where an ordinary user was given CAP_SYS_NICE or a limit RLIMIT_RTPRIO, else in short slices (EEVDF: an earlier virtual deadline;
/// sched_setattr(2) with sched_runtime for SCHED_OTHER, Linux 6.12 and later; needs no privilege).
/// Without effect where the kernel does not know it.
/// </summary>
internal static unsafe class SchedulingNative
{
    /// <summary>Priorities of the worker, of replication, which it waits for, and of liveness, which must not wait for either.</summary>
    public const int Worker = 1, Replication = 2, Liveness = 3;

    private const long SetAttributes = 314;
    private const uint Fifo = 1;
    private const ulong ShortestSliceNs = 100_000;
    private const int MaskWords = 16, LowestPriority = 19;

    /// <summary>Applies to the calling thread; <paramref name="priority"/> counts at real-time priority only.</summary>
    public static void RunSoon(int priority)
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64) return;
        // Root always may, which does not say that it is wanted.
        Attributes realTime = new() { Size = (uint)sizeof(Attributes), Policy = Fifo, Priority = (uint)priority };
        if (geteuid() != 0 && syscall(SetAttributes, 0, &realTime, 0) == 0) return;
        Attributes attributes = new() { Size = (uint)sizeof(Attributes), RuntimeNs = ShortestSliceNs };
        _ = syscall(SetAttributes, 0, &attributes, 0);
    }

    /// <summary>Lets the calling thread run on what others leave (nice 19; setpriority(2) means one thread).</summary>
    public static void RunLater() => _ = setpriority(0, 0, LowestPriority);

    /// <summary>Keeps the calling thread on one of the processors that it may use now, counted from 0; beyond the last from the first again.</summary>
    public static void Pin(int number)
    {
        ulong* mask = stackalloc ulong[MaskWords];
        new Span<ulong>(mask, MaskWords).Clear();
        if (sched_getaffinity(0, MaskWords * sizeof(ulong), mask) != 0) return;
        int allowed = 0;
        for (int i = 0; i < MaskWords; i++) allowed += BitOperations.PopCount(mask[i]);
        if (allowed == 0) return;
        number %= allowed;
        for (int processor = 0; ; processor++)
        {
            if ((mask[processor / 64] >> (processor % 64) & 1) == 0 || number-- > 0) continue;
            new Span<ulong>(mask, MaskWords).Clear();
            mask[processor / 64] = 1ul << (processor % 64);
            _ = sched_setaffinity(0, MaskWords * sizeof(ulong), mask);
            return;
        }
    }

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int sched_getaffinity(int thread, nuint size, ulong* mask);

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int sched_setaffinity(int thread, nuint size, ulong* mask);

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int setpriority(int which, uint who, int priority);

    [DllImport("libc", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern uint geteuid();

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
