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

    private const int Times = 3;

    // The engine's own, for as long as the process lives.
    private static ExitNoticeNative? s_left;

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

    /// <summary>
    /// Called by an engine once peers may count it alive: what they are to be told of its death, and from which address. Without effect if no supervisor
    /// asked for it.
    /// </summary>
    public static void Leave(ReadOnlySpan<byte> notice, (IpAddr Address, int Port) sender, ReadOnlySpan<(IpAddr Address, int Port)> receivers)
    {
        string? path = Environment.GetEnvironmentVariable(Variable);
        if (path is null || s_left is not null) return;
        try
        {
            s_left = ExitNoticeNative.Open(path);
        }
        catch (IOException)
        {
            // Then the bell tells.
            return;
        }
        s_left.Write(notice, [sender, .. receivers]);
        new Thread(Live) { Name = "alive", IsBackground = true }.Start();
    }

    // A thread that is to die needs a processor for that, too.
    private static void Live()
    {
        SchedulingNative.RunSoon(SchedulingNative.Liveness);
        s_left!.Hold();
        Thread.Sleep(Timeout.Infinite);
    }

    private void Await()
    {
        try
        {
            SchedulingNative.RunSoon(SchedulingNative.Liveness);
            if (_page.WaitUntilHeld()) Tell();
        }
        catch (SocketException)
        {
            // Then the bell tells.
        }
        Release();
    }

    private void Tell()
    {
        if (_page.Addresses() is not [var sender, .. var receivers]) return;
        byte[] notice = _page.Notice.ToArray();
        using Socket socket = new(sender.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(sender);
        // Once to itself: the first call of anything takes its time.
        socket.SendTo([], socket.LocalEndPoint!);
        if (!_page.WaitForEnd()) return;
        // Whoever has heard it takes no more from that incarnation.
        for (int time = 0; time < Times; time++)
        {
            if (time > 0) Thread.Sleep(time);
            foreach (IPEndPoint receiver in receivers) Send(socket, notice, receiver);
        }
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
