using System.Globalization;
using Appliance.Lab.Net;

namespace Appliance.Lab.Faults;

/// <summary>
/// Faults of processes and whole boxes. The instants returned are nanoseconds of the machine's monotonic clock, taken
/// right before the fault's last act.
/// </summary>
public static class ProcessFaults
{
    private const int QuotaPeriodUs = 10_000;

    /// <summary>SIGKILL to one process; its kernel lives on and tells its peers.</summary>
    public static long KillProcess(int pid) => Signal(pid, LabNative.SigKill);

    /// <summary>
    /// The death of a machine: its links are blackholed first, then every process in it is killed, so that its kernel
    /// tells nobody. The host itself stays, for <see cref="ReviveBox"/>.
    /// </summary>
    public static long KillBox(Host box)
    {
        var pids = box.Pids();
        LinkFaults.Blackhole([.. box.Links]);
        long at = LabNative.MonotonicNs();
        foreach (int pid in pids.Concat(box.Pids()).Distinct())
        {
            LabNative.Signal(pid, LabNative.SigKill);
        }
        return at;
    }

    /// <summary>Ends the blackhole of a killed box; whatever ran in it has to be started again.</summary>
    public static void ReviveBox(Host box) => LinkFaults.Unblackhole([.. box.Links]);

    public static long Stop(int pid) => Signal(pid, LabNative.SigStop);

    public static long Continue(int pid) => Signal(pid, LabNative.SigCont);

    /// <summary>SIGSTOP to every process of a host at once.</summary>
    public static long StopAll(Host host) => SignalAll(host, LabNative.SigStop);

    public static long ContinueAll(Host host) => SignalAll(host, LabNative.SigCont);

    /// <summary>
    /// Limits the processes that now run in a host to a share of one core (1.0 = one whole core), by a CPU group of
    /// their own; null lifts the limit. Needs the cpu controller of cgroup v1.
    /// </summary>
    public static void CpuQuota(Host host, double? cores)
    {
        string group = $"/sys/fs/cgroup/cpu/{host.LabPrefix}-{host.Name}";
        Directory.CreateDirectory(group);
        int quota = cores is { } c ? Math.Max(1000, (int)(c * QuotaPeriodUs)) : -1;
        File.WriteAllText(group + "/cpu.cfs_period_us", QuotaPeriodUs.ToString(CultureInfo.InvariantCulture));
        File.WriteAllText(group + "/cpu.cfs_quota_us", quota.ToString(CultureInfo.InvariantCulture));
        foreach (int pid in host.Pids())
        {
            File.WriteAllText(group + "/cgroup.procs", pid.ToString(CultureInfo.InvariantCulture));
        }
    }

    private static long Signal(int pid, int signal)
    {
        long at = LabNative.MonotonicNs();
        LabNative.Signal(pid, signal);
        return at;
    }

    private static long SignalAll(Host host, int signal)
    {
        var pids = host.Pids();
        long at = LabNative.MonotonicNs();
        foreach (int pid in pids)
        {
            LabNative.Signal(pid, signal);
        }
        return at;
    }
}

/// <summary>Runs actions at instants drawn from a seed, in the order of the instants. The seed and the plan can be printed.</summary>
public sealed class FaultSchedule
{
    private readonly List<(TimeSpan At, string Name, Action Act)> _plan = [];
    private readonly Random _random;

    public FaultSchedule(int seed)
    {
        Seed = seed;
        _random = new Random(seed);
    }

    public int Seed { get; }

    public IEnumerable<string> Plan => _plan.OrderBy(p => p.At)
        .Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.At.TotalMilliseconds:F1} ms: {p.Name}"));

    /// <summary>Adds an action at a random instant between the two.</summary>
    public TimeSpan Add(string name, TimeSpan earliest, TimeSpan latest, Action act)
    {
        var at = earliest + ((latest - earliest) * _random.NextDouble());
        _plan.Add((at, name, act));
        return at;
    }

    /// <summary>Waits for each instant, counted from now, and acts.</summary>
    public Task Run(CancellationToken cancel = default) => Task.Factory.StartNew(
        () =>
        {
            long start = LabNative.MonotonicNs();
            foreach (var (at, _, act) in _plan.OrderBy(p => p.At))
            {
                cancel.ThrowIfCancellationRequested();
                LabNative.SleepUntil(start + (long)at.TotalNanoseconds);
                act();
            }
        },
        cancel,
        TaskCreationOptions.LongRunning,
        TaskScheduler.Default);
}
