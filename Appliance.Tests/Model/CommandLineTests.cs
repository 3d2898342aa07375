using Appliance.Control.Model;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>The command line in process: exit codes, what is written where, what the appliance is asked.</summary>
[TestFixture]
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class CommandLineTests
{
    private string _directory = "";
    private string _good = "";
    private string _bad = "";

    [SetUp]
    public void MakeFiles()
    {
        _directory = Directory.CreateTempSubdirectory("language").FullName;
        _good = Path.Combine(_directory, "good.conf");
        _bad = Path.Combine(_directory, "bad.conf");
        File.WriteAllText(_good, ExampleTests.Example.Replace("/etc/appliance/cluster.key", Path.Combine(_directory, "key"), StringComparison.Ordinal));
        File.WriteAllText(_bad, "hostnam x\n");
    }

    [TearDown]
    public void RemoveFiles() => Directory.Delete(_directory, recursive: true);

    [TestCase("", 2)]
    [TestCase("--help", 0)]
    [TestCase("--version", 0)]
    [TestCase("bogus", 2)]
    [TestCase("check", 2)]
    [TestCase("check --help", 0)]
    [TestCase("check GOOD", 0)]
    [TestCase("check -c GOOD", 0)]
    [TestCase("check BAD", 1)]
    [TestCase("check GOOD BAD", 1)]
    [TestCase("check NONE", 1)]
    [TestCase("check --bogus", 2)]
    [TestCase("run", 2)]
    [TestCase("run --help", 0)]
    [TestCase("run -c BAD", 1)]
    [TestCase("run -c GOOD", 1)]
    [TestCase("show", 2)]
    [TestCase("show bogus", 2)]
    [TestCase("show splices --page 0", 2)]
    [TestCase("show splices --page x", 2)]
    [TestCase("show splices -c GOOD", 2)]
    [TestCase("show splices", 3)]
    [TestCase("show config -c GOOD", 0)]
    [TestCase("show config -c GOOD --json", 0)]
    [TestCase("show config -c BAD", 1)]
    [TestCase("help", 0)]
    [TestCase("help internal", 0)]
    [TestCase("help bogus", 2)]
    [TestCase("key", 2)]
    [TestCase("key new", 2)]
    [TestCase("key new BAD", 1)]
    [TestCase("key new --bogus", 2)]
    [TestCase("help --bogus", 2)]
    [TestCase("show splices --page -1", 2)]
    [TestCase("key new DIR/new.key", 0)]
    [TestCase("replay -c GOOD --out DIR", 2)]
    [TestCase("replay -c GOOD --in eth0 --out DIR", 2)]
    [TestCase("replay -c GOOD --in eth9=BAD --out DIR", 1)]
    [TestCase("replay -c GOOD --in eth0=NONE --out DIR", 1)]
    [TestCase("replay -c GOOD --in eth0=BAD --in eth0=GOOD --out DIR", 2)]
    [TestCase("replay -c GOOD --in eth0=BAD eth1=BAD --out DIR", 4)]
    public void Exit_codes(string line, int expected)
    {
        (int code, string output, string error, _) = Invoke(line);
        Assert.That(code, Is.EqualTo(expected), output + error);
        Assert.That(code == 0 || output.Length + error.Length > 0 || expected >= 3, Is.True, "a refusal says why");
    }

    [Test]
    public void Wrong_usage_points_to_the_commands_help() => Assert.That(Invoke("key new").Error, Does.EndWith("try: appliance key new --help" + Environment.NewLine));

    [Test]
    public void The_canonical_form_goes_to_standard_output_and_is_read_back()
    {
        string printed = Invoke("show config -c GOOD").Output;
        Assert.That(ConfigurationParser.Parse(printed, "x").Configuration, Is.EqualTo(ConfigurationParser.Parse(File.ReadAllText(_good), "x").Configuration));
    }

    [Test]
    public void Run_refuses_a_missing_key_with_its_place()
    {
        (int code, _, string error, Recorder asked) = Invoke("run -c GOOD", Fitting);
        Assert.That(code, Is.EqualTo(1));
        Assert.That(error, Does.Contain("good.conf:9:10: error: there is no key file").And.Contain("hint: make it with"));
        Assert.That(asked.RunRequest, Is.Null);
    }

    [Test]
    public void Run_starts_only_on_a_machine_that_fits()
    {
        ClusterKeyFile.Create(Path.Combine(_directory, "key"));
        Assert.That(Invoke("run -c GOOD", new TableHost([], [], [])).Asked.RunRequest, Is.Null);
        (int code, _, _, Recorder asked) = Invoke("run -c GOOD --run-dir /tmp/x", Fitting);
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero);
            Assert.That(asked.RunRequest!.RunDirectory, Is.EqualTo("/tmp/x"));
            Assert.That(asked.RunRequest.Key!.Current, Has.Length.EqualTo(32));
            Assert.That(asked.RunRequest.Compiled.Box.Hostname, Is.EqualTo("gw1"));
        });
    }

    [Test]
    public void Check_warns_of_the_machine_if_it_looks_like_the_box()
    {
        (int code, string output, string error, _) = Invoke("check GOOD", new TableHost(["eth0", "eth1", "eth2"], new() { ["10.255.0.1"] = "eth2" }, ["eth1"]));
        Assert.That(code, Is.Zero);
        Assert.That(error, Does.Contain("warning: the host forwards IPv4 on 'eth1'"));
        Assert.That(output, Does.EndWith("good, 3 warnings; on this machine, as it is now, `run` would refuse it" + Environment.NewLine), "the key is missing");
    }

    [TestCase(null, "there is no key file", "make it with `appliance key new FILE`", true)]
    [TestCase("appliance cluster key 1\nAAAA\n", "its key is not 32 bytes in base64", "copy it again from a box that works", true)]
    [TestCase("", "it is empty", "copy it again from a box that works", true)]
    [TestCase("new", "can be read or changed by others (mode 644)", "chmod 640", false)]
    public void Check_looks_at_the_key_file(string? content, string finding, string hint, bool refused)
    {
        string key = Path.Combine(_directory, "key");
        if (content is not null)
        {
            File.WriteAllText(key, content == "new" ? ClusterKey.NewText() : content);
            File.SetUnixFileMode(key, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        }
        (int code, string output, string error, _) = Invoke("check GOOD");
        Assert.That(code, Is.Zero);
        Assert.That(error, Does.Contain("good.conf:9:10: warning: ").And.Contain(finding).And.Contain("\n             ^~~").And.Contain("hint: " + hint));
        Assert.That(output.Contains("would refuse", StringComparison.Ordinal), Is.EqualTo(refused));
    }

    [Test]
    public void Check_has_nothing_to_say_of_a_good_key_file()
    {
        ClusterKeyFile.Create(Path.Combine(_directory, "key"));
        Assert.That(Invoke("check GOOD").Error, Does.Not.Contain("key file /"));
    }

    [Test]
    public void Show_passes_filter_page_and_format()
    {
        ShowRequest asked = Invoke("show splices --json --filter WWW --page 3").Asked.ShowRequest!;
        Assert.That((asked.What, asked.Json, asked.Filter, asked.Page, asked.RunDirectory), Is.EqualTo(("splices", true, "WWW", 3, Composition.DefaultRunDirectory)));
    }

    private static TableHost Fitting => new(["eth0", "eth1", "eth2"], new() { ["10.255.0.1"] = "eth2" }, []);

    private (int Code, string Output, string Error, Recorder Asked) Invoke(string line, IHostFacts? host = null)
    {
        string[] args = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(a => a.Replace("GOOD", _good, StringComparison.Ordinal)
            .Replace("BAD", _bad, StringComparison.Ordinal).Replace("NONE", Path.Combine(_directory, "none"), StringComparison.Ordinal).Replace("DIR", _directory, StringComparison.Ordinal))];
        var output = new StringWriter();
        var error = new StringWriter();
        var asked = new Recorder();
        int code = ApplianceCommandLine.Invoke(args, new Terminal(output, error), new Composition(asked, () => host ?? new TableHost([], [], [])));
        return (code, output.ToString(), error.ToString(), asked);
    }

    private sealed class Recorder : IAppliance
    {
        public RunRequest? RunRequest { get; private set; }

        public ShowRequest? ShowRequest { get; private set; }

        public int Run(RunRequest request)
        {
            RunRequest = request;
            return ExitCodes.Ok;
        }

        public int Show(ShowRequest request)
        {
            ShowRequest = request;
            return ExitCodes.Unreachable;
        }

        public int Replay(ReplayRequest request) => ExitCodes.Degraded;
    }
}
