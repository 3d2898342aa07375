using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Appliance.Control.Sealing;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Failover;

/// <summary>
/// Idle TCP connections between engines over sync: when a process dies its kernel closes them, and the
/// peer knows at once. Of two boxes the one with the lower number connects. A connection counts only after sealed hellos
/// in both directions have proved who is at the other end; its closing then tells that incarnation's death. It
/// carries nothing else. Threads of its own; the caller is told on them and passes it on. A box that vanishes with its kernel tells nobody: beats do.
/// </summary>
public sealed class DeathBell : IDisposable
{
    private const int MaxHello = 256;
    private const int RetryMs = 100, HelloTimeoutMs = 2000;

    private readonly byte _self;
    private readonly SealedChannel _channel;
    private readonly Action<byte, ulong> _closed;
    private readonly Action? _begin;
    private readonly Socket _listener;
    private readonly object _lock = new();
    private readonly List<Socket> _open = [];
    private volatile bool _stopping;

    /// <summary>Listens at once. <paramref name="closed"/>(node, incarnation) is called on a thread of this object, <paramref name="begin"/> first thing on each.</summary>
    public DeathBell(byte self, ulong peers, Incarnation me, ClusterKeys keys, IpAddr local, int port, Action<byte, ulong> closed, Action? begin = null)
    {
        (_self, _closed, _begin) = (self, closed, begin);
        _channel = new SealedChannel(self, peers, me, ChannelPurpose.Bell, keys);
        IPAddress address = local.ToIPAddress();
        _listener = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        _listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, optionValue: true);
        _listener.Bind(new IPEndPoint(address, port));
        _listener.Listen(NodeIds.Max);
        Port = ((IPEndPoint)_listener.LocalEndPoint!).Port;
        Run("bell accept", Accept);
    }

    /// <summary>Port listened on.</summary>
    public int Port { get; }

    /// <summary>Connections that have proved themselves.</summary>
    public int Proved { get; private set; }

    /// <summary>Keeps a connection to a peer if it is this box's turn to connect.</summary>
    public void AddPeer(byte peer, IpAddr address, int port)
    {
        if (_self >= peer) return;
        var remote = new IPEndPoint(address.ToIPAddress(), port);
        Run("bell connect", () => Connect(remote));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        _listener.Dispose();
        lock (_lock)
        {
            foreach (Socket socket in _open) socket.Dispose();
            _open.Clear();
        }
    }

    private void Run(string name, Action body) => new Thread(() =>
    {
        _begin?.Invoke();
        body();
    })
    { IsBackground = true, Name = name }.Start();

    private void Accept()
    {
        while (!_stopping)
        {
            try
            {
                Socket socket = _listener.Accept();
                Run("bell", () => Serve(socket));
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (!_stopping) Thread.Sleep(RetryMs);
            }
        }
    }

    private void Connect(IPEndPoint remote)
    {
        while (!_stopping)
        {
            var socket = new Socket(remote.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                socket.Connect(remote);
                Serve(socket);
            }
            catch (SocketException)
            {
                socket.Dispose();
            }
            if (!_stopping) Thread.Sleep(RetryMs);
        }
    }

    // Until the end: hellos, then a read that returns only when the other side is gone.
    private void Serve(Socket socket)
    {
        lock (_lock)
        {
            if (_stopping)
            {
                socket.Dispose();
                return;
            }
            _open.Add(socket);
        }
        byte node = NodeIds.None;
        ulong incarnation = 0;
        try
        {
            socket.NoDelay = true;
            socket.ReceiveTimeout = HelloTimeoutMs;
            if (TryProve(socket, out node, out incarnation))
            {
                socket.ReceiveTimeout = 0;
                byte[] nothing = new byte[1];
                while (socket.Receive(nothing) > 0) { }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Closed or reset: told below.
        }
        // First of all: everything after it may wait.
        if (incarnation != 0 && !_stopping) _closed(node, incarnation);
        lock (_lock)
        {
            _open.Remove(socket);
            if (incarnation != 0) Proved--;
        }
        socket.Dispose();
    }

    // Each side sends its number in the clear, then hellos until both have proved their incarnation to each other:
    // challenge, answer and challenge, answer.
    private bool TryProve(Socket socket, out byte node, out ulong incarnation)
    {
        node = NodeIds.None;
        incarnation = 0;
        byte[] frame = new byte[MaxHello];
        byte[] contents = new byte[MaxHello];
        socket.Send([_self]);
        if (!ReadExactly(socket, frame.AsSpan(0, 1)) || frame[0] >= NodeIds.Max || frame[0] == _self) return false;
        byte claimed = frame[0];
        for (int i = 0; i < 3; i++)
        {
            int length;
            lock (_lock) length = _channel.Seal(claimed, default, frame.AsSpan(2));
            BinaryPrimitives.WriteUInt16BigEndian(frame, (ushort)length);
            socket.Send(frame.AsSpan(0, length + 2));
            if (!ReadExactly(socket, frame.AsSpan(0, 2))) return false;
            int theirs = BinaryPrimitives.ReadUInt16BigEndian(frame);
            if (theirs > MaxHello || !ReadExactly(socket, frame.AsSpan(0, theirs))) return false;
            OpenedDatagram opened;
            RejectReason reason;
            lock (_lock) reason = _channel.Open(frame.AsSpan(0, theirs), Environment.TickCount64 * 1_000_000, contents, out opened);
            if (reason == RejectReason.None && opened.Sender == claimed) incarnation = opened.Incarnation;
            else if (reason is not RejectReason.Unconfirmed) return false;
        }
        if (incarnation == 0) return false;
        node = claimed;
        lock (_lock) Proved++;
        return true;
    }

    private static bool ReadExactly(Socket socket, Span<byte> target)
    {
        while (target.Length > 0)
        {
            int n = socket.Receive(target);
            if (n <= 0) return false;
            target = target[n..];
        }
        return true;
    }
}
