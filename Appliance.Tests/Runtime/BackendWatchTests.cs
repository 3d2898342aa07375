using System.Text.RegularExpressions;
using Appliance.Control.Model;
using Appliance.Control.Runtime;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Splice;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>A backend's rest and return, from the counting of the packet path to the line in the log.</summary>
[TestFixture]
public sealed class BackendWatchTests
{
    private const string Text = """
        hostname gw1
        interface external eth0 203.0.113.2/24
        interface internal eth1 192.168.1.2/24
        internal gw 192.168.1.1
        role sharer proxy
        service WWW is 203.0.113.10 tcp 80 splice
        pool www for WWW
        pool other for WWW
        add 192.168.1.11 to www
        add 192.168.1.12 to www port 8080
        add 192.168.1.12 to other port 8080
        """;

    private static readonly string Rests = "warning engine backend-rests real=192.168.1.12:8080 pool=\"www other\" "
        + "cause=\"three connections to it failed one after the other, the last {0}: others are preferred, and every 5 s one connection tries it\"";

    private const string Returned = "info engine backend-returned real=192.168.1.12:8080 pool=\"www other\"";

    private static readonly IpAddr Real = IpAddr.FromV4(0xc0a8_010c);

    private readonly StringWriter _text = new();
    private SharedRegion _memory = null!;
    private EngineEventRing _ring = null!;
    private EngineEventLog _log = null!;
    private RealHealth _health = null!;
    private BackendWatch _watch = null!;
    private long _now = 1_000_000_000;

    [SetUp]
    public void Make()
    {
        CompiledConfiguration configuration = ConfigurationCompiler.Compile(ConfigurationParser.Parse(Text, "x").Configuration!);
        _memory = SharedRegion.Anonymous(EngineEventRing.Bytes);
        EngineEventRing written = EngineEventRing.Create(_memory, 1);
        _ring = EngineEventRing.Attach(_memory)!;
        _log = new EngineEventLog(configuration, new StructuredLog(_text, LogLevel.Info));
        _health = new RealHealth(new RealProfiles(configuration.Services).Reals);
        _watch = new BackendWatch(_health, written);
        _text.GetStringBuilder().Clear();
    }

    [TearDown]
    public void Free() => _memory.Dispose();

    [Test]
    public void A_rest_is_logged_once_with_its_cause_and_so_is_the_return()
    {
        Fail(2);
        Assert.That(Logged(), Is.Empty, "two failures are no rest");
        Fail(1);
        Assert.That(Logged(), Is.EqualTo(new[] { string.Format(null, Rests, "unanswered") }));
        Assert.That(Logged(), Is.Empty);
        for (int trial = 0; trial < 3; trial++)
        {
            _now += 5_000_000_001;
            Assert.That(_health.IsResting(Real, 8080, _now), Is.False, "one trial");
            Fail(1);
            Assert.That(Logged(), Is.Empty, "it goes on resting");
        }
        _health.Answered(Real, 8080);
        Assert.That(Logged(), Is.EqualTo(new[] { Returned }));
        Assert.That(Logged(), Is.Empty);
        Fail(3, wasSilent: false);
        Assert.That(Logged(), Is.EqualTo(new[] { string.Format(null, Rests, "refused") }), "the next rest is another one");
    }

    [Test]
    public void A_rest_that_ended_before_anybody_looked_is_logged_with_its_return()
    {
        Fail(3);
        _health.Answered(Real, 8080);
        Assert.That(Logged(), Is.EqualTo(new[] { string.Format(null, Rests, "unanswered"), Returned }));
    }

    [Test]
    public void Looking_allocates_nothing()
    {
        long before = 0;
        for (int round = 0; round < 2; round++)
        {
            before = GC.GetAllocatedBytesForCurrentThread();
            Fail(3);
            _watch.Look();
            _health.Answered(Real, 8080);
            _watch.Look();
        }
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    private void Fail(int times, bool wasSilent = true)
    {
        for (int i = 0; i < times; i++) _health.Failed(Real, 8080, _now, wasSilent);
    }

    // Lines without their times.
    private string[] Logged()
    {
        _watch.Look();
        while (_ring.TryRead(out EngineEvent e)) _log.Write(e, e.WallMs);
        string[] lines = _text.ToString().Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries);
        _text.GetStringBuilder().Clear();
        return [.. lines.Select(l => Regex.Replace(l, "^[^ ]+ ", "", RegexOptions.None, TimeSpan.FromSeconds(1)))];
    }
}
