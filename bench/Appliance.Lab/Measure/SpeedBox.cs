using System.Globalization;
using Appliance.Lab.Faults;
using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Servers;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Measure;

/// <summary>
/// One kind of box on a topology of its own: one client, one box, one backend. While it is not its turn all its
/// processes are stopped (SIGSTOP), so that it costs the others nothing.
/// </summary>
public sealed class SpeedBox : IDisposable
{
    private readonly LabNetwork _lab;
    private readonly ClusterTopology _topology;
    private int _runs;

    /// <summary>Builds it, with nginx as the backend for small answers or the test server for bulk, and stops it.</summary>
    public SpeedBox(string name, BoxKind kind, bool bulk, string? congestion = null, bool first = false)
    {
        Name = name;
        _lab = LabNetwork.Create();
        _topology = ClusterTopology.Build(_lab, new ClusterOptions { Kind = kind, Boxes = 1, Backends = 1, CongestionControl = congestion, BoxFirst = first });
        var backend = _topology.Backends[0];
        if (bulk)
        {
            LabTool.StartServer(backend);
        }
        else
        {
            var files = new[] { 200, 1024, 4096 }.ToDictionary(n => n.ToString(CultureInfo.InvariantCulture), n => (long)n, StringComparer.Ordinal);
            NginxServer.Start(backend, new NginxOptions { Seed = "speed", Files = files, Workers = 2 });
        }
        if (kind == BoxKind.Appliance)
        {
            StartAppliance(first);
        }
        Stop();
    }

    public string Name { get; }

    /// <summary>Process of the engine, 0 if the box is none of ours.</summary>
    public int EnginePid { get; private set; }

    /// <summary>Where the client finds the service.</summary>
    public string Address => _topology.ServiceAddress();

    /// <summary>What the stacks of client and backend have done since they were made.</summary>
    public TcpCounters Ends => TcpCounters.Read(_topology.Clients[0]) + TcpCounters.Read(_topology.Backends[0]);

    /// <summary>Wakes its processes.</summary>
    public void Continue() => _lab.Hosts.ToList().ForEach(h => ProcessFaults.ContinueAll(h));

    /// <summary>Puts its processes to sleep.</summary>
    public void Stop() => _lab.Hosts.ToList().ForEach(h => ProcessFaults.StopAll(h));

    /// <summary>Starts a client that waits for the word.</summary>
    public async Task<LoadRun> Ready(LoadOptions options)
    {
        var run = LabTool.StartClient(_topology.Clients[0], string.Create(CultureInfo.InvariantCulture, $"client{++_runs}"), options with { Wait = true });
        await run.Ready.WaitAsync(TimeSpan.FromSeconds(30)).ConfigureAwait(false);
        return run;
    }

    public void Dispose()
    {
        Continue();
        _lab.Dispose();
    }

    private void StartAppliance(bool first)
    {
        string directory = _topology.Boxes[0].DirectoryFor("config");
        string key = Path.Combine(directory, "cluster.key"), file = Path.Combine(directory, "gw1.conf");
        Command.Run("dotnet", [Path.Combine(AppContext.BaseDirectory, "appliance.dll"), "key", "new", key]);
        Command.Run("chown", ["nobody", key]);
        File.WriteAllText(file, _topology.ApplianceConfiguration(1, key));
        var box = new ApplianceBox(_topology.Boxes[0], file) { RealTime = first };
        box.Start();
        EnginePid = box.EnginePid;
    }
}
