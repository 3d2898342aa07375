using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Appliance.Lab.Net;

/// <summary>
/// A network on one machine: hosts (network namespaces), switches (bridges), links (veth). Needs root. Nothing of it
/// outlives the lab: it is removed by Dispose, by Ctrl-C and SIGTERM, when the process exits, and, should the process
/// be killed, by the next lab that starts. Its traffic never leaves its own namespaces. One thread builds it.
/// </summary>
public sealed class LabNetwork : IAsyncDisposable, IDisposable
{
    private static readonly Lock Gate = new();
    private static readonly List<LabNetwork> Live = [];
    private static readonly List<PosixSignalRegistration> Signals = [];
    private static int _count;

    private readonly List<Host> _hosts = [];
    private readonly List<Switch> _switches = [];
    private readonly List<Switch> _pendingSwitches = [];
    private readonly bool _ownDirectory;
    private readonly Lock _removal = new();
    private bool _disposed;

    private LabNetwork(string prefix, string? directory)
    {
        Prefix = prefix;
        _ownDirectory = directory is null;
        Directory = directory ?? Path.Combine(Path.GetTempPath(), "appliance-lab", prefix);
        SwitchHost = new Host(this, "sw");
    }

    /// <summary>"apl", the process id, "x" and the number of the lab in this process: the start of every namespace's name.</summary>
    public string Prefix { get; }

    /// <summary>Logs, generated configurations and captures; removed with the lab unless the caller named it.</summary>
    public string Directory { get; }

    public IReadOnlyList<Host> Hosts => _hosts;

    /// <summary>The namespace in which all switches stand; not a host that sends anything.</summary>
    public Host SwitchHost { get; }

    /// <summary>Makes an empty lab and removes what dead runs left. A directory that the caller names is kept.</summary>
    public static LabNetwork Create(string? directory = null)
    {
        if (Environment.UserName != "root")
        {
            throw new CommandFailedException("a lab makes network namespaces and needs root");
        }
        lock (Gate)
        {
            Namespaces.Sweep();
            CatchSignals();
            string prefix = string.Create(CultureInfo.InvariantCulture, $"apl{Environment.ProcessId}x{++_count}");
            var lab = new LabNetwork(prefix, directory);
            System.IO.Directory.CreateDirectory(lab.Directory);
            Namespaces.WriteOwner(prefix, lab._ownDirectory ? lab.Directory : "-");
            Live.Add(lab);
            return lab;
        }
    }

    /// <summary>True once a signal has asked this program to end: whatever fails from then on fails because its lab is being removed.</summary>
    public static bool WasInterrupted { get; private set; }

    /// <summary>Declares a host.</summary>
    public Host AddHost(string name)
    {
        var host = new Host(this, name);
        _hosts.Add(host);
        return host;
    }

    /// <summary>Declares a switch.</summary>
    public Switch AddSwitch(string name)
    {
        var made = new Switch(name);
        _switches.Add(made);
        _pendingSwitches.Add(made);
        return made;
    }

    public Host Host(string name) => _hosts.First(h => h.Name == name);

    public Switch Switch(string name) => _switches.First(s => s.Name == name);

    /// <summary>Makes everything declared since the last call, a few commands for all of it.</summary>
    public void Build()
    {
        Host[] all = [SwitchHost, .. _hosts];
        var fresh = all.Where(h => !h.Built).ToList();
        if (fresh.Count > 0)
        {
            Command.Run("ip", ["-batch", "-"], Lines(fresh.Select(h => "netns add " + h.Namespace)));
            Parallel.ForEach(fresh, h => h.Enter(() => KernelSettings.Write(h == SwitchHost ? QuietSettings : HostSettings)));
            fresh.ForEach(h => h.Built = true);
        }
        var links = _hosts.SelectMany(h => h.PendingLinks).ToList();
        Command.Run("ip", ["-n", SwitchHost.Namespace, "-batch", "-"], SwitchBatch(links));
        Parallel.ForEach(_hosts, BuildHost);
        foreach (var link in links.Where(l => l.Options.Offloads != Offloads.Default))
        {
            SetOffloads(link);
        }
        foreach (var link in links.Where(l => l.Options.InOrder))
        {
            SteerByFlow(link.Host, link.Interface);
            SteerByFlow(SwitchHost, link.Port);
        }
        Shape(links);
        _pendingSwitches.Clear();
        _hosts.ForEach(h => h.PendingLinks.Clear());
    }

    /// <summary>Removes everything. Who comes second (the main thread, when a signal's thread is at it) waits for the first.</summary>
    public void Dispose()
    {
        lock (_removal)
        {
            if (_disposed)
            {
                return;
            }
            _disposed = true;
            Remove();
        }
        lock (Gate)
        {
            Live.Remove(this);
        }
    }

    private void Remove()
    {
        foreach (var process in _hosts.SelectMany(h => h.Processes).Where(p => !p.HasExited))
        {
            LabNative.Signal(-process.Pid, LabNative.SigKill);
        }
        foreach (var process in _hosts.SelectMany(h => h.Processes))
        {
            process.WaitForExit(TimeSpan.FromSeconds(2));
        }
        Host[] all = [.. _hosts, SwitchHost];
        Namespaces.Delete(all.Where(h => h.Built).Select(h => h.Namespace).ToList());
        foreach (string group in CpuGroups())
        {
            Namespaces.TryRemoveGroup(group);
        }
        if (_ownDirectory && System.IO.Directory.Exists(Directory))
        {
            System.IO.Directory.Delete(Directory, recursive: true);
        }
        Namespaces.RemoveOwner(Prefix);
    }

    public ValueTask DisposeAsync()
    {
        Dispose();
        return ValueTask.CompletedTask;
    }

    private static readonly (string, string)[] QuietSettings =
        [("ipv6.conf.all.disable_ipv6", "1"), ("ipv6.conf.default.disable_ipv6", "1")];

    private static readonly (string, string)[] HostSettings =
    [
        ("ipv4.conf.all.rp_filter", "0"),
        ("ipv4.conf.default.rp_filter", "0"),
        ("ipv4.conf.all.send_redirects", "0"),
        ("ipv4.conf.default.send_redirects", "0"),
        ("ipv4.conf.all.accept_redirects", "0"),
        ("ipv4.conf.default.accept_redirects", "0"),
        ("ipv6.conf.all.accept_ra", "0"),
        ("ipv6.conf.default.accept_ra", "0"),
        ("ipv6.conf.default.accept_dad", "0"),
        ("ipv6.conf.default.router_solicitations", "0"),
        ("ipv6.conf.all.keep_addr_on_down", "1"),
        ("ipv6.conf.default.keep_addr_on_down", "1"),
        ("ipv4.ip_unprivileged_port_start", "0"),
    ];

    private static string Lines(IEnumerable<string> lines) => string.Join('\n', lines) + "\n";

    private static void CatchSignals()
    {
        if (Signals.Count > 0)
        {
            return;
        }
        foreach (var signal in (PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT])
        {
            Signals.Add(PosixSignalRegistration.Create(signal, _ =>
            {
                WasInterrupted = true;
                DisposeAll();
            }));
        }
        AppDomain.CurrentDomain.ProcessExit += (_, _) => DisposeAll();
    }

    private static void DisposeAll()
    {
        LabNetwork[] all;
        lock (Gate)
        {
            all = [.. Live];
        }
        foreach (var lab in all)
        {
            lab.Dispose();
        }
    }

    private string SwitchBatch(List<Link> links)
    {
        var batch = new StringBuilder("link set lo up\n");
        foreach (var made in _pendingSwitches)
        {
            batch.AppendLine(CultureInfo.InvariantCulture, $"link add name {made.Name} type bridge stp_state 0 mcast_snooping 0 forward_delay 0");
            batch.AppendLine(CultureInfo.InvariantCulture, $"link set dev {made.Name} up");
        }
        foreach (var link in links)
        {
            string mac = link.Options.Mac is null ? string.Empty : $" address {link.Options.Mac}";
            batch.AppendLine(CultureInfo.InvariantCulture,
                $"link add name {link.Port} mtu {link.Options.Mtu} type veth peer name {link.Interface}{mac} mtu {link.Options.Mtu} netns {link.Host.Namespace}");
            batch.AppendLine(CultureInfo.InvariantCulture, $"link set dev {link.Port} master {link.Switch.Name} up");
        }
        return batch.ToString();
    }

    private static void BuildHost(Host host)
    {
        var settings = host.PendingLinks.Where(l => l.Options.Addresses.Count == 0)
            .Select(l => ($"ipv6.conf.{l.Interface}.disable_ipv6", "1")).Concat(host.PendingSettings).ToList();
        if (settings.Count > 0)
        {
            host.Enter(() => KernelSettings.Write(settings));
        }
        var batch = new List<string> { "link set lo up" };
        foreach (var link in host.PendingLinks)
        {
            batch.AddRange(link.Options.Addresses.Select(a =>
                $"addr add {a} dev {link.Interface}" + (a.Contains(':', StringComparison.Ordinal) ? " nodad" : string.Empty)));
            batch.Add($"link set dev {link.Interface} up");
        }
        batch.AddRange(host.PendingRoutes.Select(r => "route add " + r));
        Command.Run("ip", ["-n", host.Namespace, "-batch", "-"], Lines(batch));
        host.PendingSettings.Clear();
        host.PendingRoutes.Clear();
    }

    private void SetOffloads(Link link)
    {
        string[] flags = link.Options.Offloads == Offloads.Gro ? ["gro", "on"] : ["tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"];
        link.Host.Run("ethtool", ["-K", link.Interface, .. flags]);
        SwitchHost.Run("ethtool", ["-K", link.Port, .. flags]);
    }

    // Receive packet steering: which processor takes a frame in is decided by its flow (sysfs of the namespace, hence the command).
    private static void SteerByFlow(Host host, string device)
    {
        string processors = ((1UL << Math.Min(Environment.ProcessorCount, 32)) - 1).ToString("x", CultureInfo.InvariantCulture);
        Command.Run("ip", ["netns", "exec", host.Namespace, "sh", "-c", $"echo {processors} > /sys/class/net/{device}/queues/rx-0/rps_cpus"]);
    }

    /// <summary>A shaped link has a bucket at both ends, since only egress can be shaped.</summary>
    private void Shape(List<Link> links)
    {
        var shaped = links.Where(l => l.Options.Rate is not null).ToList();
        if (shaped.Count == 0)
        {
            return;
        }
        static string Bucket(string device, LinkOptions o) =>
            string.Create(CultureInfo.InvariantCulture, $"qdisc add dev {device} root tbf rate {o.Rate} burst 64kb limit {o.QueueBytes}");
        SwitchHost.RunWithInput(Lines(shaped.Select(l => Bucket(l.Port, l.Options))), "tc", "-batch", "-");
        foreach (var link in shaped)
        {
            link.Host.RunWithInput(Bucket(link.Interface, link.Options) + "\n", "tc", "-batch", "-");
        }
    }

    private IEnumerable<string> CpuGroups() => System.IO.Directory.Exists("/sys/fs/cgroup/cpu")
        ? System.IO.Directory.EnumerateDirectories("/sys/fs/cgroup/cpu", Prefix + "-*")
        : [];
}
