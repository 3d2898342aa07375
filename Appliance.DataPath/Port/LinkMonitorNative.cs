using System.Runtime.InteropServices;

namespace Appliance.DataPath.Port;

/// <summary>The state of an interface as the kernel announced it.</summary>
/// <param name="Index">Interface index.</param>
/// <param name="IsUp">Administratively up.</param>
/// <param name="HasCarrier">Up, and the medium is there (IFF_LOWER_UP).</param>
/// <param name="IsRemoved">The interface is gone.</param>
/// <param name="Mtu">MTU in bytes, or 0 if it was not said.</param>
public readonly record struct LinkEvent(int Index, bool IsUp, bool HasCarrier, bool IsRemoved, int Mtu);

/// <summary>
/// Hears from the kernel when interfaces change (rtnetlink(7), RTMGRP_LINK) in the network namespace in which it
/// was opened. Never waits; poll <see cref="Handle"/>. After <see cref="Overrun"/> events
/// were lost: ask for the present state with <see cref="LinkInfo.Query"/>, as also once after opening.
/// </summary>
public sealed unsafe class LinkMonitor : IDisposable
{
    private const int BufferSize = 1 << 15, GroupLink = 1, MessageHeader = 16, InfoSize = 16, AttributeMtu = 4;
    private const ushort NewLink = 16, RemoveLink = 17;
    private const uint FlagUp = 1, FlagLowerUp = 0x10000;

    private readonly byte[] _buffer = new byte[BufferSize];
    private int _at, _end;

    /// <summary>Opens it; throws a <see cref="PortException"/>.</summary>
    public LinkMonitor()
    {
        Handle = SocketNative.Socket(SocketNative.AfNetlink, SocketNative.SockRaw | SocketNative.SockNonBlock | SocketNative.SockCloExec, 0);
        SockAddrNl address = new() { Family = SocketNative.AfNetlink, Groups = GroupLink };
        if (Handle >= 0 && SocketNative.Bind(Handle, &address, (uint)sizeof(SockAddrNl)) == 0) return;
        int error = SocketNative.Error;
        Dispose();
        throw PortException.For("link monitor", "a netlink socket", error);
    }

    /// <summary>Descriptor to poll for readability.</summary>
    public int Handle { get; private set; }

    /// <summary>True if events were lost since it was last set to false.</summary>
    public bool Overrun { get; set; }

    /// <summary>The next event; false if none waits.</summary>
    public bool TryRead(out LinkEvent change)
    {
        while (true)
        {
            while (_at < _end)
                if (TakeMessage(out change)) return true;
            if (!Fill()) break;
        }
        change = default;
        return false;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Handle >= 0) _ = SocketNative.Close(Handle);
        Handle = -1;
    }

    private bool Fill()
    {
        _at = _end = 0;
        fixed (byte* p = _buffer)
        {
            nint got = SocketNative.Recv(Handle, p, BufferSize, SocketNative.MsgDontWait);
            if (got < 0 && SocketNative.Error == SocketNative.ENoBufs)
            {
                Overrun = true;
                got = SocketNative.Recv(Handle, p, BufferSize, SocketNative.MsgDontWait);
            }
            if (got <= 0) return false;
            _end = (int)got;
            return true;
        }
    }

    // Reads the message at _at and moves on; false if it is not about a link, or malformed (then the rest is left out).
    private bool TakeMessage(out LinkEvent change)
    {
        change = default;
        ReadOnlySpan<byte> rest = _buffer.AsSpan(_at, _end - _at);
        uint length = rest.Length < MessageHeader ? 0 : MemoryMarshal.Read<uint>(rest);
        if (length < MessageHeader || length > rest.Length)
        {
            _at = _end;
            return false;
        }
        _at += Math.Min(rest.Length, Align((int)length));
        ushort type = MemoryMarshal.Read<ushort>(rest[4..]);
        if (type is not (NewLink or RemoveLink) || length < MessageHeader + InfoSize) return false;
        ReadOnlySpan<byte> info = rest[MessageHeader..(int)length];
        // AF_BRIDGE and others announce port states in the same message types.
        if (info[0] != 0) return false;
        uint flags = MemoryMarshal.Read<uint>(info[8..]);
        bool removed = type == RemoveLink, up = !removed && (flags & FlagUp) != 0;
        change = new LinkEvent(MemoryMarshal.Read<int>(info[4..]), up, up && (flags & FlagLowerUp) != 0, removed, FindMtu(info[InfoSize..]));
        return true;
    }

    private static int FindMtu(ReadOnlySpan<byte> attributes)
    {
        while (attributes.Length >= 4)
        {
            int length = MemoryMarshal.Read<ushort>(attributes);
            if (length < 4 || length > attributes.Length) break;
            if (MemoryMarshal.Read<ushort>(attributes[2..]) == AttributeMtu && length >= 8) return MemoryMarshal.Read<int>(attributes[4..]);
            attributes = attributes[Math.Min(attributes.Length, Align(length))..];
        }
        return 0;
    }

    private static int Align(int length) => (length + 3) & ~3;

    [StructLayout(LayoutKind.Sequential)]
    private struct SockAddrNl
    {
        internal ushort Family;
        internal ushort Padding;
        internal uint Port;
        internal uint Groups;
    }
}
