using System.Diagnostics;
using System.Globalization;
using NUnit.Framework;

namespace Appliance.Tests.Fuzz;

/// <summary>
/// A parser under test. The input lies at a guard page and may be written to. It throws (an NUnit
/// assertion, say) if the parser broke a promise.
/// </summary>
public delegate void FuzzTarget(Span<byte> input);

/// <summary>
/// Runs a target over mutations of a corpus. One call is one test:
/// <code>FuzzRunner.Run("http head", corpus, input => HttpHead.TryParse(input, out _, out _));</code>
/// An exception fails the test with seed, iteration and input; an access outside the input ends the process; an input on which
/// the target does not come back within a minute fails the test. APPLIANCE_FUZZ_COUNT sets the number of inputs, APPLIANCE_FUZZ_SEED the
/// seed, which is printed. Inputs are at most <see cref="MaxLength"/> bytes.
/// </summary>
public static class FuzzRunner
{
    /// <summary>Inputs of a run if the environment does not say otherwise.</summary>
    public const int DefaultCount = 100_000;

    /// <summary>Longest input in bytes; longer corpus entries are cut.</summary>
    public const int MaxLength = 80 * 1024;

    private const int DefaultSeed = 20_260_801;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    /// <summary>Fuzzes <paramref name="target"/>; <paramref name="corpus"/> holds good inputs, at least one.</summary>
    public static void Run(string name, IReadOnlyList<byte[]> corpus, FuzzTarget target, int count = DefaultCount) =>
        Run(name, corpus, target, count, Patience);

    internal static void Run(string name, IReadOnlyList<byte[]> corpus, FuzzTarget target, int count, TimeSpan patience)
    {
        int seed = FromEnvironment("APPLIANCE_FUZZ_SEED", DefaultSeed);
        count = FromEnvironment("APPLIANCE_FUZZ_COUNT", count);
        TestContext.Progress.WriteLine($"fuzz {name}: seed {seed}, {count} inputs");
        var run = new FuzzRun(seed, corpus, target, count);
        // A thread of its own, so that a target that never returns can be given up.
        var thread = new Thread(run.Loop) { IsBackground = true, Name = "fuzz " + name };
        thread.Start();
        while (!thread.Join(TimeSpan.FromSeconds(1)))
        {
            if (run.SinceProgress > patience) Assert.Fail($"fuzz {name}: endless loop, seed {seed}, {run.Describe()}");
        }
        if (run.Failure != null) Assert.Fail($"fuzz {name}: seed {seed}, {run.Describe()}\n{run.Failure}");
    }

    private static int FromEnvironment(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.Integer, CultureInfo.InvariantCulture, out int value) ? value : otherwise;
}

/// <summary>One run; looked at from outside only through its progress.</summary>
internal sealed class FuzzRun(int seed, IReadOnlyList<byte[]> corpus, FuzzTarget target, int count)
{
    private readonly byte[] _input = new byte[FuzzRunner.MaxLength];
    private int _length;
    private volatile int _iteration;
    private long _progress = Stopwatch.GetTimestamp();

    internal Exception? Failure { get; private set; }

    internal TimeSpan SinceProgress => Stopwatch.GetElapsedTime(Volatile.Read(ref _progress));

    internal string Describe() => $"iteration {_iteration}, input {Convert.ToHexString(_input, 0, Math.Min(_length, 4096))} ({_length} bytes)";

    internal void Loop()
    {
        var mutator = new Mutator(seed);
        using var buffer = new GuardedBuffer(FuzzRunner.MaxLength);
        try
        {
            for (_iteration = 0; _iteration < count; _iteration++)
            {
                Volatile.Write(ref _progress, Stopwatch.GetTimestamp());
                _length = mutator.Mutate(Take(mutator), Take(mutator), _input);
                ReadOnlySpan<byte> input = _input.AsSpan(0, _length);
                target(mutator.Pick(4) == 0 ? buffer.PutAtStart(input) : buffer.PutAtEnd(input));
            }
        }
        // Whatever it is, it goes to the thread that waits, with the input that caused it.
        catch (Exception e) when (Keep(e))
        {
        }
    }

    private ReadOnlySpan<byte> Take(Mutator mutator)
    {
        ReadOnlySpan<byte> entry = corpus[mutator.Pick(corpus.Count)];
        return entry[..Math.Min(entry.Length, FuzzRunner.MaxLength)];
    }

    private bool Keep(Exception e)
    {
        Failure = e;
        return true;
    }
}
