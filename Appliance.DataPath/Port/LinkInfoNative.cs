using System.Text;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// What the kernel says about a network interface of the calling thread's network namespace at
/// one moment. Ask again, or listen with a link monitor, for what may change.
/// </summary>
public readonly record struct LinkInfo(string Name, int Index, int Mtu, MacAddress Mac, bool IsUp, bool HasCarrier)
{
    /// <summary>Asks about <paramref name="name"/>; throws a <see cref="PortException"/> if there is no such Ethernet interface.</summary>
    public static LinkInfo Query(string name) => LinkInfoNative.Query(name);

    /// <summary>True if there is an interface of this name.</summary>
    public static bool Exists(string name) => LinkInfoNative.Exists(name);
}

/// <summary>The SIOCGIF* requests (netdevice(7)).</summary>
internal static unsafe class LinkInfoNative
{
    private const nuint GetFlags = 0x8913, GetMtu = 0x8921, GetHardwareAddress = 0x8927, GetIndex = 0x8933;
    private const int NameSize = 16, RequestSize = 40, FlagUp = 1, FlagRunning = 0x40, HardwareEthernet = 1;

    internal static LinkInfo Query(string name)
    {
        if (name.Length is 0 or >= NameSize) throw PortException.For(name, "the query", SocketNative.ENoDev);
        int handle = SocketNative.Socket(SocketNative.AfInet, SocketNative.SockDgram | SocketNative.SockCloExec, 0);
        if (handle < 0) throw PortException.For(name, "the query", SocketNative.Error);
        try
        {
            byte* request = stackalloc byte[RequestSize];
            int index = Ask(handle, request, name, GetIndex);
            int mtu = Ask(handle, request, name, GetMtu);
            int flags = Ask(handle, request, name, GetFlags);
            int kind = (ushort)Ask(handle, request, name, GetHardwareAddress);
            if (kind != HardwareEthernet) throw new PortException($"{name}: this is not an Ethernet interface.");
            MacAddress mac = MacAddress.Read(new ReadOnlySpan<byte>(request + NameSize + 2, 6));
            return new LinkInfo(name, index, mtu, mac, (flags & FlagUp) != 0, (flags & FlagRunning) != 0);
        }
        finally
        {
            _ = SocketNative.Close(handle);
        }
    }

    internal static bool Exists(string name)
    {
        if (name.Length is 0 or >= NameSize) return false;
        int handle = SocketNative.Socket(SocketNative.AfInet, SocketNative.SockDgram | SocketNative.SockCloExec, 0);
        if (handle < 0) return false;
        byte* request = stackalloc byte[RequestSize];
        bool found = TryAsk(handle, request, name, GetIndex);
        _ = SocketNative.Close(handle);
        return found;
    }

    private static int Ask(int handle, byte* request, string name, nuint what)
    {
        if (!TryAsk(handle, request, name, what)) throw PortException.For(name, "the query", SocketNative.Error);
        return *(int*)(request + NameSize);
    }

    private static bool TryAsk(int handle, byte* request, string name, nuint what)
    {
        new Span<byte>(request, RequestSize).Clear();
        Encoding.ASCII.GetBytes(name, new Span<byte>(request, NameSize - 1));
        return SocketNative.IoCtl(handle, what, request) >= 0;
    }
}
