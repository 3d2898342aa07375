using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;

namespace Appliance.Control.Runtime;

/// <summary>
/// One child of the supervisor, over all its lives: the same executable with other arguments. It dies
/// with the supervisor, is started again at once when it lived for a while, and after a
/// growing pause when it did not; or another one, that waited for it, goes on in its place (<see cref="TakeOver"/>).
/// Used by the supervisor's thread only: the bond of <see cref="BindToSupervisor"/> is to that thread.
/// </summary>
internal sealed class ChildProcess(string name, string[] arguments, (string Name, string Value)[] environment, Action changed) : IDisposable
{
    private const string SupervisorVariable = "APPLIANCE_SUPERVISOR";
    private const long ShortLifeNs = 2_000_000_000, FirstPauseNs = 50_000_000, LongestPauseNs = 5_000_000_000;

    private Process? _process;
    private ExitNotice? _notice;
    private int _shortLives;

    /// <summary>What it is.</summary>
    public string Name { get; } = name;

    /// <summary>Process id, 0 while it does not run.</summary>
    public int Pid { get; private set; }

    /// <summary>How often it was started again.</summary>
    public int Restarts { get; private set; }

    /// <summary>When it is to be started (again), clock of <see cref="Clock"/>; never while it runs.</summary>
    public long StartAt { get; private set; } = long.MaxValue;

    /// <summary>When it was last started or called to go on, clock of <see cref="Clock"/>; 0 before.</summary>
    public long StartedAt { get; private set; }

    /// <summary>Exit code of its last life; 128 + signal if a signal ended it.</summary>
    public int ExitCode { get; private set; }

    /// <summary>Whether it waits to be called: a pipe is its standard input.</summary>
    public bool IsStandby { get; init; }

    /// <summary>Whether its peers are to be told when it ends, or when the one ends that goes on in its place.</summary>
    public bool IsAnnounced { get; init; }

    /// <summary>Called by a child, first thing: it is killed when its supervisor ends. Without effect if no supervisor started it.</summary>
    public static void BindToSupervisor()
    {
        string? parent = Environment.GetEnvironmentVariable(SupervisorVariable);
        if (int.TryParse(parent, CultureInfo.InvariantCulture, out int pid) && !ProcessNative.DieWith(pid)) Environment.Exit(1);
    }

    /// <summary>Asks for a start by <see cref="StartIfDue"/>, at once or later; without effect while it runs.</summary>
    public void StartAfter(long pauseNs = 0) => StartAt = Pid == 0 ? Clock.Now + pauseNs : StartAt;

    /// <summary>If it is time to start this one, calls <paramref name="standby"/> to go on as it; false if it is not, or the other does not run.</summary>
    public bool TakeOver(ChildProcess standby, long now)
    {
        if (now < StartAt || standby is not { Pid: not 0, _process: { } process }) return false;
        try
        {
            process.StandardInput.WriteLine();
        }
        catch (IOException)
        {
            return false;
        }
        _process?.Dispose();
        (_process, _notice, Pid, StartedAt, StartAt) = (process, standby._notice, standby.Pid, now, long.MaxValue);
        (standby._process, standby._notice, standby.Pid) = (null, null, 0);
        Restarts++;
        return true;
    }

    /// <summary>Starts it if it is time; null, or why it could not be started.</summary>
    public string? StartIfDue(long now)
    {
        if (now < StartAt) return null;
        StartAt = long.MaxValue;
        string program = Environment.ProcessPath ?? throw new InvalidOperationException("the path of this program is not known");
        var start = new ProcessStartInfo(program) { UseShellExecute = false, RedirectStandardInput = IsStandby };
        if (Path.GetFileNameWithoutExtension(program) == "dotnet") start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "appliance.dll"));
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        foreach ((string variable, string value) in environment) start.Environment[variable] = value;
        start.Environment[SupervisorVariable] = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        _notice = IsAnnounced ? ExitNotice.TryCreate() : null;
        if (_notice is not null) start.Environment[ExitNotice.Variable] = _notice.Path;
        _process?.Dispose();
        _process = new Process { StartInfo = start, EnableRaisingEvents = true };
        _process.Exited += (_, _) => changed();
        if (StartedAt != 0) Restarts++;
        StartedAt = now;
        try
        {
            _process.Start();
            Pid = _process.Id;
            _notice?.Watch();
            return null;
        }
        catch (Win32Exception e)
        {
            _notice?.Dispose();
            _notice = null;
            _process.Dispose();
            _process = null;
            ScheduleRestart(now);
            return e.Message;
        }
    }

    /// <summary>True once after each end; then <see cref="ExitCode"/> and <see cref="StartAt"/> are set.</summary>
    public bool HasEnded(long now)
    {
        if (Pid == 0 || _process is not { HasExited: true }) return false;
        ExitCode = _process.ExitCode;
        Pid = 0;
        _notice?.ChildEnded();
        _notice = null;
        ScheduleRestart(now);
        return true;
    }

    /// <summary>Why it ended, in words.</summary>
    public string Cause => ExitCode switch
    {
        0 => "it ended of its own accord",
        > 128 => $"killed by signal {ExitCode - 128}",
        _ => $"it failed with exit code {ExitCode}",
    };

    /// <summary>Asks it to end, waits, kills it if that did not help; true if asking was enough (or it did not run).</summary>
    public bool End(TimeSpan patience)
    {
        StartAt = long.MaxValue;
        if (Pid == 0 || _process is null) return true;
        ProcessNative.Signal(Pid, ProcessNative.SigTerm);
        bool ended = _process.WaitForExit(patience);
        if (!ended)
        {
            ProcessNative.Signal(Pid, ProcessNative.SigKill);
            _process.WaitForExit();
        }
        ExitCode = _process.ExitCode;
        Pid = 0;
        return ended;
    }

    /// <inheritdoc/>
    public void Dispose() => _process?.Dispose();

    private void ScheduleRestart(long now)
    {
        _shortLives = now - StartedAt < ShortLifeNs ? _shortLives + 1 : 0;
        long pause = _shortLives <= 1 ? 0 : Math.Min(LongestPauseNs, FirstPauseNs << Math.Min(_shortLives - 2, 10));
        StartAt = now + pause;
    }
}
