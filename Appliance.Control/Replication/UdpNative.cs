using System.Runtime.InteropServices;

namespace Appliance.Control.Replication;

/// <summary>send(2) and recv(2) without waiting: the framework reports a refused or empty socket by an exception, which allocates.</summary>
internal static unsafe partial class UdpNative
{
    /// <summary>ECONNREFUSED.</summary>
    public const int ConnectionRefused = 111;

    private const int DontWait = 0x40;

    /// <summary>0, or the error number.</summary>
    public static int Send(int socket, ReadOnlySpan<byte> datagram)
    {
        fixed (byte* p = datagram) return send(socket, p, (nuint)datagram.Length, DontWait) >= 0 ? 0 : Marshal.GetLastSystemError();
    }

    /// <summary>Bytes received; 0 if nothing waits.</summary>
    public static int Receive(int socket, Span<byte> datagram)
    {
        fixed (byte* p = datagram) return Math.Max(0, (int)recv(socket, p, (nuint)datagram.Length, DontWait));
    }

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint send(int socket, byte* buffer, nuint length, int flags);

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint recv(int socket, byte* buffer, nuint length, int flags);
}
