using System.Runtime.InteropServices;

namespace Appliance.DataPath.Port;

/// <summary>
/// The system calls that ports, waiters and link watchers need, and the structures and numbers
/// of linux/if_packet.h, linux/filter.h and sys/socket.h that go with them (x86-64 and arm64
/// agree on all of them). Failures come back as -1 with the error number in <see cref="Error"/>.
/// </summary>
internal static unsafe partial class SocketNative
{
    internal const int AfPacket = 17, AfNetlink = 16, AfInet = 2;
    internal const int SockRaw = 3, SockDgram = 2, SockNonBlock = 0x800, SockCloExec = 0x80000;
    internal const int SolSocket = 1, SolPacket = 263;
    internal const int SoError = 4, SoSndBuf = 7, SoRcvBuf = 8, SoPriority = 12, SoAttachFilter = 26, SoSndBufForce = 32, SoRcvBufForce = 33;
    internal const int PacketAddMembership = 1, PacketDropMembership = 2, PacketRxRing = 5, PacketStatistics = 6, PacketAuxData = 8;
    internal const int PacketVersion = 10, PacketReserve = 12, PacketVnetHdr = 15, PacketFanout = 18, PacketQdiscBypass = 20;
    internal const int PacketFanoutData = 22, PacketIgnoreOutgoing = 23;
    internal const int FanoutCbpf = 6, FanoutIgnoreOutgoing = 0x4000;
    internal const ushort EthPAll = 3;
    internal const int MsgDontWait = 0x40, MsgTrunc = 0x20;
    internal const int PollIn = 1, PollErr = 8;
    internal const int ProtRead = 1, ProtWrite = 2, MapShared = 1;
    internal const int EPerm = 1, EIntr = 4, ENxio = 6, EAgain = 11, ENoMem = 12, EAcces = 13, ENoDev = 19, EInval = 22, EMsgSize = 90, ENetDown = 100, ENoBufs = 105;

    /// <summary>Error number of the last failed call on this thread.</summary>
    internal static int Error => Marshal.GetLastPInvokeError();

    [StructLayout(LayoutKind.Sequential)]
    internal struct IoVec
    {
        internal nint Base;
        internal nuint Length;
    }

    /// <summary>struct mmsghdr: a struct msghdr and the byte count of the call.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct MMsgHdr
    {
        internal nint Name;
        internal uint NameLength;
        internal nint Vectors;
        internal nuint VectorCount;
        internal nint Control;
        internal nuint ControlLength;
        internal int Flags;
        private readonly uint _padding;
        internal uint Length;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct SockAddrLl
    {
        internal ushort Family;
        internal ushort Protocol;
        internal int Index;
        internal ushort HardwareType;
        internal byte PacketType;
        internal byte AddressLength;
        internal ulong Address;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct PacketMreq
    {
        internal int Index;
        internal ushort Type;
        internal ushort Length;
        internal fixed byte Address[8];
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct SockFprog
    {
        internal ushort Length;
        internal BpfInstruction* Program;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct PollFd
    {
        internal int Handle;
        internal short Events;
        internal short Returned;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct TimeSpec
    {
        internal long Seconds;
        internal long Nanoseconds;
    }

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    internal static partial int Socket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    internal static partial int Close(int handle);

    [LibraryImport("libc", EntryPoint = "dup3", SetLastError = true)]
    private static partial int Dup3(int from, int to, int flags);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    internal static partial int Bind(int handle, void* address, uint length);

    [LibraryImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
    internal static partial int SetOption(int handle, int level, int option, void* value, uint length);

    [LibraryImport("libc", EntryPoint = "getsockopt", SetLastError = true)]
    internal static partial int GetOption(int handle, int level, int option, void* value, uint* length);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int IoCtl(int handle, nuint request, void* argument);

    [LibraryImport("libc", EntryPoint = "sendmmsg", SetLastError = true)]
    internal static partial int SendMMsg(int handle, MMsgHdr* messages, uint count, int flags);

    [LibraryImport("libc", EntryPoint = "recvmmsg", SetLastError = true)]
    internal static partial int RecvMMsg(int handle, MMsgHdr* messages, uint count, int flags, TimeSpec* timeout);

    [LibraryImport("libc", EntryPoint = "send", SetLastError = true)]
    internal static partial nint Send(int handle, void* buffer, nuint length, int flags);

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    internal static partial nint Recv(int handle, void* buffer, nuint length, int flags);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    internal static partial nint Read(int handle, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    internal static partial nint Write(int handle, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "ppoll", SetLastError = true)]
    internal static partial int PPoll(PollFd* handles, nuint count, TimeSpec* timeout, void* signals);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    internal static partial int EventFd(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    internal static partial nint MMap(nint address, nuint length, int protection, int flags, int handle, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    internal static partial int MUnmap(nint address, nuint length);

    /// <summary>Lets the descriptor <paramref name="to"/>, whatever it was, be what <paramref name="from"/> is, which is closed. Nobody ever sees <paramref name="to"/> closed.</summary>
    internal static void Move(int from, int to)
    {
        _ = Dup3(from, to, SockCloExec);
        _ = Close(from);
    }

    /// <summary>Sets an integer option; false on failure.</summary>
    internal static bool SetInt(int handle, int level, int option, int value) =>
        SetOption(handle, level, option, &value, sizeof(int)) == 0;

    /// <summary>Binds a packet socket to an interface and a protocol (host byte order; 0 receives nothing).</summary>
    internal static bool BindLink(int handle, int index, ushort protocol)
    {
        SockAddrLl address = default;
        address.Family = AfPacket;
        address.Protocol = System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(protocol);
        address.Index = index;
        return Bind(handle, &address, (uint)sizeof(SockAddrLl)) == 0;
    }

    /// <summary>Attaches a classic BPF program by <paramref name="option"/>; the kernel swaps it in at once.</summary>
    internal static bool Attach(int handle, int level, int option, ReadOnlySpan<BpfInstruction> program)
    {
        fixed (BpfInstruction* p = program)
        {
            SockFprog filter = new() { Length = (ushort)program.Length, Program = p };
            return SetOption(handle, level, option, &filter, (uint)sizeof(SockFprog)) == 0;
        }
    }

    /// <summary>Adds or drops a link-layer membership (PACKET_MR_*).</summary>
    internal static bool Membership(int handle, int option, int index, ushort type, Wire.MacAddress address)
    {
        PacketMreq request = new() { Index = index, Type = type, Length = 6 };
        address.Write(new Span<byte>(request.Address, 8));
        return SetOption(handle, SolPacket, option, &request, (uint)sizeof(PacketMreq)) == 0;
    }
}
