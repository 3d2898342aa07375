using Appliance.Control.Model;
using Microsoft.Win32.SafeHandles;

namespace Appliance.Control.Runtime;

/// <summary>
/// `appliance run`: keeps an engine and a manager alive, each for itself, and a standby that becomes the engine when
/// that ends (<see cref="Standby"/>). Sleeps unless one of them ends or a signal comes. An engine that ends before it
/// ever ran ends the whole: what it lacks (an interface, a privilege) does not come by trying again. Its children have the configuration
/// from its memory, so that they start also when the run directory is full or gone. Runs on one thread, which must not end before its children.
/// </summary>
public sealed class Supervisor : IDisposable
{
    private const string Component = "supervisor";
    private const int AnnouncementPollMs = 10;
    private const long StandbyPauseNs = 3_000_000_000, StateRetryNs = 1_000_000_000, LongEnoughNs = 5_000_000_000;
    private static readonly TimeSpan EnginePatience = TimeSpan.FromSeconds(3), ManagerPatience = TimeSpan.FromSeconds(1);

    // Methods are compiled fully at their first use: the engine is as fast in its first second as
    // later, and no counters are planted. No diagnostic socket, in /tmp or elsewhere.
    private static readonly (string, string)[] EngineEnvironment = [("DOTNET_EnableDiagnostics", "0"), ("DOTNET_TieredPGO", "0"), ("DOTNET_TC_QuickJit", "0")];
    private static readonly (string, string)[] ManagerEnvironment = [("DOTNET_EnableDiagnostics", "0")];

    private readonly RunDirectory _directory;
    private readonly string _configuration;
    private readonly SafeFileHandle _inherited;
    private readonly StructuredLog _log;
    private readonly ChildProcess _engine, _standby, _manager;
    private readonly SemaphoreSlim _changed = new(0);
    private readonly DateTimeOffset _since = DateTimeOffset.UtcNow;
    private volatile bool _stop;
    private bool _engineRan, _stateMissing;
    private long _stateTriedAt;

    /// <summary>For a directory that this process holds, with the configuration as text.</summary>
    /// <exception cref="IOException">The directory cannot be written (also <see cref="UnauthorizedAccessException"/>).</exception>
    public Supervisor(RunDirectory directory, string configuration, StructuredLog log, bool jsonLog)
    {
        _directory = directory;
        _log = log;
        directory.RemoveLeftovers();
        directory.WriteConfiguration(configuration);
        _configuration = configuration;
        _inherited = ProcessNative.InheritedFile("configuration", configuration);
        string[] tail = [ProcessNative.PathOf(_inherited), directory.FullPath];
        _engine = new ChildProcess("engine", ["engine", .. tail], EngineEnvironment, Wake) { IsAnnounced = true };
        _standby = new ChildProcess("standby", ["engine", .. tail, "standby"], EngineEnvironment, Wake) { IsStandby = true, IsAnnounced = true };
        _manager = new ChildProcess("manager", ["manager", .. tail, .. jsonLog ? (string[])["--json-log"] : []], ManagerEnvironment, Wake);
    }

    /// <summary>Called by a child, first thing: it is killed when its supervisor ends. Without effect if no supervisor started it.</summary>
    public static void BindChild() => ChildProcess.BindToSupervisor();

    /// <summary>Ends <see cref="Run"/>; from any thread.</summary>
    public void Stop()
    {
        _stop = true;
        Wake();
    }

    /// <summary>Until <see cref="Stop"/>; false if the engine could not be started at all, which has been said.</summary>
    public bool Run()
    {
        _engine.StartAfter();
        bool good = true;
        while (good && !_stop)
        {
            Start(_engine);
            Start(_manager);
            Start(_standby);
            _changed.Wait(_engineRan ? PauseMs() : AnnouncementPollMs);
            if (!_engineRan && HasEngineRun())
            {
                _engineRan = true;
                _manager.StartAfter();
                _standby.StartAfter(StandbyPauseNs);
            }
            good = !NoteEnd(_engine) || _engineRan;
            NoteEnd(_manager);
            NoteEnd(_standby);
            if (_stateMissing && Clock.Now - _stateTriedAt >= StateRetryNs) WriteState();
        }
        if (!good) _log.Error(Component, "engine-failed", "it ended before it ran; what it needs is said above", ("exit", _engine.ExitCode));
        EndAll();
        return good;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _engine.Dispose();
        _standby.Dispose();
        _manager.Dispose();
        _inherited.Dispose();
        _changed.Dispose();
    }

    private void Wake() => _changed.Release();

    // It announces itself once it runs; one that cannot, because the directory is full or gone, shows it by going on.
    private bool HasEngineRun() => _engine.Pid != 0
        && (EngineFiles.ReadAddress(_directory.FullPath)?.Pid == _engine.Pid || Clock.Now - _engine.StartedAt > LongEnoughNs);

    private int PauseMs()
    {
        long next = Math.Min(Math.Min(_engine.StartAt, _standby.StartAt), _manager.StartAt);
        if (_stateMissing) next = Math.Min(next, _stateTriedAt + StateRetryNs);
        return next == long.MaxValue ? Timeout.Infinite : (int)Math.Clamp((next - Clock.Now + 999_999) / 1_000_000, 0, 60_000);
    }

    private void Start(ChildProcess child)
    {
        int before = child.Pid;
        if (child == _engine && _engine.TakeOver(_standby, Clock.Now)) _standby.StartAfter(StandbyPauseNs);
        else if (child.StartIfDue(Clock.Now) is { } problem) _log.Error(Component, "start-failed", problem, ("process", child.Name));
        if (child.Pid == before) return;
        _log.Info(Component, "started", ("process", child.Name), ("pid", child.Pid), ("restarts", child.Restarts));
        WriteState();
    }

    private bool NoteEnd(ChildProcess child)
    {
        int pid = child.Pid;
        if (!child.HasEnded(Clock.Now)) return false;
        if (!_stop) _log.Warning(Component, "ended", child.Cause, ("process", child.Name), ("pid", pid));
        if (child == _engine) EngineFiles.RemoveUnannounced(_directory.FullPath, pid);
        WriteState();
        return true;
    }

    private void EndAll()
    {
        if (_stop) _log.Info(Component, "stopping");
        int engine = _engine.Pid;
        if (!_engine.End(EnginePatience)) _log.Warning(Component, "killed", $"it did not leave within {EnginePatience.TotalSeconds:0} s", ("process", "engine"));
        if (engine != 0) EngineFiles.RemoveUnannounced(_directory.FullPath, engine);
        _standby.End(ManagerPatience);
        WriteState();
        if (!_manager.End(ManagerPatience)) _log.Warning(Component, "killed", $"it did not end within {ManagerPatience.TotalSeconds:0} s", ("process", "manager"));
        if (_stop) _log.Info(Component, "stopped");
    }

    // For whoever looks: a run directory that is full or gone is no reason to end. Tried again until it can be written.
    private void WriteState()
    {
        _stateTriedAt = Clock.Now;
        try
        {
            _directory.Restore(_configuration);
            _directory.Write(new RunState(Environment.ProcessId, _engine.Pid, _standby.Pid, _manager.Pid, _since, new RestartCounts(_engine.Restarts, _manager.Restarts)));
            if (_stateMissing) _log.Info(Component, "state-written");
            _stateMissing = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (!_stateMissing) _log.Warning(Component, "state-not-written", $"{e.Message} The appliance goes on; `show` may not find it. Make room, or give the directory back to its user", ("directory", _directory.FullPath));
            _stateMissing = true;
        }
    }
}
