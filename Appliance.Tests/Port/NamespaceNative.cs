using System.Diagnostics;
using System.Runtime.InteropServices;
using NUnit.Framework;

namespace Appliance.Tests.Port;

/// <summary>
/// Three network namespaces in a row (client, forwarder, server) joined by two veth pairs, for tests with
/// real packet sockets. Names carry the process number; everything is removed on disposal.
/// </summary>
internal sealed partial class Namespaces : IDisposable
{
    private const int CloneNewNet = 0x4000_0000;
    private static int s_count;
    private readonly string _prefix = $"ports{Environment.ProcessId}x{Interlocked.Increment(ref s_count)}";

    internal const string PortA = "portsa", PortB = "portsb", ClientLink = "portsc", ServerLink = "portss";
    internal const string ClientMac = "02:00:00:00:0c:01", ServerMac = "02:00:00:00:05:01", OwnMacA = "02:00:00:00:0f:0a", OwnMacB = "02:00:00:00:0f:0b";
    internal const string ClientAddress = "10.99.0.1", ServerAddress = "10.99.0.2";

    internal Namespaces()
    {
        Assert.That(Environment.UserName, Is.EqualTo("root"), "tests with packet sockets need root");
        foreach (string name in (string[])[Client, Forwarder, Server])
        {
            Run($"ip netns add {name}");
            Run($"ip -n {name} link set lo up");
        }
        Run($"ip -n {Forwarder} link add {PortA} type veth peer name {ClientLink} netns {Client}");
        Run($"ip -n {Forwarder} link add {PortB} type veth peer name {ServerLink} netns {Server}");
        Up(Forwarder, PortA);
        Up(Forwarder, PortB);
        Host(Client, ClientLink, ClientMac, ClientAddress, ServerAddress, OwnMacA);
        Host(Server, ServerLink, ServerMac, ServerAddress, ClientAddress, OwnMacB);
    }

    internal string Client => _prefix + "c";

    internal string Forwarder => _prefix + "f";

    internal string Server => _prefix + "s";

    /// <summary>Runs a command (words separated by single spaces) and returns its output; fails the test if it fails.</summary>
    internal static string Run(string command)
    {
        using Process process = Start(command);
        string output = process.StandardOutput.ReadToEnd(), errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.That(process.ExitCode, Is.Zero, $"{command}: {errors}");
        return output;
    }

    /// <summary>Starts a command.</summary>
    internal static Process Start(string command)
    {
        string[] words = command.Split(' ');
        var info = new ProcessStartInfo(words[0], words[1..]) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        return Process.Start(info)!;
    }

    /// <summary>Runs <paramref name="action"/> on a thread of its own inside a namespace and waits for it; its exception becomes the caller's.</summary>
    internal static void Inside(string name, Action action)
    {
        Exception? failure = null;
        Thread thread = Enter(name, () =>
        {
            try
            {
                action();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Join();
        if (failure is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>Starts a thread inside a namespace.</summary>
    internal static Thread Enter(string name, Action action)
    {
        var thread = new Thread(() =>
        {
            using var file = File.OpenHandle($"/run/netns/{name}");
            if (SetNs((int)file.DangerousGetHandle(), CloneNewNet) != 0) throw new InvalidOperationException($"cannot enter {name}");
            action();
        });
        thread.Start();
        return thread;
    }

    /// <summary>Deletes the pair of the forwarder's first port and makes it anew.</summary>
    internal void RemakeA(int mtu)
    {
        Run($"ip -n {Forwarder} link del {PortA}");
        Run($"ip -n {Forwarder} link add {PortA} mtu {mtu} type veth peer name {ClientLink} netns {Client}");
        Up(Forwarder, PortA);
        Up(Client, ClientLink);
    }

    public void Dispose()
    {
        foreach (string name in (string[])[Client, Forwarder, Server]) Run($"ip netns del {name}");
    }

    private static void Host(string name, string link, string mac, string address, string other, string gatewayMac)
    {
        Run($"ip -n {name} link set {link} address {mac}");
        Up(name, link);
        Run($"ip -n {name} addr add {address}/24 dev {link}");
        Run($"ip -n {name} neigh add {other} lladdr {gatewayMac} dev {link}");
    }

    private static void Up(string name, string link)
    {
        // Without IPv6 the interfaces are silent unless a test speaks.
        Run($"ip netns exec {name} sysctl -qw net.ipv6.conf.{link}.disable_ipv6=1");
        Run($"ip -n {name} link set {link} up");
    }

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNs(int handle, int type);
}
