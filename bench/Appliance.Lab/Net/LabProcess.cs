using System.Diagnostics;
using System.Globalization;

namespace Appliance.Lab.Net;

/// <summary>What to start in a host, and as whom.</summary>
public sealed record ProcessSpec(string Name, string File, params string[] Arguments)
{
    /// <summary>User to run as; null for root.</summary>
    public string? User { get; init; }

    /// <summary>Exactly the capabilities the process is to have, e.g. "net_raw"; null leaves them alone.</summary>
    public IReadOnlyList<string>? Capabilities { get; init; }

    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>Called with every line of standard output as it comes (on a pool thread); the log file then holds stderr only.</summary>
    public Action<string>? OnLine { get; init; }

    /// <summary>Keeps standard input open, for <see cref="LabProcess.WriteLine"/>.</summary>
    public bool Input { get; init; }

    public string? WorkingDirectory { get; init; }

    /// <summary>Runs at real-time priority (SCHED_FIFO), all of it.</summary>
    public bool First { get; init; }
}

/// <summary>
/// A long-lived process in a host. Its process id is that of the program itself (nothing stays between), it leads a
/// process group of its own, and what it prints goes to <see cref="LogPath"/>.
/// </summary>
public sealed class LabProcess
{
    private readonly Process _process;
    private readonly Task _reader;

    private LabProcess(Host host, string name, string logPath, Process process, Task reader)
    {
        Host = host;
        Name = name;
        LogPath = logPath;
        _process = process;
        _reader = reader;
        Pid = process.Id;
    }

    public Host Host { get; }

    public string Name { get; }

    public string LogPath { get; }

    public int Pid { get; }

    public bool HasExited => _process.HasExited;

    /// <summary>Exit code; 128 + signal when a signal ended it.</summary>
    public int ExitCode => _process.ExitCode;

    /// <summary>Everything it wrote to its log so far.</summary>
    public string Log => File.Exists(LogPath) ? File.ReadAllText(LogPath) : string.Empty;

    /// <summary>Sends a signal to this process alone; false when it is gone.</summary>
    public bool Signal(int signal) => !_process.HasExited && LabNative.Signal(Pid, signal);

    /// <summary>SIGKILL to its whole process group, and waits for its end.</summary>
    public void Kill()
    {
        if (!_process.HasExited)
        {
            LabNative.Signal(-Pid, LabNative.SigKill);
        }
        WaitForExit(TimeSpan.FromSeconds(10));
    }

    /// <summary>SIGTERM, and SIGKILL if that has not ended it after <paramref name="grace"/>. True when SIGTERM was enough.</summary>
    public bool Terminate(TimeSpan grace)
    {
        Signal(LabNative.SigTerm);
        if (WaitForExit(grace))
        {
            return true;
        }
        Kill();
        return false;
    }

    /// <summary>Waits for the end of the process and of its output; false when time runs out first.</summary>
    public bool WaitForExit(TimeSpan limit) => _process.WaitForExit(limit) && _reader.Wait(limit);

    /// <summary>Waits for the end of the process and of its output.</summary>
    public async Task<int> WaitForExitAsync(CancellationToken cancel = default)
    {
        await _process.WaitForExitAsync(cancel).ConfigureAwait(false);
        await _reader.ConfigureAwait(false);
        return _process.ExitCode;
    }

    /// <summary>Writes a line to its standard input (needs <see cref="ProcessSpec.Input"/>).</summary>
    public void WriteLine(string line)
    {
        _process.StandardInput.WriteLine(line);
        _process.StandardInput.Flush();
    }

    /// <summary>Waits until the log contains a text; throws with the log when the process ends or time runs out first.</summary>
    public void WaitForLog(string text, TimeSpan limit)
    {
        var clock = Stopwatch.StartNew();
        while (!Log.Contains(text, StringComparison.Ordinal))
        {
            if (HasExited || clock.Elapsed > limit)
            {
                string end = HasExited ? $"ended with {ExitCode.ToString(CultureInfo.InvariantCulture)}" : "is late";
                throw new CommandFailedException($"{Host.Name}/{Name} {end} before it wrote \"{text}\":\n{Log}");
            }
            Thread.Sleep(2);
        }
    }

    internal static LabProcess Start(Host host, ProcessSpec spec, string directory)
    {
        string logs = Path.Combine(directory, host.Name);
        Directory.CreateDirectory(logs);
        string log = Path.Combine(logs, spec.Name + ".log");
        bool pipe = spec.OnLine is not null;
        // The shell only opens the log and becomes nsenter, which becomes setpriv, which becomes the program.
        string script = "log=$1; shift; exec \"$@\" 2>>\"$log\"" + (pipe ? string.Empty : " >&2") + (spec.Input ? string.Empty : " </dev/null");
        var start = new ProcessStartInfo("setsid")
        {
            UseShellExecute = false,
            RedirectStandardOutput = pipe,
            RedirectStandardInput = spec.Input,
            WorkingDirectory = spec.WorkingDirectory ?? logs,
        };
        foreach (string argument in (string[])["/bin/sh", "-c", script, "sh", log, "nsenter", $"--net={host.NamespacePath}", "--", .. spec.First ? (string[])["chrt", "--fifo", "1"] : [], .. Privileges(spec), spec.File, .. spec.Arguments])
        {
            start.ArgumentList.Add(argument);
        }
        foreach (var (key, value) in spec.Environment)
        {
            start.Environment[key] = value;
        }
        var process = Process.Start(start) ?? throw new CommandFailedException($"{spec.File} did not start");
        // Only then does the host count it among its own, for a fault that comes at once.
        while (!process.HasExited && Namespaces.LinkTarget($"/proc/{process.Id}/ns/net") != host.Identity)
        {
            Thread.Sleep(1);
        }
        var reader = pipe ? ReadLines(process, spec.OnLine!) : Task.CompletedTask;
        return new LabProcess(host, spec.Name, log, process, reader);
    }

    private static async Task ReadLines(Process process, Action<string> onLine)
    {
        while (await process.StandardOutput.ReadLineAsync().ConfigureAwait(false) is { } line)
        {
            onLine(line);
        }
    }

    private static string[] Privileges(ProcessSpec spec)
    {
        if (spec.User is null && spec.Capabilities is null)
        {
            return [];
        }
        var words = new List<string> { "setpriv" };
        if (spec.User is not null)
        {
            string group = Command.Run("id", ["-gn", spec.User]).Trim();
            words.AddRange([$"--reuid={spec.User}", $"--regid={group}", "--clear-groups"]);
        }
        if (spec.Capabilities is not null)
        {
            string set = string.Concat(["-all", .. spec.Capabilities.Select(c => ",+" + c)]);
            words.AddRange([$"--inh-caps={set}", $"--ambient-caps={set}", $"--bounding-set={set}"]);
        }
        words.Add("--no-new-privs");
        return [.. words];
    }
}
