using Appliance.DataPath.Memory;
using NUnit.Framework;

namespace Appliance.Tests.Memory;

public sealed class RegionAndPoolTests
{
    private string _directory = "";

    [SetUp]
    public void Make() => _directory = Directory.CreateTempSubdirectory("ports-memory").FullName;

    [TearDown]
    public void Remove() => Directory.Delete(_directory, recursive: true);

    [Test]
    public void Two_mappings_of_a_file_are_the_same_memory_even_after_its_name_is_gone()
    {
        using SharedRegion first = SharedRegion.Create(_directory, "table", 1 << 20);
        using SharedRegion second = SharedRegion.Open(first.Path!, writable: false);
        Assert.That((second.Length, second.IsWritable), Is.EqualTo((1L << 20, false)));
        Assert.That(MemoryNative.Span(second.Address, 1 << 20).IndexOfAnyExcept((byte)0), Is.EqualTo(-1));
        first.Unlink();
        first.Unlink();
        Assert.That(File.Exists(first.Path), Is.False);
        MemoryNative.Ref<long>(first.Address + 4096) = 77;
        Assert.That(MemoryNative.Ref<long>(second.Address + 4096), Is.EqualTo(77));
        using SharedRegion again = SharedRegion.Create(_directory, "table", 4096);
        Assert.That(MemoryNative.Ref<long>(again.Address), Is.Zero);
        Assert.That(Port.Namespaces.Run($"stat -c %a {again.Path}").Trim(), Is.EqualTo("600"));
    }

    [Test]
    public void What_cannot_be_mapped_is_said()
    {
        using SharedRegion first = SharedRegion.Create(_directory, "x", 4096);
        Assert.That(() => SharedRegion.Create(_directory, "x", 4096), Throws.TypeOf<IOException>().With.Message.Contains("File exists"));
        Assert.That(() => SharedRegion.Open(Path.Combine(_directory, "y"), writable: true), Throws.TypeOf<IOException>().With.Message.Contains("No such file"));
        File.WriteAllBytes(Path.Combine(_directory, "empty"), []);
        Assert.That(() => SharedRegion.Open(Path.Combine(_directory, "empty"), writable: true), Throws.TypeOf<IOException>().With.Message.Contains("empty"));
        Assert.That(() => SharedRegion.Anonymous(0), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void A_huge_region_costs_only_what_is_touched()
    {
        long before = Resident();
        using var region = SharedRegion.Anonymous(64L << 30);
        MemoryNative.Ref<long>(region.Address) = 1;
        MemoryNative.Ref<long>(region.Address + (nint)region.Length - 8) = 2;
        Assert.That(Resident() - before, Is.LessThan(64 << 20));
    }

    [Test]
    public void Scratch_buffers_are_distinct_and_all_come_back_at_the_reset()
    {
        using var pool = new ScratchPool(3, 100);
        Assert.That(pool.BufferSize, Is.EqualTo(128));
        var taken = new List<nint>();
        while (pool.TryTake(out nint address)) taken.Add(address);
        Assert.That(taken, Has.Count.EqualTo(3).And.Unique);
        Assert.That(taken.TrueForAll(a => a % 64 == 0), Is.True);
        pool.Reset();
        Assert.That(pool.TryTake(out nint first), Is.True);
        Assert.That(first, Is.EqualTo(taken[0]));
    }

    [Test]
    public void Slab_buffers_are_never_out_twice_and_none_is_lost()
    {
        const int count = 50;
        using var pool = new SlabPool(count, 64);
        var random = new Random(9);
        var used = new List<int>();
        for (int i = 0; i < 100_000; i++)
        {
            if (random.Next(2) == 0)
            {
                bool took = pool.TryTake(out int index);
                Assert.That(took, Is.EqualTo(used.Count < count));
                if (!took) continue;
                Assert.That(used, Does.Not.Contain(index));
                used.Add(index);
            }
            else if (used.Count > 0)
            {
                int at = random.Next(used.Count), index = used[at];
                used.RemoveAt(at);
                Assert.That(pool.Return(index), Is.True);
                Assert.That(pool.Return(index), Is.False, "given back twice");
            }
            Assert.That(pool.Used, Is.EqualTo(used.Count));
        }
        Assert.That(pool.Return(-1), Is.False);
        Assert.That(pool.Return(count), Is.False);
        Assert.That(() => pool.AddressOf(count), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(pool.AddressOf(1) - pool.AddressOf(0), Is.EqualTo((nint)64));
    }

    private static long Resident() => long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1]) * Environment.SystemPageSize;
}
