using System.Net;
using System.Net.Sockets;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Replication;

/// <summary>
/// A UDP socket on the sync address for datagrams to and from the peers; non-blocking, one thread,
/// no allocation per datagram. Each peer is sent to through a connected socket, so that its kernel saying "port unreachable" is noticed:
/// see <see cref="TakeRefused"/>. A datagram that cannot be sent is lost, as any may be.
/// </summary>
public sealed class UdpPeerSocket : IDatagramSender, IDisposable
{
    /// <summary>Port of replication; beats use the next one.</summary>
    public const int DefaultPort = 7946;

    private const int BufferBytes = 4 << 20;

    private readonly Socket?[] _sockets = new Socket?[NodeIds.Max];
    private readonly Socket _listener;
    private ulong _refused;

    /// <summary>Binds to an address of the host; throws <see cref="SocketException"/> if that is not possible.</summary>
    public UdpPeerSocket(IpAddr local, int port)
    {
        _listener = Open(local, port);
        Port = ((IPEndPoint)_listener.LocalEndPoint!).Port;
        Local = local;
    }

    /// <summary>Address and port bound to.</summary>
    public IpAddr Local { get; }

    public int Port { get; }

    /// <summary>A descriptor to poll for datagrams.</summary>
    public int PollHandle => (int)_listener.Handle;

    /// <summary>Datagrams that the kernel did not take.</summary>
    public long SendErrors { get; private set; }

    /// <summary>Says where a peer listens. Each peer has a connected socket of its own to send with: its kernel's refusals come back on it.</summary>
    public void AddPeer(byte peer, IpAddr address, int port)
    {
        Socket socket = Open(Local, 0);
        socket.Connect(new IPEndPoint(address.ToIPAddress(), port));
        _sockets[peer] = socket;
    }

    /// <inheritdoc/>
    public void Send(byte peer, ReadOnlySpan<byte> datagram)
    {
        if (_sockets[peer] is not { } socket) return;
        int error = UdpNative.Send((int)socket.Handle, datagram);
        // A pending refusal is reported instead of sending; the datagram itself then goes.
        if (error == UdpNative.ConnectionRefused)
        {
            _refused |= 1UL << peer;
            error = UdpNative.Send((int)socket.Handle, datagram);
        }
        if (error != 0) SendErrors++;
    }

    /// <summary>The next waiting datagram; 0 if there is none.</summary>
    public int Receive(Span<byte> datagram) => UdpNative.Receive((int)_listener.Handle, datagram);

    /// <summary>Peers whose kernel said, since the last call, that nobody listens there: a death that is told.</summary>
    public ulong TakeRefused()
    {
        ulong refused = _refused;
        _refused = 0;
        return refused;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _listener.Dispose();
        foreach (Socket? socket in _sockets) socket?.Dispose();
    }

    private static Socket Open(IpAddr local, int port)
    {
        IPAddress address = local.ToIPAddress();
        var socket = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp) { Blocking = false, ReceiveBufferSize = BufferBytes, SendBufferSize = BufferBytes };
        try
        {
            socket.Bind(new IPEndPoint(address, port));
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
