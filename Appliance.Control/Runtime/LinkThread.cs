using Appliance.Control.Model;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// The thread that follows the interfaces of the traffic links (<see cref="LinkWatch"/>), with peers or without: says changes to the
/// log and in the statistics segment, and opens the ports of an interface that was made anew. Opening waits for the kernel, so it is not liveness' to do.
/// </summary>
public sealed class LinkThread : ILinkHost, IDisposable
{
    private const long LookEveryNs = 100_000_000;

    private readonly EngineWorkers _workers;
    private readonly EngineStatus _status;
    private readonly EngineEventRing _report;
    private readonly string[] _names;
    private readonly LinkMonitor _monitor = new();
    private readonly LinkWatch _watch;
    private readonly Waiter _waiter;
    private readonly Thread _thread;
    private volatile uint _down;
    private volatile bool _stop;

    /// <summary>Reads the present states; <see cref="Start"/> follows them.</summary>
    /// <exception cref="PortException">The kernel announces nothing to us.</exception>
    public LinkThread(BoxSettings settings, EngineWorkers workers, EngineStatus status, EngineEventRing report)
    {
        (_workers, _status, _report) = (workers, status, report);
        _names = [settings.External.InterfaceName, settings.Internal.InterfaceName];
        _watch = new LinkWatch(this, [workers.PortsOn(LinkRole.External)[0].Link.Index, workers.PortsOn(LinkRole.Internal)[0].Link.Index]);
        _waiter = new Waiter([_monitor.Handle]);
        _watch.Look(all: true);
        _thread = new Thread(Run) { Name = "links", IsBackground = true, Priority = ThreadPriority.Highest };
    }

    /// <summary>Opens liveness' sockets on a link anew.</summary>
    public Action<int>? ReopenBeats { get; set; }

    /// <summary>Called after a link came up, or went.</summary>
    public Action? LinksChanged { get; set; }

    /// <summary>True if the link carries frames.</summary>
    public bool IsUp(int link) => (_down >> link & 1) == 0;

    /// <summary>Starts.</summary>
    public void Start() => _thread.Start();

    /// <inheritdoc/>
    public bool Exists(int link) => LinkInfo.Exists(_names[link]);

    /// <inheritdoc/>
    public LinkInfo Query(int link) => LinkInfo.Query(_names[link]);

    /// <inheritdoc/>
    public void Reopen(int link)
    {
        ReopenBeats?.Invoke(link);
        AfPacketPort.Reopen(_workers.PortsOn((LinkRole)link));
        _workers.Wake();
    }

    /// <inheritdoc/>
    public void Changed(int link, LinkState state)
    {
        _down = state == LinkState.Up ? _down & ~(1u << link) : _down | 1u << link;
        _status.LinkState((LinkRole)link) = (long)state;
        EngineEventKind kind = state switch
        {
            LinkState.Up => EngineEventKind.CarrierUp,
            LinkState.Down => EngineEventKind.CarrierDown,
            _ => EngineEventKind.LinkGone,
        };
        _report.Report(kind, link: (byte)link);
        if (state == LinkState.Up) _workers.LinkIsBack((LinkRole)link);
        LinksChanged?.Invoke();
    }

    /// <inheritdoc/>
    public void Reopened(int link) => _report.Report(EngineEventKind.LinkReopened, link: (byte)link);

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop = true;
        _waiter.Wake();
        if (_thread.IsAlive) _thread.Join();
        _waiter.Dispose();
        _monitor.Dispose();
    }

    private void Run()
    {
        SchedulingNative.RunSoon(SchedulingNative.Liveness);
        while (!_stop)
        {
            while (_monitor.TryRead(out LinkEvent change)) _watch.On(change);
            bool lost = _monitor.Overrun;
            _monitor.Overrun = false;
            _watch.Look(all: lost);
            _waiter.Wait(_watch.IsAnyGone ? LookEveryNs : -1);
        }
    }
}
