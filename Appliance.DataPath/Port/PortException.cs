namespace Appliance.DataPath.Port;

/// <summary>A port, socket or watcher could not be opened; the message is one sentence for the operator.</summary>
public sealed class PortException : Exception
{
    /// <summary>With the operator's sentence.</summary>
    public PortException(string message) : base(message)
    {
    }

    /// <summary>With the operator's sentence and what led to it.</summary>
    public PortException(string message, Exception inner) : base(message, inner)
    {
    }

    /// <summary>Without a sentence; for serialisers only.</summary>
    public PortException()
    {
    }

    /// <summary>Says what failed on <paramref name="name"/> and why, by the error number of the system call.</summary>
    internal static PortException For(string name, string what, int error) => new(error switch
    {
        SocketNative.EPerm or SocketNative.EAcces => $"{name}: {what} needs the capabilities CAP_NET_RAW and CAP_NET_ADMIN (run as root, or grant them).",
        SocketNative.ENoDev or SocketNative.ENxio => $"{name}: there is no such network interface.",
        SocketNative.ENetDown => $"{name}: the interface is down (ip link set {name} up).",
        SocketNative.ENoMem or SocketNative.ENoBufs => $"{name}: {what} found not enough memory; ask for fewer receive slots.",
        _ => $"{name}: {what} failed: {System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(error)} (error {error}).",
    });
}
