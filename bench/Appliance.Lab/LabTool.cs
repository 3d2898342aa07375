using Appliance.Lab.Load;
using Appliance.Lab.Net;

namespace Appliance.Lab;

/// <summary>
/// Starts this program's own subcommands (client, server) as processes in a host, whatever program the library was
/// loaded into.
/// </summary>
public static class LabTool
{
    /// <summary>Starts the load client; its lines go to <paramref name="onLine"/> as well as into the returned run.</summary>
    public static LoadRun StartClient(Host host, string name, LoadOptions options, Action<LoadLine>? onLine = null)
    {
        var run = new LoadRun(options.Mode, onLine);
        bool small = options.Mode is LoadMode.Requests or LoadMode.Short or LoadMode.Once;
        run.Process = host.Start(Spec(name, small, options.ToArguments()) with { OnLine = run.Take, Input = options.Wait });
        return run;
    }

    /// <summary>Starts the test server and waits until it listens.</summary>
    public static LabProcess StartServer(Host host, int port = 80)
    {
        var process = host.Start(Spec("server", inline: true, "server", "--port", port.ToString(System.Globalization.CultureInfo.InvariantCulture), "--name", host.Name));
        host.WaitForListener(port, TimeSpan.FromSeconds(20), process);
        return process;
    }

    /// <summary>How to start a subcommand of this program. Small exchanges complete on the polling thread: one hop less.</summary>
    public static ProcessSpec Spec(string name, bool inline, params string[] arguments)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "appliance-lab.dll");
        var environment = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["DOTNET_gcServer"] = "0",
            ["DOTNET_gcConcurrent"] = "0",
            ["DOTNET_TieredPGO"] = "0",
            // Compiled once, at first use, and idle threads sleep: what a load costs besides is taken from those it measures.
            ["DOTNET_TieredCompilation"] = "0",
            ["DOTNET_ThreadPool_UnfairSemaphoreSpinLimit"] = "0",
            ["DOTNET_EnableDiagnostics"] = "0",
        };
        if (inline)
        {
            environment["DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS"] = "1";
        }
        return new ProcessSpec(name, "dotnet", [program, .. arguments]) { Environment = environment };
    }
}
