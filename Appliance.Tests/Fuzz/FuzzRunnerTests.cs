using Appliance.DataPath.Memory;
using NUnit.Framework;

namespace Appliance.Tests.Fuzz;

/// <summary>The fuzzing tools themselves: they must be able to fail.</summary>
public sealed class FuzzRunnerTests
{
    private static readonly byte[][] Corpus = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 9, 9]];

    [Test]
    public void An_exception_of_the_target_fails_the_test_with_its_input()
    {
        string message = FailureOf(input => _ = input[7], TimeSpan.FromMinutes(1));
        Assert.That(message, Does.Contain("seed").And.Contain("iteration").And.Contain("IndexOutOfRange"));
    }

    [Test]
    public void A_target_that_does_not_return_fails_the_test()
    {
        using var release = new ManualResetEventSlim();
        string message = FailureOf(_ => release.Wait(), TimeSpan.Zero);
        release.Set();
        Assert.That(message, Does.Contain("endless loop").And.Contain("seed"));
    }

    [Test]
    public void The_same_seed_makes_the_same_inputs()
    {
        List<string> first = Inputs(5), again = Inputs(5);
        Assert.That(again, Is.EqualTo(first));
        Assert.That(Inputs(6), Is.Not.EqualTo(first));
    }

    [Test]
    public void Content_touches_the_guard_pages()
    {
        using var buffer = new GuardedBuffer(5000);
        Assert.That(buffer.Capacity, Is.EqualTo(8192));
        Span<byte> end = buffer.PutAtEnd(Corpus[0]), start = buffer.PutAtStart(Corpus[0]);
        Assert.That(end.SequenceEqual(Corpus[0]) && start.SequenceEqual(Corpus[0]), Is.True);
        Assert.That((long)(MemoryNative.AddressOf(end) + 8) % Environment.SystemPageSize, Is.Zero);
        Assert.That((long)MemoryNative.AddressOf(start) % Environment.SystemPageSize, Is.Zero);
        // The kernel's own copy says EFAULT where we would die.
        Assert.That(GuardedBufferNative.IsReadable(MemoryNative.AddressOf(end) + 7), Is.True);
        Assert.That(GuardedBufferNative.IsReadable(MemoryNative.AddressOf(end) + 8), Is.False);
        Assert.That(GuardedBufferNative.IsReadable(MemoryNative.AddressOf(start) - 1), Is.False);
    }

    private static string FailureOf(FuzzTarget target, TimeSpan patience)
    {
        using (new NUnit.Framework.Internal.TestExecutionContext.IsolatedContext())
        {
            return Assert.Throws<AssertionException>(() => FuzzRunner.Run("control", Corpus, target, 1000, patience))!.Message;
        }
    }

    private static List<string> Inputs(int seed)
    {
        var mutator = new Mutator(seed);
        var output = new byte[64];
        return [.. Enumerable.Range(0, 100).Select(_ => Convert.ToHexString(output, 0, mutator.Mutate(Corpus[0], Corpus[1], output)))];
    }
}
