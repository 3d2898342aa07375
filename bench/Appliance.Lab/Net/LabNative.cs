using System.ComponentModel;
using System.Runtime.InteropServices;

namespace Appliance.Lab.Net;

/// <summary>
/// The few system calls that the lab needs and .NET does not offer: entering a network namespace, signals, an
/// absolute sleep, a raw frame socket. Every method throws <see cref="Win32Exception"/> with the errno's text.
/// </summary>
internal static partial class LabNative
{
    public const int SigInt = 2;
    public const int SigKill = 9;
    public const int SigTerm = 15;
    public const int SigCont = 18;
    public const int SigStop = 19;

    private const int CloneNewNet = 0x40000000;
    private const int ClockMonotonic = 1;
    private const int TimerAbsolute = 1;
    private const int Esrch = 3;
    private const int PacketFamily = 17;
    private const int SockRaw = 3;
    private const int PrSetTimerSlack = 29;

    /// <summary>Moves the calling thread into the network namespace whose file is <paramref name="path"/>.</summary>
    public static void EnterNamespace(string path)
    {
        using var file = File.OpenHandle(path);
        if (SetNs((int)file.DangerousGetHandle(), CloneNewNet) != 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError(), $"cannot enter {path}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>Sends a signal; false when there is no such process. A negative id means the process group.</summary>
    public static bool Signal(int pid, int signal)
    {
        if (KillCall(pid, signal) == 0)
        {
            return true;
        }
        int error = Marshal.GetLastPInvokeError();
        return error == Esrch ? false : throw new Win32Exception(error);
    }

    /// <summary>Lets every user read, write and enter a directory.</summary>
    public static void AllowAll(string path)
    {
        const uint everything = 0x1FF;
        if (Chmod(path, everything) != 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError(), path);
        }
    }

    /// <summary>Monotonic clock in nanoseconds, the same for all processes of the machine.</summary>
    public static long MonotonicNs()
    {
        _ = ClockGetTime(ClockMonotonic, out var now);
        return (now.Seconds * 1_000_000_000L) + now.Nanoseconds;
    }

    /// <summary>Sleeps until the monotonic clock shows <paramref name="deadlineNs"/>.</summary>
    public static void SleepUntil(long deadlineNs)
    {
        var until = new TimeSpec { Seconds = deadlineNs / 1_000_000_000L, Nanoseconds = deadlineNs % 1_000_000_000L };
        _ = ClockNanoSleep(ClockMonotonic, TimerAbsolute, in until, 0);
    }

    /// <summary>Lets the calling thread's timers fire without the usual 50 us of slack.</summary>
    public static void NoTimerSlack() => _ = PrCtl(PrSetTimerSlack, 1, 0, 0, 0);

    /// <summary>Sends one Ethernet frame out of an interface of the calling thread's namespace.</summary>
    public static void SendFrame(string interfaceName, byte[] frame) => SendFrames(interfaceName, [frame]);

    /// <summary>Sends many frames, a few hundred per millisecond, so that queues on the way hold them.</summary>
    public static void SendFrames(string interfaceName, IEnumerable<byte[]> frames)
    {
        const int burst = 200;
        int sent = 0;
        uint index = InterfaceIndex(interfaceName);
        if (index == 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError(), $"no interface {interfaceName}");
        }
        int fd = SocketCall(PacketFamily, SockRaw, 0);
        if (fd < 0)
        {
            throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
        try
        {
            var to = new LinkAddress { Family = PacketFamily, Index = (int)index };
            foreach (byte[] frame in frames)
            {
                if (SendTo(fd, frame, (nuint)frame.Length, 0, in to, 20) != frame.Length)
                {
                    throw new Win32Exception(Marshal.GetLastPInvokeError());
                }
                if (++sent % burst == 0)
                {
                    Thread.Sleep(1);
                }
            }
        }
        finally
        {
            _ = Close(fd);
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct LinkAddress
    {
        public ushort Family;
        public ushort Protocol;
        public int Index;
        public ushort HardwareType;
        public byte PacketType;
        public byte AddressLength;
        public ulong Address;
    }

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNs(int fd, int type);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int KillCall(int pid, int signal);

    [LibraryImport("libc", EntryPoint = "chmod", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Chmod(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int ClockGetTime(int clock, out TimeSpec time);

    [LibraryImport("libc", EntryPoint = "clock_nanosleep")]
    private static partial int ClockNanoSleep(int clock, int flags, in TimeSpec until, nint remaining);

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int PrCtl(int option, ulong a, ulong b, ulong c, ulong d);

    [LibraryImport("libc", EntryPoint = "if_nametoindex", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial uint InterfaceIndex(string name);

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int SocketCall(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "sendto", SetLastError = true)]
    private static partial nint SendTo(int fd, ReadOnlySpan<byte> data, nuint length, int flags, in LinkAddress to, int toLength);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int fd);
}
