using System.Text.Json;
using Appliance.Lab.Net;

namespace Appliance.Lab.Demo;

/// <summary>
/// Runs the appliance's own executable in a box, as an ordinary user with two capabilities. The run directory holds
/// run.json, which names its processes, while it runs.
/// </summary>
public sealed class ApplianceBox(Host host, string configuration) : IApplianceBox
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(20);

    private readonly string _runDirectory = host.DirectoryFor("run");
    private int _starts;

    public Host Host => host;

    public string Configuration => configuration;

    public LabProcess? Process { get; private set; }

    public int EnginePid => Pid("engine");

    public int ManagerPid => Pid("manager");

    public void Start()
    {
        _starts++;
        File.Delete(StatePath);
        var spec = new ProcessSpec($"appliance{_starts}", "dotnet", Program, "run", "-c", configuration, "--run-dir", _runDirectory)
        {
            User = "nobody",
            Capabilities = ["net_raw", "net_admin"],
        };
        Process = host.Start(spec);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (EnginePid == 0 || ManagerPid == 0)
        {
            if (Process.HasExited || clock.Elapsed > StartLimit)
            {
                throw new CommandFailedException($"the appliance did not start in {host.Name}: {Process.Log}");
            }
            Thread.Sleep(5);
        }
    }

    public IReadOnlyDictionary<string, long> Counters()
    {
        var result = host.TryRun("dotnet", Program, "show", "counters", "--json", "--run-dir", _runDirectory);
        var counters = new Dictionary<string, long>(StringComparer.Ordinal);
        if (result.ExitCode == 0 && result.Output.Length > 0)
        {
            using var document = JsonDocument.Parse(result.Output);
            Collect(document.RootElement, string.Empty, counters);
        }
        return counters;
    }

    private static string Program => Path.Combine(AppContext.BaseDirectory, "appliance.dll");

    /// <summary>Every number of the answer under its path, e.g. "replay.packets".</summary>
    private static void Collect(JsonElement element, string path, Dictionary<string, long> into)
    {
        if (element.ValueKind == JsonValueKind.Object)
        {
            foreach (var member in element.EnumerateObject())
            {
                Collect(member.Value, path.Length == 0 ? member.Name : $"{path}.{member.Name}", into);
            }
        }
        else if (element.ValueKind == JsonValueKind.Number && element.TryGetInt64(out long value))
        {
            into[path] = value;
        }
    }

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
