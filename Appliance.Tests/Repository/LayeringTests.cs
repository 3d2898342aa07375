using System.Text.RegularExpressions;
using NUnit.Framework;

namespace Appliance.Tests.Repository;

/// <summary>Holds the directions of dependency of docs/architecture.md, by reading the sources.</summary>
public sealed partial class LayeringTests
{
    // A folder may use those to its left and, in brackets, none of its siblings.
    private static readonly string[][] DataPath =
        [["Wire"], ["Memory"], ["Port"], ["Flow"], ["State"], ["Balance", "Conntrack", "Splice", "Tap", "Record"], ["Paths"], ["Runtime"]];

    private static readonly string[][] Control =
        [["Model"], ["Sealing"], ["Replication", "Failover", "Recovery", "Health", "Transactions", "Telephony"], ["Runtime"], ["Rest", "Shell"]];

    internal static string Root => FindRoot();

    [TestCase("Appliance.DataPath")]
    [TestCase("Appliance.Control")]
    public void A_folder_uses_only_folders_to_its_left(string project)
    {
        string[][] order = project == "Appliance.DataPath" ? DataPath : Control;
        var offences = new List<string>();
        foreach ((string file, string folder) in Sources(project))
        {
            int level = Array.FindIndex(order, l => l.Contains(folder));
            Assert.That(level, Is.GreaterThanOrEqualTo(0), $"{file}: folder {folder} has no place in the order");
            foreach (Match use in NamespacePattern().Matches(File.ReadAllText(file)))
            {
                if (use.Groups[1].Value != project || use.Groups[2].Value == folder) continue;
                int used = Array.FindIndex(order, l => l.Contains(use.Groups[2].Value));
                if (used >= level) offences.Add($"{file} uses {use.Value}");
            }
        }
        Assert.That(offences, Is.Empty);
    }

    [Test]
    public void Nothing_points_back_from_the_data_path()
    {
        Assert.That(Sources("Appliance.DataPath").Where(s => File.ReadAllText(s.File).Contains("Appliance.Control", StringComparison.Ordinal)), Is.Empty);
        Assert.That(Sources("Appliance.DataPath").Concat(Sources("Appliance.Control")).Where(s => File.ReadAllText(s.File).Contains("Appliance.Lab", StringComparison.Ordinal)), Is.Empty);
    }

    [Test]
    public void Unsafe_code_and_foreign_calls_stand_in_native_and_ring_files_only()
    {
        IEnumerable<string> offences = new[] { "Appliance", "Appliance.DataPath", "Appliance.Control", "Appliance.Tests", "bench" }
            .SelectMany(p => Directory.EnumerateFiles(Path.Combine(Root, p), "*.cs", SearchOption.AllDirectories))
            .Where(f => IsSource(f) && !f.EndsWith("Native.cs", StringComparison.Ordinal) && !f.EndsWith("Ring.cs", StringComparison.Ordinal))
            .Where(f => UnsafePattern().IsMatch(File.ReadAllText(f)));
        Assert.That(offences, Is.Empty);
    }

    [Test]
    public void Every_folder_of_the_product_explains_itself()
    {
        IEnumerable<string> folders = new[] { "Appliance.DataPath", "Appliance.Control" }
            .SelectMany(Sources).Select(s => Path.GetDirectoryName(s.File)!).Distinct();
        Assert.That(folders.Where(f => !File.Exists(Path.Combine(f, "README.md"))), Is.Empty);
    }

    private static IEnumerable<(string File, string Folder)> Sources(string project) =>
        Directory.EnumerateFiles(Path.Combine(Root, project), "*.cs", SearchOption.AllDirectories)
            .Where(IsSource)
            .Select(f => (f, Path.GetRelativePath(Path.Combine(Root, project), f).Split(Path.DirectorySeparatorChar)[0]));

    private static bool IsSource(string file) => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal);

    private static string FindRoot()
    {
        string? at = TestContext.CurrentContext.TestDirectory;
        while (at is not null && !File.Exists(Path.Combine(at, "Appliance.sln"))) at = Path.GetDirectoryName(at);
        return at ?? throw new DirectoryNotFoundException("the repository's root is not above the tests");
    }

    [GeneratedRegex(@"\b(Appliance\.DataPath|Appliance\.Control)\.(\w+)\b")]
    private static partial Regex NamespacePattern();

    [GeneratedRegex(@"\bunsafe\b\s*(\{|class|struct|static|partial|sealed|readonly|ref|extern|delegate)|\[(DllImport|LibraryImport)\(")]
    private static partial Regex UnsafePattern();
}
