using Appliance.Lab.Demo;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Tests.Repository;
using NUnit.Framework;

namespace Appliance.Tests.Lab;

/// <summary>What the demo says of its traffic, and of a wrong command line; the demo itself is run by people.</summary>
[TestFixture]
public sealed class DemoTests
{
    [TestCase("--badflag")]
    [TestCase("--contrast --jsn x")]
    [TestCase("-x")]
    public void A_wrong_option_is_one_sentence_and_exit_code_2(string line)
    {
        CommandResult result = Demo(line);
        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Output, Is.Empty, "nothing is installed or built before");
        Assert.That(result.Error, Does.StartWith("demo: there is no option -").And.EndWith("try: ./demo --help\n"));
    }

    [Test]
    public void Its_help_needs_nothing_and_names_every_option()
    {
        CommandResult result = Demo("--help");
        Assert.That(result.ExitCode, Is.Zero);
        Assert.That(result.Output, Does.Contain("--contrast").And.Contain("--json FILE").And.Contain("--out DIR").And.Contain("--seconds N").And.Contain("--mbit N").And.Contain("2 if the command line is wrong"));
    }

    [TestCase("demo --badflag")]
    [TestCase("demo extra")]
    [TestCase("demo --seconds soon")]
    [TestCase("nothing")]
    public void The_program_refuses_a_wrong_command_line_with_exit_code_2(string line)
    {
        CommandResult result = Command.TryRun("dotnet", [Path.Combine(AppContext.BaseDirectory, "appliance-lab.dll"), .. line.Split(' ')]);
        Assert.That(result.ExitCode, Is.EqualTo(2), result.Error);
        Assert.That(result.Error, Does.Contain("try: appliance-lab").And.Not.Contain("   at "));
    }

    [Test]
    public void Numbers_fall_when_the_traffic_of_a_kind_ends_and_the_mean_leaves_the_rest_out()
    {
        var meter = new DemoMeter([]);
        meter.Begin();
        long start = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        for (int bin = 1; bin <= 20; bin++) meter.Take("download", new LoadLine { Bin = new LoadBin(start + bin * 100, 1_250_000, 0, 0) });
        Assert.That(meter.Bins("download", TimeSpan.FromSeconds(1.5)).Skip(3).Take(8), Is.All.EqualTo(1_250_000));
        Assert.That(meter.Bins("download", TimeSpan.FromSeconds(4)).TakeLast(10), Is.All.Zero, "not the last bytes for ever");
        Assert.That(meter.Bins("upload", TimeSpan.FromSeconds(4)), Has.Count.EqualTo(37).And.All.Zero);

        var text = new StringWriter { NewLine = "\n" };
        var screen = new PlainScreen(text);
        screen.Tick(TimeSpan.FromSeconds(4), meter);
        screen.End(TimeSpan.FromSeconds(4), meter);
        string[] lines = text.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(lines[0], Does.StartWith("  4.0 s  down    0.0 Mb/s").And.EndWith("|          |"));
        Assert.That(lines[1], Does.Match("  4.0 s  the traffic is over; means while it ran: down (9|10)[0-9].[0-9] Mb/s, up 0.0 Mb/s"));
    }

    private static CommandResult Demo(string line) => Command.TryRun("bash", [Path.Combine(LayeringTests.Root, "demo"), .. line.Split(' ')]);
}
