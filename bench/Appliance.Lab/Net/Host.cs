using System.Diagnostics;
using System.Globalization;
using System.Runtime.ExceptionServices;

namespace Appliance.Lab.Net;

/// <summary>
/// A host of the lab: a network namespace with its links, routes and kernel settings. Links, routes and settings are
/// declared first and applied by <see cref="LabNetwork.Build"/>; what is declared later needs another Build.
/// </summary>
public sealed class Host
{
    private readonly LabNetwork _lab;
    private readonly List<Link> _links = [];
    private readonly List<LabProcess> _processes = [];
    private readonly List<string> _routes = [];
    private string? _identity;

    internal Host(LabNetwork lab, string name)
    {
        _lab = lab;
        Name = name;
        Namespace = $"{lab.Prefix}-{name}";
    }

    public string Name { get; }

    /// <summary>Name of the network namespace, as "ip netns" lists it.</summary>
    public string Namespace { get; }

    public string NamespacePath => $"/run/netns/{Namespace}";

    public IReadOnlyList<Link> Links => _links;

    public IReadOnlyList<LabProcess> Processes => _processes;

    /// <summary>Namespace of the switches that this host's links end at.</summary>
    internal Host SwitchHost => _lab.SwitchHost;

    /// <summary>"net:[inode]", as /proc shows it for every process in this host.</summary>
    internal string Identity => _identity ??= Enter(() => Namespaces.LinkTarget("/proc/thread-self/ns/net")!);

    internal string LabPrefix => _lab.Prefix;

    /// <summary>All routes ever declared: the kernel forgets them when their link goes down.</summary>
    internal IReadOnlyList<string> Routes => _routes;

    internal bool Built { get; set; }

    internal List<Link> PendingLinks { get; } = [];

    internal List<string> PendingRoutes { get; } = [];

    internal List<(string Name, string Value)> PendingSettings { get; } = [];

    /// <summary>The link with this interface name.</summary>
    public Link Link(string interfaceName) => _links.First(l => l.Interface == interfaceName);

    /// <summary>Declares a veth to a switch.</summary>
    public Link Connect(Switch to, LinkOptions options)
    {
        var link = new Link(this, to, options);
        _links.Add(link);
        PendingLinks.Add(link);
        return link;
    }

    /// <summary>Declares a route in ip's spelling, e.g. "default via 192.168.1.1".</summary>
    public Host Route(string route)
    {
        PendingRoutes.Add(route);
        _routes.Add(route);
        return this;
    }

    /// <summary>Declares a setting below net., e.g. ("ipv4.ip_forward", "1").</summary>
    public Host Setting(string name, string value)
    {
        PendingSettings.Add((name, value));
        return this;
    }

    /// <summary>Writes a setting below net. at once.</summary>
    public void Set(string name, string value) => Enter(() => KernelSettings.Write([(name, value)]));

    /// <summary>Runs a command in this host to its end; throws unless it exits with 0. Returns its standard output.</summary>
    public string Run(string file, params string[] arguments) => Command.Run("nsenter", InHost(file, arguments));

    /// <summary>Runs a command in this host with the given standard input; throws unless it exits with 0.</summary>
    public string RunWithInput(string input, string file, params string[] arguments) =>
        Command.Run("nsenter", InHost(file, arguments), input);

    /// <summary>Runs a command in this host to its end, whatever its exit code.</summary>
    public CommandResult TryRun(string file, params string[] arguments) => Command.TryRun("nsenter", InHost(file, arguments));

    /// <summary>Starts a long-lived process in this host. It is killed when the lab ends, at the latest.</summary>
    public LabProcess Start(ProcessSpec spec)
    {
        var process = LabProcess.Start(this, spec, _lab.Directory);
        lock (_processes)
        {
            _processes.Add(process);
        }
        return process;
    }

    /// <summary>
    /// Runs a function on a thread of its own inside the host's namespace: sockets opened there belong to the host.
    /// </summary>
    public T Enter<T>(Func<T> function)
    {
        T result = default!;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                LabNative.EnterNamespace(NamespacePath);
                result = function();
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        });
        thread.Start();
        thread.Join();
        failure?.Throw();
        return result;
    }

    /// <summary>As <see cref="Enter{T}"/>, without a result.</summary>
    public void Enter(Action action) => Enter(() =>
    {
        action();
        return 0;
    });

    /// <summary>Sends one Ethernet frame out of an interface, past the host's own stack and filters.</summary>
    public void SendFrame(string interfaceName, byte[] frame) => Enter(() => LabNative.SendFrame(interfaceName, frame));

    /// <summary>Sends many Ethernet frames, a few hundred per millisecond.</summary>
    public void SendFrames(string interfaceName, IEnumerable<byte[]> frames) => Enter(() => LabNative.SendFrames(interfaceName, frames));

    /// <summary>Processes whose main thread is in this namespace, whoever started them.</summary>
    public IReadOnlyList<int> Pids() => Namespaces.PidsIn(Identity);

    /// <summary>Waits until something listens on a TCP port of this host; throws when time runs out, or the process it waits for ends, first.</summary>
    public void WaitForListener(int port, TimeSpan limit, LabProcess? of = null)
    {
        string wanted = string.Create(CultureInfo.InvariantCulture, $":{port:X4} ");
        bool Listens() => File.ReadLines("/proc/thread-self/net/tcp").Concat(File.ReadLines("/proc/thread-self/net/tcp6"))
            .Any(l => l.Contains(wanted, StringComparison.Ordinal) && l.Contains(" 0A ", StringComparison.Ordinal));
        var clock = Stopwatch.StartNew();
        bool found = Enter(() =>
        {
            while (!Listens())
            {
                if (clock.Elapsed > limit || of is { HasExited: true })
                {
                    return false;
                }
                Thread.Sleep(2);
            }
            return true;
        });
        if (!found)
        {
            string logs = string.Join('\n', _processes.Select(p => p.Log));
            throw new CommandFailedException($"nothing listens on port {port} of {Name}:\n{logs}");
        }
    }

    /// <summary>A directory of this host below the lab's, writable by whatever user its processes run as.</summary>
    public string DirectoryFor(string name)
    {
        string path = Path.Combine(_lab.Directory, Name, name);
        System.IO.Directory.CreateDirectory(path);
        LabNative.AllowAll(path);
        return path;
    }

    private string[] InHost(string file, string[] arguments) => [$"--net={NamespacePath}", "--", file, .. arguments];
}

/// <summary>Settings below /proc/sys/net of the namespace that the calling thread is in.</summary>
internal static class KernelSettings
{
    public static void Write(IEnumerable<(string Name, string Value)> settings)
    {
        foreach (var (name, value) in settings)
        {
            File.WriteAllText("/proc/sys/net/" + name.Replace('.', '/'), value);
        }
    }
}
