using Appliance.Control.Model;
using Appliance.Control.Runtime;
using Appliance.Tests.Model;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>Log lines of the engine's events: what they say, and how many there are of one thing.</summary>
[TestFixture]
public sealed class EngineEventLogTests
{
    private const long Second = 1000, Start = 1_700_000_000_000;

    private readonly StringWriter _text = new();
    private BoxSettings _settings = null!;
    private EngineEventLog _log = null!;

    [SetUp]
    public void Open()
    {
        CompiledConfiguration compiled = ConfigurationCompiler.Compile(ConfigurationParser.Parse(ExampleTests.Example, "gw1.conf").Configuration!);
        _settings = compiled.Box;
        _text.GetStringBuilder().Clear();
        _log = new EngineEventLog(compiled, new StructuredLog(_text, LogLevel.Info));
    }

    [OneTimeTearDown]
    public void Close() => _text.Dispose();

    [Test]
    public void The_first_lines_come_at_once_and_one_thing_does_not_silence_another()
    {
        Say(EngineEventKind.PeerDied, 0);
        Say(EngineEventKind.PeerUp, 5);
        Say(EngineEventKind.OwnPause, 6);
        Assert.That(Events(), Is.EqualTo(new[] { "peer-died", "peer-up", "own-pause" }));
        for (int i = 0; i < 100; i++) Say(EngineEventKind.OwnPause, 7);
        Say(EngineEventKind.PeerDied, 8);
        Assert.That(Events()[^1], Is.EqualTo("peer-died"));
        Say(EngineEventKind.LinkUnusable, 9, link: 0);
        Say(EngineEventKind.LinkUnusable, 9, link: 1);
        Assert.That(Events()[^2..], Is.All.EqualTo("link-unusable"));
    }

    [Test]
    public void A_flood_becomes_a_line_every_ten_seconds_with_the_number_left_out_and_ends_with_the_last_state()
    {
        // 20 a second for 35 s, dead last.
        for (int i = 0; i < 700; i++)
        {
            Say(i % 2 == 0 ? EngineEventKind.PeerUp : EngineEventKind.PeerDied, i * 50);
        }
        Assert.That(Events(), Has.Length.EqualTo(4 + 3));
        Assert.That(Lines()[4], Does.Contain("more=\"195 in the last 10 s\""));
        _log.Flush(Start + 45 * Second);
        Assert.That(Events(), Has.Length.EqualTo(8));
        Assert.That(Lines()[^1], Does.Contain("peer-died").And.Contain("at=2023-").And.Contain("more="));
        _log.Flush(Start + 80 * Second);
        Assert.That(Events(), Has.Length.EqualTo(8), "nothing was left");
        Say(EngineEventKind.PeerUp, 81 * Second);
        Assert.That(Events()[^1], Is.EqualTo("peer-up"), "at once again");
    }

    [Test]
    public void Nothing_that_was_kept_is_lost_with_the_manager_or_a_clock_set_back()
    {
        for (int i = 0; i < 5; i++) Say(EngineEventKind.OwnPause, i);
        Assert.That(Events(), Has.Length.EqualTo(4));
        _log.Flush();
        Assert.That(Events(), Has.Length.EqualTo(5));
        Assert.That(Lines()[^1], Does.Not.Contain("more="));
        Say(EngineEventKind.OwnPause, 10);
        _log.Flush(Start - 3600 * Second);
        Assert.That(Events(), Has.Length.EqualTo(6));
        _log.Flush();
        Assert.That(Events(), Has.Length.EqualTo(6));
    }

    [Test]
    public void Another_configuration_is_named_with_the_parts_that_differ()
    {
        _log.Write(new EngineEvent { Kind = EngineEventKind.ConfigurationDiffers, Node = 1, WallMs = Start, Value = _settings.Digest ^ 0x1_0000 }, Start);
        string line = Lines().Single();
        Assert.That(line, Does.Contain(" warning engine configuration-differs peer=gw2 parts=pools own=").And.Contain(ConfigurationDigest.Text(_settings.Digest)).And.Contain(ConfigurationDigest.Text(_settings.Digest ^ 0x1_0000)));
        _log.Write(new EngineEvent { Kind = EngineEventKind.NameTaken, Node = 0, WallMs = Start }, Start);
        Assert.That(Lines()[^1], Does.Contain("name-taken name=gw1"));
        _log.Write(new EngineEvent { Kind = EngineEventKind.NodeListDiffers, Node = 0, WallMs = Start }, Start);
        Assert.That(Lines()[^1], Does.Contain("node-list-differs name=gw1"));
    }

    private void Say(EngineEventKind kind, long afterMs, byte link = 255) => _log.Write(new EngineEvent { Kind = kind, Node = 1, Link = link, WallMs = Start + afterMs }, Start + afterMs);

    private string[] Lines() => _text.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private string[] Events() => [.. Lines().Select(l => l.Split(' ')[3])];
}
