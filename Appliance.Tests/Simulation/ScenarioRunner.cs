using System.Globalization;
using System.Text;
using NUnit.Framework;

namespace Appliance.Tests.Simulation;

/// <summary>What a seed came to.</summary>
internal sealed class ScenarioResult
{
    public ulong Seed { get; init; }

    public string Name { get; init; } = "";

    public int Connections { get; init; }

    /// <summary>Connections per <see cref="Outcome"/>.</summary>
    public int[] Outcomes { get; } = new int[4];

    public List<string> Violations { get; } = [];

    /// <summary>Connections that were not carried out because no box that was left knew them.</summary>
    public int Lost { get; set; }

    /// <summary>Clients whose connection was not carried out as planned, with their last segments.</summary>
    public List<string> NotComplete { get; } = [];

    public long BytesRead { get; set; }

    public long Retransmissions { get; set; }

    public long BadChecksums { get; set; }

    /// <summary>Server connections that never ended, though their client did not abort (a lost RST explains those).</summary>
    public int ServersOpen { get; set; }

    public int Requests { get; set; }

    public int Repeats { get; set; }

    public int FaultsFired { get; set; }

    public string Faults { get; set; } = "";

    public long Events { get; set; }

    public long EndNs { get; set; }

    public ulong TraceHash { get; set; }

    /// <summary>Connections with the given outcome.</summary>
    public int this[Outcome outcome] => Outcomes[(int)outcome];

    /// <summary>How to see this run again.</summary>
    public string Replay => string.Create(CultureInfo.InvariantCulture, $"APPLIANCE_SIM_SEED={Seed} dotnet test Appliance.Tests --filter FullyQualifiedName~Simulation  # {Name}");

    /// <summary>Everything that a person needs who has to find out why.</summary>
    public string Report()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"seed {Seed}: {this[Outcome.Complete]}/{Connections} complete, {this[Outcome.Reset]} reset, {this[Outcome.Stuck]} stuck, {this[Outcome.TimedOut]} timed out, {Lost} excused, {ServersOpen} servers open, {Violations.Count} violations\n  {Replay}\n  faults: {Faults}");
        foreach (string violation in Violations.Take(3)) text.Append(CultureInfo.InvariantCulture, $"\n  VIOLATION {violation}");
        foreach (string client in NotComplete.Take(3)) text.Append(CultureInfo.InvariantCulture, $"\n  {client}");
        return text.ToString();
    }
}

/// <summary>Sums over many seeds.</summary>
internal sealed class ScenarioSummary
{
    public List<ScenarioResult> Results { get; } = [];

    public FaultCoverage Coverage { get; init; } = new();

    public double WallMs { get; set; }

    /// <summary>Counts in one line.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Results.Count} seeds, {Results.Sum(r => r.Connections)} connections: {Results.Sum(r => r[Outcome.Complete])} complete, {Results.Sum(r => r[Outcome.Reset])} reset, {Results.Sum(r => r[Outcome.Stuck])} stuck, {Results.Sum(r => r[Outcome.TimedOut])} timed out ({Results.Sum(r => r.Lost)} excused); {Results.Sum(r => r.Violations.Count)} violations; {Results.Sum(r => r.BytesRead) / 1e6:f1} MB read, {Results.Sum(r => r.Requests)} requests, {Results.Sum(r => r.Repeats)} repeated, {Results.Sum(r => r.Retransmissions)} server retransmissions, {Results.Sum(r => r.BadChecksums)} bad checksums, {Results.Sum(r => r.FaultsFired)} faults, {Results.Sum(r => r.Events) / 1e6:f1} M events, {WallMs:f0} ms");
}

/// <summary>
/// Runs seeds. APPLIANCE_SIM_SEEDS sets the number of seeds, APPLIANCE_SIM_FIRST the first of them, APPLIANCE_SIM_SEED replays a single one with a line per
/// delivered frame on standard output.
/// </summary>
internal static class ScenarioRunner
{
    /// <summary>Number of seeds to run: the environment's, else <paramref name="usual"/>.</summary>
    public static int Seeds(int usual) => int.TryParse(Environment.GetEnvironmentVariable("APPLIANCE_SIM_SEEDS"), CultureInfo.InvariantCulture, out int n) ? n : usual;

    /// <summary>The first seed to run: the environment's, else 1.</summary>
    public static ulong First => ulong.TryParse(Environment.GetEnvironmentVariable("APPLIANCE_SIM_FIRST"), CultureInfo.InvariantCulture, out ulong n) ? n : 1;

    /// <summary>True if a single seed is run again.</summary>
    public static bool IsReplay => Environment.GetEnvironmentVariable("APPLIANCE_SIM_SEED") is not null;

    /// <summary>One seed.</summary>
    public static ScenarioResult Run(ulong seed, ScenarioOptions options, FaultCoverage? coverage = null, TextWriter? log = null) =>
        new Scenario(seed, options, coverage ?? new FaultCoverage(), log).Run();

    /// <summary>Seeds <see cref="First"/>.. on two threads, or the one that the environment names, with a trace.</summary>
    public static ScenarioSummary RunAll(int count, ScenarioOptions options, FaultCoverage? coverage = null)
    {
        ulong first = First;
        var summary = new ScenarioSummary { Coverage = coverage ?? new FaultCoverage() };
        if (ulong.TryParse(Environment.GetEnvironmentVariable("APPLIANCE_SIM_SEED"), CultureInfo.InvariantCulture, out ulong only))
        {
            summary.Results.Add(Run(only, options, summary.Coverage, TestContext.Out));
            return summary;
        }
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        var results = new ScenarioResult[count];
        int next = -1;
        var threads = new Thread[2];
        for (int t = 0; t < threads.Length; t++)
        {
            threads[t] = new Thread(() =>
            {
                for (int i = Interlocked.Increment(ref next); i < count; i = Interlocked.Increment(ref next)) results[i] = RunGuarded(first + (ulong)i, options, summary.Coverage);
            });
            threads[t].Start();
        }
        foreach (Thread thread in threads) thread.Join();
        summary.Results.AddRange(results);
        summary.WallMs = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        return summary;
    }

    private static ScenarioResult RunGuarded(ulong seed, ScenarioOptions options, FaultCoverage coverage)
    {
        try
        {
            return Run(seed, options, coverage);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            var failed = new ScenarioResult { Seed = seed, Name = options.Name };
            failed.Violations.Add($"exception {e}");
            return failed;
        }
    }
}
