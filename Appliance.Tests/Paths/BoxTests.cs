using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>
/// What a box must do however many workers it has: every test runs on one worker, and on three with each frame landing on one that
/// it does not belong to.
/// </summary>
[TestFixture(1, false)]
[TestFixture(3, true)]
[Parallelizable(ParallelScope.Self)]
public abstract class BoxTests(int workers, bool astray)
{
    [ThreadStatic]
    private static (int Workers, bool Astray) _present;

    internal static int Workers => Math.Max(_present.Workers, 1);

    internal static bool Astray => _present.Astray;

    [SetUp]
    public void Take() => _present = (workers, astray);

    [TearDown]
    public void Leave() => _present = default;
}
