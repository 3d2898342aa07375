using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Appliance.Control.Runtime;
using Appliance.Lab.Net;

namespace Appliance.Lab.Topology;

/// <summary>
/// Runs the appliance's own executable in a box, as an ordinary user with exactly two capabilities. The run directory
/// holds run.json, which names its processes, while it runs. What it shows is asked of its manager's socket, as
/// `appliance show` does.
/// </summary>
public sealed class ApplianceBox(Host host, string configuration)
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60);

    private readonly string _runDirectory = host.DirectoryFor("run");
    private int _starts;

    public Host Host => host;

    /// <summary>Whether its packet threads may run at real-time priority (CAP_SYS_NICE).</summary>
    public bool RealTime { get; init; }

    /// <summary>Where its processes say what they are.</summary>
    public string RunDirectory => _runDirectory;

    /// <summary>File of its configuration.</summary>
    public string Configuration => configuration;

    /// <summary>The supervisor of the last start.</summary>
    public LabProcess? Process { get; private set; }

    /// <summary>Process of the data path; changes when it was restarted; 0 while there is none.</summary>
    public int EnginePid => Pid("engine");

    /// <summary>Whether a process is ready to become the engine when that dies; not so in an engine's first seconds.</summary>
    public bool HasStandby => Standby.State(_runDirectory) == "ready";

    /// <summary>Process that waits to become the engine; 0 while there is none.</summary>
    public int StandbyPid => Pid("standby");

    /// <summary>Process of the rest of the control plane.</summary>
    public int ManagerPid => Pid("manager");

    /// <summary>What the last start logged.</summary>
    public string Log => Process?.Log ?? string.Empty;

    /// <summary>Path of the executable's assembly, beside the lab's.</summary>
    public static string Program => Path.Combine(AppContext.BaseDirectory, "appliance.dll");

    /// <summary>Starts (or starts again) the appliance and returns when both its processes run.</summary>
    public void Start()
    {
        Launch();
        var clock = Stopwatch.StartNew();
        while (EnginePid == 0 || ManagerPid == 0)
        {
            if (Process!.HasExited || clock.Elapsed > StartLimit)
            {
                throw new CommandFailedException($"the appliance did not start in {host.Name}: {Log}");
            }
            Thread.Sleep(5);
        }
    }

    /// <summary>Starts the executable and returns at once.</summary>
    public void Launch()
    {
        _starts++;
        File.Delete(StatePath);
        Process = host.Start(new ProcessSpec($"appliance{_starts}", "dotnet", Program, "run", "-c", configuration, "--run-dir", _runDirectory)
        {
            User = "nobody",
            Capabilities = RealTime ? ["net_raw", "net_admin", "sys_nice"] : ["net_raw", "net_admin"],
        });
    }

    /// <summary>A document of `show`; null when the manager does not answer.</summary>
    public JsonObject? Show(string what, string? filter = null) => ShowClient.Ask(_runDirectory, new ShowQuery(what, filter)).Document;

    /// <summary>Counters by their names ("relayed"), drops as "drop.noRecord", frames handed to a box as "handed.gw2".</summary>
    public IReadOnlyDictionary<string, long> Counters()
    {
        var counters = new Dictionary<string, long>(StringComparer.Ordinal);
        if (Show("counters") is not { } document)
        {
            return counters;
        }
        foreach (var (name, value) in document["counters"] as JsonObject ?? [])
        {
            counters[name] = value!.GetValue<long>();
        }
        foreach (var row in Rows(document, "drops"))
        {
            counters["drop." + row["reason"]!.GetValue<string>()] = row["frames"]!.GetValue<long>();
        }
        foreach (var row in Rows(document, "handed"))
        {
            counters["handed." + row["box"]!.GetValue<string>()] = row["framesHanded"]!.GetValue<long>();
        }
        return counters;
    }

    /// <summary>True when this box runs, counts exactly these proxies as usable and hears all boxes.</summary>
    public bool Agrees(IEnumerable<string> proxies, IEnumerable<string> live)
    {
        var document = Show("peers");
        bool Same(string field, IEnumerable<string> names) =>
            new HashSet<string>(names, StringComparer.Ordinal).SetEquals((document![field]?.GetValue<string>() ?? string.Empty).Split(' '));
        return document is not null && document["engine"]?.GetValue<string>() == "running" && Same("usableProxies", proxies) && Same("liveBoxes", live)
            && Rows(document, "peers").All(p => p["refilled"]!.GetValue<bool>() || !p["live"]!.GetValue<bool>());
    }

    /// <summary>Whether this box, the sharer, hands packets to a proxy.</summary>
    public bool Uses(string proxy) => PeerRow(proxy)?["usable"]!.GetValue<bool>() ?? false;

    /// <summary>Which life of a peer's engine this box believes in; 0 when nobody answers.</summary>
    public long IncarnationOf(string peer) => PeerRow(peer)?["details"]!["incarnation"]!.GetValue<long>() ?? 0;

    /// <summary>Rows of a table of a document.</summary>
    public static IEnumerable<JsonObject> Rows(JsonObject? document, string table) => (document?[table] as JsonArray ?? []).OfType<JsonObject>();

    private JsonObject? PeerRow(string peer) => Rows(Show("peers"), "peers").FirstOrDefault(r => r["peer"]!.GetValue<string>() == peer);

    private string StatePath => Path.Combine(_runDirectory, "run.json");

    private int Pid(string name)
    {
        try
        {
            using var state = JsonDocument.Parse(File.ReadAllText(StatePath));
            return state.RootElement.GetProperty(name).GetInt32();
        }
        catch (IOException)
        {
            return 0;
        }
    }
}
