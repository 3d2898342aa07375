using System.Globalization;
using System.Text.RegularExpressions;

namespace Appliance.Lab.Net;

/// <summary>
/// Names of namespaces carry the process id of the lab that owns them, and a file beside them when that process
/// started, so that a later lab can tell leftovers of a dead run (also of one ended by kill -9, also when the id was
/// given to another process meanwhile) and remove them.
/// </summary>
public static partial class Namespaces
{
    /// <summary>Where namespaces are mounted by iproute2.</summary>
    public const string MountDirectory = "/run/netns";

    internal const string OwnerDirectory = "/run/appliance-lab";

    private const string CpuGroups = "/sys/fs/cgroup/cpu";

    /// <summary>Processes whose main thread is in the namespace mounted at <paramref name="path"/>.</summary>
    public static IReadOnlyList<int> Pids(string path)
    {
        var result = Command.TryRun("stat", ["-L", "-c", "net:[%i]", path]);
        return result.ExitCode == 0 ? PidsIn(result.Output.Trim()) : [];
    }

    /// <summary>Processes whose main thread is in the namespace called "net:[inode]".</summary>
    internal static IReadOnlyList<int> PidsIn(string identity)
    {
        var found = new List<int>();
        foreach (string entry in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(entry), CultureInfo.InvariantCulture, out int pid)
                && LinkTarget(entry + "/ns/net") == identity)
            {
                found.Add(pid);
            }
        }
        return found;
    }

    // Tables of appliances whose box was killed whole and never started again.
    private static void SweepEngineFiles()
    {
        foreach (string path in Directory.EnumerateFiles("/dev/shm", "appliance-*"))
        {
            string[] parts = Path.GetFileName(path).Split('-');
            if (parts.Length > 2 && int.TryParse(parts[1], CultureInfo.InvariantCulture, out int pid) && !Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}"))) File.Delete(path);
        }
    }

    /// <summary>Removes what runs left behind whose process is gone; returns the names of the namespaces removed.</summary>
    public static IReadOnlyList<string> Sweep()
    {
        var dead = Mounted().Where(n => !OwnerLives(n)).ToList();
        Delete(dead);
        foreach (string group in Entries(CpuGroups).Where(n => !OwnerLives(n)))
        {
            TryRemoveGroup(Path.Combine(CpuGroups, group));
        }
        foreach (string owner in Entries(OwnerDirectory).Where(n => !OwnerLives(n)))
        {
            string file = Path.Combine(OwnerDirectory, owner);
            string directory = OwnerFile(file).Directory;
            if (Path.GetFileName(directory) == owner && Directory.Exists(directory))
            {
                Directory.Delete(directory, recursive: true);
            }
            File.Delete(file);
        }
        SweepEngineFiles();
        return dead;
    }

    /// <summary>Names of the lab namespaces that exist now, of any run.</summary>
    public static IReadOnlyList<string> Mounted() => Entries(MountDirectory).ToList();

    /// <summary>Kills every process in the namespaces, then removes them.</summary>
    internal static void Delete(IReadOnlyCollection<string> names)
    {
        if (names.Count == 0)
        {
            return;
        }
        foreach (int pid in names.SelectMany(n => Pids(Path.Combine(MountDirectory, n))))
        {
            LabNative.Signal(pid, LabNative.SigKill);
        }
        string batch = string.Join('\n', names.Select(n => "netns del " + n)) + "\n";
        Command.TryRun("ip", ["-force", "-batch", "-"], batch);
    }

    internal static void WriteOwner(string prefix, string directory)
    {
        Directory.CreateDirectory(OwnerDirectory);
        File.WriteAllText(Path.Combine(OwnerDirectory, prefix), $"{StartTime(Environment.ProcessId)}\n{directory}\n");
    }

    internal static void RemoveOwner(string prefix) => File.Delete(Path.Combine(OwnerDirectory, prefix));

    internal static void TryRemoveGroup(string path)
    {
        try
        {
            foreach (string child in Directory.GetDirectories(path))
            {
                Directory.Delete(child);
            }
            Directory.Delete(path);
        }
        catch (IOException)
        {
            // A process that was just killed may still be in it; the next sweep takes it.
        }
    }

    private static IEnumerable<string> Entries(string directory) => Directory.Exists(directory)
        ? Directory.EnumerateFileSystemEntries(directory).Select(e => Path.GetFileName(e)!).Where(n => LabName().IsMatch(n))
        : [];

    private static bool OwnerLives(string name)
    {
        var match = LabName().Match(name);
        int pid = int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture);
        string? started = StartTime(pid);
        string file = Path.Combine(OwnerDirectory, match.Groups[1].Value);
        return started is not null && (!File.Exists(file) || OwnerFile(file).Started == started);
    }

    private static (string Started, string Directory) OwnerFile(string file)
    {
        string[] lines = File.ReadAllLines(file);
        return lines.Length >= 2 ? (lines[0], lines[1]) : (string.Empty, string.Empty);
    }

    /// <summary>Field 22 of /proc/PID/stat, which with the id names one process for good; null when there is none.</summary>
    private static string? StartTime(int pid)
    {
        try
        {
            string stat = File.ReadAllText($"/proc/{pid}/stat");
            return stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[19];
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>Where a link of /proc points; null when the process is gone.</summary>
    internal static string? LinkTarget(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    [GeneratedRegex(@"^(apl(\d+)x\d+)(-|$)")]
    private static partial Regex LabName();
}
