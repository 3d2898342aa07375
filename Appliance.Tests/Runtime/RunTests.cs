using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Appliance.Control.Model;
using Appliance.Control.Runtime;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>`appliance run` as an operator runs it: the real executable as an ordinary user with two capabilities, in a network namespace.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class RunTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private LabNetwork _lab = null!;
    private ClusterTopology _topology = null!;
    private Host _box = null!;
    private string _directory = "", _configuration = "", _key = "";
    private int _runs;

    private string Run { get; set; } = "";

    private static string Program => Path.Combine(AppContext.BaseDirectory, "appliance.dll");

    [OneTimeSetUp]
    public void Build()
    {
        _lab = LabNetwork.Create();
        _topology = ClusterTopology.Build(_lab, new ClusterOptions { Boxes = 1, Backends = 1 });
        _box = _topology.Boxes[0];
        _directory = _box.DirectoryFor("runtime");
        _key = Path.Combine(_directory, "cluster.key");
        File.WriteAllText(_key, ClusterKey.NewText());
        _box.Run("chmod", "644", _key);
        _configuration = Write("gw1.conf", _topology.ApplianceConfiguration(1, _key));
    }

    [OneTimeTearDown]
    public void Remove() => _lab.Dispose();

    [SetUp]
    public void NewRunDirectory() => Run = Path.Combine(_directory, string.Create(CultureInfo.InvariantCulture, $"run{++_runs}"));

    [TearDown]
    public void KillWhatRuns()
    {
        foreach (LabProcess process in _box.Processes) process.Kill();
    }

    [Test]
    public void It_starts_shows_restarts_its_children_and_leaves_nothing()
    {
        LabProcess process = Started();
        RunState first = RunState.Read(Run)!;
        Assert.That(first.Supervisor, Is.EqualTo(process.Pid));
        foreach (string what in ShowService.Kinds)
        {
            Assert.That(Show(what).ExitCode, Is.Zero, what);
            using JsonDocument json = JsonDocument.Parse(Show(what, "--json").Output);
            Assert.That(json.RootElement.ValueKind, Is.EqualTo(JsonValueKind.Object));
        }
        Assert.That(Show("ports").Output, Does.Contain("eth0").And.Contain("eth1"));
        Assert.That(ConfigurationParser.Parse(Show("config").Output, "shown").Configuration, Is.EqualTo(ConfigurationParser.Parse(File.ReadAllText(_configuration), "file").Configuration));

        int signal = 9;
        UntilTrue(() => Standby.State(Run) == "ready", "a standby is ready", () => process.Log);
        int standby = RunState.Read(Run)!.Standby;
        Assert.That(Show("counters").Output, Does.Contain("ready"));
        Assert.That(SharedFiles(standby), Is.Empty, "it holds nothing");
        Assert.That(Signal(first.Engine, signal), Is.True);
        RunState second = Until(s => s.Engine != 0 && s.Engine != first.Engine);
        Assert.That(second.Engine, Is.EqualTo(standby), "it goes on as the engine");
        Assert.That(second.Manager, Is.EqualTo(first.Manager), "the manager lives on");
        Assert.That(second.Restarts.Engine, Is.EqualTo(1));
        UntilTrue(() => EngineFiles.ReadAddress(Run)?.Pid == second.Engine, "the new engine announces itself");
        UntilTrue(() => Show("counters").ExitCode == 0, "the manager has found the new engine");
        Assert.That(SharedFiles(first.Engine), Is.Empty, "the dead engine's files are gone");

        Assert.That(Signal(second.Manager, signal), Is.True);
        RunState third = Until(s => s.Manager != 0 && s.Manager != first.Manager);
        Assert.That(third.Engine, Is.EqualTo(second.Engine), "the engine lives on");
        Assert.That(Show("counters").ExitCode, Is.Zero, "the manager's successor answers");

        Assert.That(process.Terminate(TimeSpan.FromSeconds(5)), Is.True);
        Assert.That(process.ExitCode, Is.Zero, process.Log);
        Assert.That(Directory.Exists(Run), Is.False, "the run directory is removed");
        Assert.That(SharedFiles(third.Engine), Is.Empty);
        Assert.That(process.Log, Does.Contain("killed by signal 9").And.Contain("engine running").And.Contain("supervisor stopped"));
        CommandResult gone = Show("counters");
        Assert.That(gone.ExitCode, Is.EqualTo(3));
        Assert.That(Sentences(gone.Error), Has.Length.EqualTo(1));
    }

    [Test]
    public void A_standby_that_dies_is_replaced_and_one_that_still_warms_takes_over_as_well()
    {
        LabProcess process = Started();
        RunState first = Until(s => s.Standby != 0);
        Assert.That(Signal(first.Standby, 15), Is.True);
        RunState second = Until(s => s.Standby != 0 && s.Standby != first.Standby);
        Assert.That(second.Engine, Is.EqualTo(first.Engine), "the engine is not concerned");
        Assert.That(Signal(second.Engine, 9), Is.True);
        RunState third = Until(s => s.Engine == second.Standby);
        UntilTrue(() => EngineFiles.ReadAddress(Run)?.Pid == third.Engine, "it announces itself", () => process.Log);
        Assert.That(Signal(third.Engine, 9), Is.True);
        RunState fourth = Until(s => s.Engine != 0 && s.Engine != third.Engine);
        UntilTrue(() => EngineFiles.ReadAddress(Run)?.Pid == fourth.Engine, "without a standby a new engine is started", () => process.Log);
        Assert.That(process.Terminate(TimeSpan.FromSeconds(5)), Is.True, process.Log);
        Assert.That(Directory.Exists(Run), Is.False);
    }

    [Test]
    public void A_run_directory_that_cannot_be_written_any_more_keeps_no_engine_from_starting()
    {
        LabProcess process = Started();
        int first = Until(s => s.Engine != 0).Engine;
        _box.Run("chmod", "555", Run);
        Assert.That(Signal(first, 9), Is.True);
        UntilTrue(() => EnginesOf(process).Length == 2, "another engine", () => process.Log);
        int second = EnginesOf(process)[^1];
        UntilTrue(() => SharedFiles(second).Any(), "it runs", () => process.Log);
        Assert.That(Signal(second, 9), Is.True);
        UntilTrue(() => EnginesOf(process).Length == 3, "and another", () => process.Log);
        int third = EnginesOf(process)[^1];
        UntilTrue(() => SharedFiles(third).Any(), "it runs too", () => process.Log);
        Assert.That(EngineFiles.ReadAddress(Run)?.Pid, Is.EqualTo(first), "nothing could be written");
        Assert.That(SharedFiles(second), Is.Empty);
        Assert.That(process.Log.Split('\n').Count(l => l.Contains("state-not-written", StringComparison.Ordinal)), Is.EqualTo(1), process.Log);

        _box.Run("chmod", "755", Run);
        UntilTrue(() => EngineFiles.ReadAddress(Run)?.Pid == third && RunState.Read(Run)?.Engine == third, "it is found again", () => process.Log);
        UntilTrue(() => Show("counters").ExitCode == 0, "show works again", () => process.Log);
        Assert.That(Alive(third), Is.True);
        Assert.That(process.Log, Does.Contain("state-written"));
        EndsWell(process);
    }

    [Test]
    public void A_run_directory_that_is_removed_is_made_again_and_the_engine_goes_on()
    {
        LabProcess process = Started();
        RunState first = Until(s => s.Standby != 0);
        Directory.Delete(Run, recursive: true);
        UntilTrue(() => RunState.Read(Run) is { Manager: > 0 } && EngineFiles.ReadAddress(Run)?.Pid == first.Engine, "its files are back", () => process.Log);
        UntilTrue(() => Show("counters").ExitCode == 0, "show works again", () => process.Log);
        Assert.That(RunState.Read(Run)!.Engine, Is.EqualTo(first.Engine));
        Assert.That(Refused(_configuration, "net_raw", "net_admin").Error, Does.Contain("already"), "the lock too");

        Directory.Delete(Run, recursive: true);
        Assert.That(Signal(first.Engine, 9), Is.True);
        RunState second = Until(s => s.Engine != 0 && s.Engine != first.Engine);
        UntilTrue(() => EngineFiles.ReadAddress(Run)?.Pid == second.Engine, "the next one announces itself", () => process.Log);
        EndsWell(process);
    }

    [Test]
    public void Children_do_not_outlive_their_supervisor()
    {
        LabProcess process = Started();
        RunState state = Until(s => s.Standby != 0);
        process.Signal(9);
        UntilTrue(() => !Alive(state.Engine) && !Alive(state.Manager) && !Alive(state.Standby), "all are gone");

        LabProcess next = Started();
        Assert.That(SharedFiles(state.Engine), Is.Empty, "the next one clears up");
        Assert.That(next.Terminate(TimeSpan.FromSeconds(5)), Is.True);
    }

    [Test]
    public void A_second_one_in_the_same_directory_is_refused()
    {
        LabProcess process = Started();
        CommandResult second = Refused(_configuration, "net_raw", "net_admin");
        Assert.That(second.Error, Does.Contain("already").And.Contain(process.Pid.ToString(CultureInfo.InvariantCulture)));
        Assert.That(Show("counters").ExitCode, Is.Zero, "the first one is not disturbed");
        Assert.That(process.Terminate(TimeSpan.FromSeconds(5)), Is.True);
    }

    [Test]
    public void A_missing_privilege_is_one_sentence()
    {
        CommandResult refused = Refused(_configuration, "net_admin");
        Assert.That(refused.Error, Does.Contain("CAP_NET_RAW"));
        Assert.That(Directory.Exists(Run), Is.False, "nothing is left");
    }

    [Test]
    public void A_missing_interface_is_one_sentence_with_its_place()
    {
        string file = Write("nolink.conf", _topology.ApplianceConfiguration(1, _key).Replace("internal eth1", "internal eth7", StringComparison.Ordinal));
        CommandResult refused = Refused(file, "net_raw", "net_admin");
        Assert.That(refused.Error, Does.Contain("nolink.conf:3:").And.Contain("there is no interface 'eth7'"));
        Assert.That(Directory.Exists(Run), Is.False);
    }

    [Test]
    public void An_unreadable_key_is_one_sentence_with_its_place()
    {
        string key = Path.Combine(_directory, "root.key");
        File.WriteAllText(key, ClusterKey.NewText());
        _box.Run("chmod", "400", key);
        CommandResult refused = Refused(Write("nokey.conf", _topology.ApplianceConfiguration(1, key)), "net_raw", "net_admin");
        Assert.That(refused.Error, Does.Contain("nokey.conf:").And.Contain("permission denied"));
        Assert.That(Directory.Exists(Run), Is.False);
    }

    [Test]
    public void A_directory_that_cannot_be_written_is_one_sentence_with_a_remedy()
    {
        Directory.CreateDirectory(Run);
        Assert.That(Refused(_configuration, "net_raw", "net_admin").Error, Does.Contain(Run).And.Contain("chown"));
        Directory.Delete(Run);
        Run = "/proc/appliance";
        Assert.That(Refused(_configuration, "net_raw", "net_admin").Error, Does.Contain("/proc/appliance").And.Contain("install -d"));
    }

    private LabProcess Started()
    {
        LabProcess process = _box.Start(new ProcessSpec(string.Create(CultureInfo.InvariantCulture, $"appliance{_runs}"), "dotnet", Program, "run", "-c", _configuration, "--run-dir", Run)
        {
            User = "nobody",
            Capabilities = ["net_raw", "net_admin"],
        });
        UntilTrue(() => process.HasExited || RunState.Read(Run) is { Engine: > 0, Manager: > 0 } state && state.Supervisor == process.Pid, "engine and manager run", () => process.Log);
        Assert.That(process.HasExited, Is.False, process.Log);
        return process;
    }

    private void EndsWell(LabProcess process)
    {
        Assert.That(process.Terminate(TimeSpan.FromSeconds(5)), Is.True, process.Log);
        Assert.That(process.ExitCode, Is.Zero, process.Log);
        Assert.That(Directory.Exists(Run), Is.False);
    }

    private CommandResult Refused(string configuration, params string[] capabilities)
    {
        string set = string.Concat(["-all", .. capabilities.Select(c => ",+" + c)]);
        CommandResult result = _box.TryRun("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", $"--inh-caps={set}", $"--ambient-caps={set}", $"--bounding-set={set}", "--no-new-privs",
            "dotnet", Program, "run", "-c", configuration, "--run-dir", Run);
        Assert.That(result.ExitCode, Is.EqualTo(1), result.Error);
        string[] sentences = [.. Sentences(result.Error).Where(l => l.StartsWith("appliance: ", StringComparison.Ordinal) || l.Contains(": error: ", StringComparison.Ordinal))];
        Assert.That(sentences, Has.Length.EqualTo(1), result.Error);
        Assert.That(result.Error, Does.Not.Contain("   at "), "no stack trace");
        return result;
    }

    private CommandResult Show(string what, params string[] more) => _box.TryRun("dotnet", [Program, "show", what, "--run-dir", Run, .. more]);

    private RunState Until(Func<RunState, bool> holds)
    {
        RunState? state = null;
        UntilTrue(() => (state = RunState.Read(Run)) is not null && holds(state), "run.json changes");
        return state!;
    }

    private static void UntilTrue(Func<bool> holds, string what, Func<string>? why = null)
    {
        var clock = Stopwatch.StartNew();
        while (!holds())
        {
            if (clock.Elapsed > Limit) Assert.Fail($"not within {Limit.TotalSeconds} s: {what} {why?.Invoke()}");
            using var pause = new ManualResetEventSlim();
            pause.Wait(5);
        }
    }

    private string Write(string name, string text)
    {
        string path = Path.Combine(_directory, name);
        File.WriteAllText(path, text);
        return path;
    }

    private static string[] Sentences(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    // As the supervisor's log names them: started, or gone on from a standby.
    private static int[] EnginesOf(LabProcess process) =>
        [.. process.Log.Split('\n').Where(l => l.Contains("started process=engine", StringComparison.Ordinal)).Select(l => int.Parse(l.Split("pid=")[1].Split(' ')[0], CultureInfo.InvariantCulture))];

    private static IEnumerable<string> SharedFiles(int pid) => Directory.EnumerateFiles("/dev/shm", $"appliance-{pid}-*");

    private static bool Alive(int pid) => Directory.Exists($"/proc/{pid}");

    private static bool Signal(int pid, int signal) => Command.TryRun("kill", [$"-{signal}", pid.ToString(CultureInfo.InvariantCulture)]).ExitCode == 0;
}
