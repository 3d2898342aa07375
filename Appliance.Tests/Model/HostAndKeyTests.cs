using System.Runtime.Versioning;
using Appliance.Control.Model;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>A machine out of tables.</summary>
internal sealed class TableHost(string[] interfaces, Dictionary<string, string> owners, string[] forwarding) : IHostFacts
{
    public bool HasInterface(string name) => interfaces.Contains(name);

    public string? OwnerOf(IpAddr address) => owners.GetValueOrDefault(address.ToString());

    public int Processors { get; init; } = 64;

    public bool Forwards(string interfaceName, bool ipv6) => !ipv6 && forwarding.Contains(interfaceName);
}

/// <summary>What depends on the machine; key files; log lines.</summary>
[TestFixture]
[SupportedOSPlatform("linux")]
public sealed class HostAndKeyTests
{
    private string _directory = "";

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("language").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    [Test]
    public void A_machine_that_fits_gives_no_finding() =>
        Assert.That(Host(["eth0", "eth1", "eth2"], new() { ["10.255.0.1"] = "eth2" }, []), Is.Empty);

    [Test]
    public void A_machine_that_does_not_fit_gives_each_finding_with_its_place() =>
        Assert.That(Host(["eth0", "eth2"], new() { ["203.0.113.10"] = "lo", ["203.0.113.2"] = "eth0" }, ["eth0"]), Is.EqualTo(new[]
        {
            "2 Error: 203.0.113.2 (the data path's address on 'eth0') is an address of the host itself, on 'eth0' | name another, or take it off the host, which ends whatever uses it there, perhaps your own session: ip address del 203.0.113.2 dev eth0",
            "2 Warning: the host forwards IPv4 on 'eth0' and would handle the same packets | sysctl -w net.ipv4.conf.eth0.forwarding=0",
            "3 Error: there is no interface 'eth1' on this machine | `ip link` lists those that exist",
            "4 Error: the host does not have 10.255.0.1/24 on 'eth2', but peers talk to it there | ip address add 10.255.0.1/24 dev eth2",
            "12 Error: 203.0.113.10 (service 'WWW') is an address of the host itself, on 'lo' | name an address that the host does not have",
        }));

    [TestCase(2, 2, null)]
    [TestCase(3, 2, "Warning: 3 workers on 2 processors: they wait for each other | workers 2")]
    [TestCase(2, 1, "Warning: 2 workers on 1 processor: they wait for each other | workers 1")]
    public void More_workers_than_processors_are_a_warning(int workers, int processors, string? finding)
    {
        ParseResult parsed = ConfigurationParser.Parse($"{ExampleTests.Example}\nworkers {workers}\n", "x");
        var host = new TableHost(["eth0", "eth1", "eth2"], new() { ["10.255.0.1"] = "eth2" }, []) { Processors = processors };
        Assert.That(HostChecks.Check(parsed, host).Select(d => $"{d.Severity}: {d.Message} | {d.Hint}"), Is.EqualTo(finding is null ? [] : new[] { finding }));
    }

    [Test]
    public void A_new_key_is_read_back_is_private_and_is_never_overwritten()
    {
        string path = Path.Combine(_directory, "key");
        Assert.That(ClusterKeyFile.Create(path), Is.Null);
        KeyFileResult read = ClusterKeyFile.Read(path);
        Assert.Multiple(() =>
        {
            Assert.That(read.Key!.Current, Has.Length.EqualTo(32));
            Assert.That(read.Key.Next, Is.Null);
            Assert.That(read.Warning, Is.Null);
            Assert.That(File.GetUnixFileMode(path), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
            Assert.That(ClusterKeyFile.Create(path), Is.EqualTo($"{path} exists; it is not overwritten"));
            Assert.That(ClusterKeyFile.Create(Path.Combine(_directory, "none", "key")), Does.EndWith("there is no such directory"));
        });
    }

    [Test]
    public void A_next_key_may_follow()
    {
        string text = ClusterKey.NewText() + "# to come\n" + ClusterKey.NewText().Split('\n')[1] + "\n";
        Assert.That(ClusterKey.Parse(text, out _)!.Next, Has.Length.EqualTo(32));
    }

    [TestCase("", "it is empty")]
    [TestCase("hello", "its first line is not 'appliance cluster key 1'")]
    [TestCase("appliance cluster key 1\n", "it holds no key")]
    [TestCase("appliance cluster key 1\nAAAA\n", "its key is not 32 bytes in base64")]
    [TestCase("appliance cluster key 1\n****\n", "its key is not 32 bytes in base64")]
    [TestCase("appliance cluster key 1\na\nb\nc\n", "it holds more than two keys")]
    public void Malformed_keys(string text, string problem)
    {
        Assert.That(ClusterKey.Parse(text, out string? found), Is.Null);
        Assert.That(found, Is.EqualTo(problem));
    }

    [Test]
    public void A_missing_key_and_one_that_others_can_read_are_said()
    {
        string path = Path.Combine(_directory, "key");
        Assert.That(ClusterKeyFile.Read(path).Error, Is.EqualTo($"there is no key file {path}"));
        File.WriteAllText(path, ClusterKey.NewText());
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        KeyFileResult read = ClusterKeyFile.Read(path);
        Assert.That(read.Key, Is.Not.Null);
        Assert.That(read.Warning, Does.EndWith("(mode 444)"));
    }

    [Test]
    public void A_log_line_is_time_level_component_event_fields_and_cause()
    {
        var time = new DateTimeOffset(2026, 1, 2, 3, 4, 5, 678, TimeSpan.Zero);
        (string, object?)[] fields = [("peer", "gw2"), ("lag", 12), ("name", "a b=\"c\""), ("none", null)];
        Assert.Multiple(() =>
        {
            Assert.That(StructuredLog.Format(time, LogLevel.Warning, "liveness", "peer-lost", "no beat\nfor 15 ms", fields), Is.EqualTo(
                "2026-01-02T03:04:05.678Z warning liveness peer-lost peer=gw2 lag=12 name=\"a b=\\\"c\\\"\" none=none cause=\"no beat\\nfor 15 ms\""));
            Assert.That(StructuredLog.FormatJson(time, LogLevel.Info, "liveness", "peer-up", cause: null, [("lag", 12), ("up", true)]), Is.EqualTo(
                "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"info\",\"component\":\"liveness\",\"event\":\"peer-up\",\"lag\":12,\"up\":true}"));
        });
    }

    [Test]
    public void A_log_writes_what_its_level_asks_for()
    {
        var text = new StringWriter();
        var log = new StructuredLog(text, LogLevel.Warning);
        log.Info("a", "b");
        Assert.That(text.ToString(), Is.Empty);
        log.Error("a", "b", "c");
        Assert.That(text.ToString(), Does.EndWith(" error a b cause=\"c\"" + Environment.NewLine));
    }

    [Test]
    public void A_log_that_cannot_be_written_ends_nobody_and_says_how_much_is_missing([Values] bool json)
    {
        using var text = new FullDisk();
        var log = new StructuredLog(text, LogLevel.Info, json);
        log.Info("a", "first");
        text.IsFull = true;
        log.Info("a", "second");
        log.Warning("a", "third", "c");
        text.IsFull = false;
        log.Info("a", "fourth", ("x", 1));
        log.Info("a", "fifth");
        string[] lines = text.ToString().Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries);
        Assert.That(lines, Has.Length.EqualTo(3));
        Assert.That(lines[1], json ? Does.EndWith("\"fourth\",\"x\":1,\"lost\":2}") : Does.EndWith("fourth x=1 lost=2"));
        Assert.That(lines[2], Does.Not.Contain("lost"));
    }

    private sealed class FullDisk : StringWriter
    {
        public FullDisk()
            : base(System.Globalization.CultureInfo.InvariantCulture)
        {
        }

        public bool IsFull { get; set; }

        public override void WriteLine(string? value)
        {
            if (IsFull) throw new IOException("No space left on device");
            base.WriteLine(value);
        }
    }

    private static IEnumerable<string> Host(string[] interfaces, Dictionary<string, string> owners, string[] forwarding) =>
        HostChecks.Check(ConfigurationParser.Parse(ExampleTests.Example, "x"), new TableHost(interfaces, owners, forwarding))
            .Select(d => $"{d.Span.Line} {d.Severity}: {d.Message} | {d.Hint}");
}
