using System.Text.Json;
using System.Text.Json.Serialization;

namespace Appliance.Control.Runtime;

/// <summary>How often each child was started again.</summary>
public sealed record RestartCounts(int Engine, int Manager);

/// <summary>What <c>run.json</c> in the run directory says; a process id is 0 while there is no such process.</summary>
public sealed record RunState(int Supervisor, int Engine, int Standby, int Manager, DateTimeOffset Since, RestartCounts Restarts)
{
    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.Never };

    /// <summary>What the run directory says, or null.</summary>
    public static RunState? Read(string directory)
    {
        try
        {
            return JsonSerializer.Deserialize<RunState>(File.ReadAllText(RunDirectory.StatePath(directory)), Options);
        }
        catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    internal string ToJson() => JsonSerializer.Serialize(this, Options);
}

/// <summary>
/// The directory in which one running appliance keeps its small files: <c>lock</c>, <c>run.json</c>,
/// <c>configuration</c> (what runs, in canonical form), <c>engine.json</c>, <c>standby</c>, <c>manager.sock</c>. Held
/// by a lock that the kernel releases when its holder dies, however that happens. Nobody depends on what stands in it: if somebody
/// removes it, it is made again. Its end removes all of them.
/// </summary>
public sealed class RunDirectory : IDisposable
{
    // Room for the socket's name in sockaddr_un (108 bytes with the final zero).
    private const int LongestPath = 107 - 13;

    private FileStream _lock;
    private readonly bool _made;

    // Whether the file of the lock's name was the one held when last looked at, and the configuration beside it is ours.
    private bool _isHeld = true, _isConfigured;

    private RunDirectory(string path, FileStream held, bool made)
    {
        FullPath = path;
        _lock = held;
        _made = made;
    }

    /// <summary>Absolute path.</summary>
    public string FullPath { get; }

    /// <summary>Where the running configuration stands.</summary>
    public string ConfigurationPath => Path.Combine(FullPath, "configuration");

    /// <summary>Path of <c>run.json</c>.</summary>
    public static string StatePath(string directory) => Path.Combine(directory, "run.json");

    /// <summary>Path of the manager's socket.</summary>
    public static string SocketPath(string directory) => Path.Combine(directory, "manager.sock");

    /// <summary>Makes the directory if need be and takes its lock; null and one sentence if that cannot be.</summary>
    public static RunDirectory? Take(string path, out string? problem)
    {
        path = Path.GetFullPath(path);
        problem = System.Text.Encoding.UTF8.GetByteCount(path) > LongestPath ? $"the run directory's path is longer than {LongestPath} bytes: name a shorter one with --run-dir" : null;
        problem ??= FileInTheWay(path) is { } file ? $"{file} is a file, so there can be no run directory {path}: name another with --run-dir" : null;
        if (problem is not null) return null;
        bool made = !Directory.Exists(path);
        try
        {
            if (made) Make(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problem = $"the run directory {path} cannot be made: make it and give it to the user that runs the appliance (install -d -m 755 -o USER {path}), or name another with --run-dir";
            return null;
        }
        try
        {
            return new RunDirectory(path, Lock(path), made);
        }
        catch (UnauthorizedAccessException)
        {
            problem = $"the run directory {path} cannot be written: give it to the user that runs the appliance (chown USER {path}), or name another with --run-dir";
        }
        catch (IOException)
        {
            string who = RunState.Read(path) is { Supervisor: > 0 } state ? $" (process {state.Supervisor})" : "";
            problem = $"an appliance runs in {path} already{who}: stop it, or name another directory with --run-dir";
        }
        return null;
    }

    /// <summary>Makes the directory, its lock and the configuration anew if somebody has removed them.</summary>
    /// <exception cref="IOException">That cannot be, or another appliance has taken its place (also <see cref="UnauthorizedAccessException"/>).</exception>
    public void Restore(string configuration)
    {
        _isHeld &= File.Exists(LockPath(FullPath));
        if (!_isHeld)
        {
            _isConfigured = false;
            Make(FullPath);
            // First the old one: it is in the way if its file was moved away and back.
            _lock.Dispose();
            _lock = Lock(FullPath);
            _isHeld = true;
        }
        if (!_isConfigured || !File.Exists(ConfigurationPath)) WriteConfiguration(configuration);
    }

    /// <summary>The file that stands where <paramref name="path"/> or a directory above it should be, or null.</summary>
    public static string? FileInTheWay(string path)
    {
        for (string? at = Path.GetFullPath(path); at is not null; at = Path.GetDirectoryName(at))
        {
            if (File.Exists(at)) return at;
        }
        return null;
    }

    /// <summary>Replaces the state at once: a reader sees the old or the new one.</summary>
    public void Write(RunState state) => Replace(StatePath(FullPath), state.ToJson());

    /// <summary>Writes the configuration that runs.</summary>
    public void WriteConfiguration(string text)
    {
        Replace(ConfigurationPath, text);
        _isConfigured = true;
    }

    /// <summary>Removes what a child left that ended without doing so itself; also what one left in an earlier life of this directory.</summary>
    public void RemoveLeftovers()
    {
        EngineFiles.RemoveLeftovers(EngineFiles.ReadAddress(FullPath));
        foreach (string file in (string[])[EngineFiles.AddressPath(FullPath), SocketPath(FullPath), Standby.ReadyPath(FullPath)]) TryDelete(file);
    }

    /// <summary>Removes everything, the directory too if it was made here, and gives the lock up; nothing if the directory is another appliance's by now.</summary>
    public void Dispose()
    {
        if (_isHeld)
        {
            RemoveLeftovers();
            foreach (string file in (string[])[StatePath(FullPath), ConfigurationPath, LockPath(FullPath)]) TryDelete(file);
        }
        _lock.Dispose();
        if (!_made || !_isHeld) return;
        try
        {
            Directory.Delete(FullPath);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Somebody put something in it, or its parent is not ours: it stays.
        }
    }

    /// <summary>Removes a file as far as that can be done.</summary>
    internal static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The directory is gone, or not ours to write any more.
        }
    }

    private static string LockPath(string directory) => Path.Combine(directory, "lock");

    // An exclusive flock: it ends with this process.
    private static FileStream Lock(string directory) => new(LockPath(directory), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);

    private static void Make(string path)
    {
        if (OperatingSystem.IsWindows()) throw new PlatformNotSupportedException();
        const UnixFileMode mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
            | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;
        Directory.CreateDirectory(path, mode);
    }

    private static void Replace(string path, string text)
    {
        string fresh = path + ".new";
        File.WriteAllText(fresh, text);
        File.Move(fresh, path, overwrite: true);
    }
}
