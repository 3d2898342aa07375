using System.Text.Json.Nodes;
using Appliance.Control.Model;

namespace Appliance.Control.Runtime;

/// <summary>
/// The manager process: reads the engine's memory, logs what the engine reports, answers `show`.
/// It holds nothing that a successor could not read again, and the engine never waits for it, so
/// it may die at any time.
/// </summary>
public sealed class ManagerHost : IDisposable
{
    private const int PollMs = 50;

    private readonly string _directory;
    private readonly StructuredLog _log;
    private readonly EngineEventLog _events;
    private readonly ShowService _show;
    private readonly Lock _gate = new();
    private EngineView? _engine;
    private DateTime _announcedAt;
    private ulong _lost;

    /// <summary>For the engine of a run directory, with the configuration that runs.</summary>
    public ManagerHost(Configuration configuration, CompiledConfiguration compiled, string directory, StructuredLog log)
    {
        _directory = directory;
        _log = log;
        _events = new EngineEventLog(compiled, log);
        _show = new ShowService(configuration, compiled);
    }

    /// <summary>Lets this process run on what the engine leaves; its first thread calls it, before there are others.</summary>
    public static void RunAfterEngine() => SchedulingNative.RunLater();

    /// <summary>Until <paramref name="stop"/> is set.</summary>
    /// <exception cref="IOException">The socket cannot be made, or somebody has removed it: a successor makes another.</exception>
    public void Run(WaitHandle stop)
    {
        Poll();
        string socket = RunDirectory.SocketPath(_directory);
        using ShowServer server = new(socket, Answer);
        while (!stop.WaitOne(PollMs))
        {
            lock (_gate) Poll();
            if (!File.Exists(socket)) throw new IOException($"the socket {socket} was removed");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _events.Flush();
        _engine?.Dispose();
    }

    private JsonObject Answer(ShowQuery query)
    {
        lock (_gate) return _show.Document(query, _engine, Standby.State(_directory));
    }

    private void Poll()
    {
        Reopen();
        _events.Flush(Clock.WallMs);
        if (_engine is null) return;
        while (_engine.Events.TryRead(out EngineEvent e)) _events.Write(e, Clock.WallMs);
        ulong lost = _engine.Events.Lost;
        if (lost > _lost) _events.WriteLost(lost - _lost);
        _lost = lost;
    }

    // A new engine replaces the file that names its memory.
    private void Reopen()
    {
        DateTime announced = File.GetLastWriteTimeUtc(EngineFiles.AddressPath(_directory));
        if (announced == _announcedAt) return;
        if (EngineView.Open(_directory) is not { } opened) return;
        _announcedAt = announced;
        if (opened.Address.Incarnation == _engine?.Address.Incarnation)
        {
            opened.Dispose();
            return;
        }
        _engine?.Dispose();
        _engine = opened;
        _lost = opened.Events.Lost;
        _log.Debug("manager", "engine-opened", ("pid", opened.Address.Pid), ("incarnation", opened.Address.Incarnation));
    }
}
