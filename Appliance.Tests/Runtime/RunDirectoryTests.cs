using Appliance.Control.Runtime;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>The run directory's lock and files, when others remove them or take its place.</summary>
[TestFixture]
internal sealed class RunDirectoryTests
{
    private string _path = null!;

    private string LockPath => Path.Combine(_path, "lock");

    [SetUp]
    public void Make() => _path = Directory.CreateTempSubdirectory("appliance-rundir-").FullName;

    [TearDown]
    public void Remove() => Directory.Delete(_path, recursive: true);

    [Test]
    public void One_holds_it_and_its_end_removes_what_is_in_it()
    {
        using (RunDirectory directory = RunDirectory.Take(_path, out _)!)
        {
            directory.WriteConfiguration("a");
            Assert.That(RunDirectory.Take(_path, out string? problem), Is.Null);
            Assert.That(problem, Does.Contain("runs in"));
        }
        Assert.That(Directory.EnumerateFileSystemEntries(_path), Is.Empty);
    }

    [Test]
    public void What_was_removed_is_made_again_and_held([Values("lock", "configuration")] string removed)
    {
        using RunDirectory directory = RunDirectory.Take(_path, out _)!;
        directory.WriteConfiguration("a");
        File.Delete(Path.Combine(_path, removed));
        directory.Restore("a");
        Assert.That(File.ReadAllText(directory.ConfigurationPath), Is.EqualTo("a"));
        Assert.That(RunDirectory.Take(_path, out _), Is.Null);
    }

    [Test]
    public void One_that_has_taken_its_place_keeps_it_and_its_files_until_it_ends()
    {
        using RunDirectory directory = RunDirectory.Take(_path, out _)!;
        directory.WriteConfiguration("a");
        File.Delete(LockPath);
        // Seen to be missing, and not to be had: a directory stands in its place.
        Directory.CreateDirectory(LockPath);
        Assert.That(() => directory.Restore("a"), Throws.InstanceOf<UnauthorizedAccessException>());
        Directory.Delete(LockPath);
        using (RunDirectory other = RunDirectory.Take(_path, out _)!)
        {
            other.WriteConfiguration("b");
            Assert.That(() => directory.Restore("a"), Throws.InstanceOf<IOException>(), "though there is such a file");
            directory.Dispose();
            Assert.That(File.ReadAllText(other.ConfigurationPath), Is.EqualTo("b"));
            Assert.That(RunDirectory.Take(_path, out _), Is.Null);
            Assert.That(() => directory.Restore("a"), Throws.InstanceOf<IOException>());
        }
        File.WriteAllText(LockPath, "");
        directory.Restore("a");
        Assert.That(File.ReadAllText(directory.ConfigurationPath), Is.EqualTo("a"), "taken again when it is free");
        Assert.That(RunDirectory.Take(_path, out _), Is.Null);
    }

    [Test]
    public void Leftovers_that_cannot_be_removed_stay() =>
        Assert.That(() => EngineFiles.RemoveLeftovers(new EngineAddress(1, 1, 1, _path, _path, _path, _path)), Throws.Nothing);
}
