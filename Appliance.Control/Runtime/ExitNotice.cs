using System.Net;
using System.Net.Sockets;
using Appliance.DataPath.Wire;
using Microsoft.Win32.SafeHandles;

namespace Appliance.Control.Runtime;

/// <summary>
/// How a supervisor tells the peers that its engine is dead, at once and without a key: the engine leaves its last beat, sealed, with its
/// supervisor, which sends it when the kernel lets go of the engine's mutex (<see cref="ExitNoticeNative"/>). The bell (<see cref="Failover.DeathBell"/>)
/// rings too, when the kernel has come to closing sockets; a notice that is lost costs that time. One object for each life of an engine.
/// </summary>
internal sealed class ExitNotice : IDisposable
{
    /// <summary>What in a child's environment says where the page is.</summary>
    public const string Variable = "APPLIANCE_EXIT_NOTICE";

    private readonly ExitNoticeNative _page;
    private readonly SafeFileHandle _file;

    // The thread that waits, and the supervisor until its child has ended.
    private int _users = 2;

    private ExitNotice()
    {
        _page = ExitNoticeNative.Create(out _file);
        Path = ProcessNative.PathOf(_file);
    }

    /// <summary>The supervisor's side, before its child is started; null if the kernel refuses: then the bell tells.</summary>
    public static ExitNotice? TryCreate()
    {
        try
        {
            return new ExitNotice();
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>How the child opens the page.</summary>
    public string Path { get; }

    /// <summary>The child has been started: waits for its end on a thread of its own. No other child is to inherit it.</summary>
    public void Watch()
    {
        _file.Dispose();
        new Thread(Await) { Name = "exit notice", IsBackground = true }.Start();
    }

    /// <summary>The child has ended, however far it came. Once.</summary>
    public void ChildEnded()
    {
        _page.GiveUp();
        Release();
    }

    /// <summary>The child was not started.</summary>
    public void Dispose()
    {
        _file.Dispose();
        _page.Dispose();
    }

    /// <summary>Called by an engine once peers may count it alive: what they are to be told of its death. Without effect if no supervisor asked for it.</summary>
    public static void Leave(ReadOnlySpan<byte> notice, ReadOnlySpan<(IpAddr Address, int Port)> receivers)
    {
        string? path = Environment.GetEnvironmentVariable(Variable);
        if (path is null) return;
        ExitNoticeNative page;
        try
        {
            page = ExitNoticeNative.Open(path);
        }
        catch (IOException)
        {
            // Then the bell tells.
            return;
        }
        page.Write(notice, receivers);
        new Thread(() =>
        {
            page.Hold();
            Thread.Sleep(Timeout.Infinite);
        })
        { Name = "alive", IsBackground = true }.Start();
    }

    private void Await()
    {
        SchedulingNative.RunSoon(SchedulingNative.Liveness);
        if (_page.WaitUntilHeld())
        {
            IPEndPoint[] receivers = _page.Receivers();
            byte[] notice = _page.Notice.ToArray();
            using Socket socket = new(receivers[0].AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            // Once to nobody: the first call of anything takes its time.
            Send(socket, [], new IPEndPoint(receivers[0].AddressFamily == AddressFamily.InterNetwork ? IPAddress.Loopback : IPAddress.IPv6Loopback, 9));
            if (_page.WaitForEnd())
            {
                foreach (IPEndPoint receiver in receivers) Send(socket, notice, receiver);
            }
        }
        Release();
    }

    private void Release()
    {
        if (Interlocked.Decrement(ref _users) == 0) _page.Dispose();
    }

    // A datagram that cannot be sent is lost, as any may be.
    private static void Send(Socket socket, byte[] datagram, IPEndPoint receiver)
    {
        try
        {
            socket.SendTo(datagram, receiver);
        }
        catch (SocketException)
        {
        }
    }
}
