using System.Text.RegularExpressions;
using NUnit.Framework;

namespace Appliance.Tests.Repository;

/// <summary>Markdown pages: their relative links lead somewhere, and they name no folder of the machine they were written on.</summary>
public sealed partial class DocumentationTests
{
    private static readonly string[] Skipped = ["bin", "obj", ".git", "artifacts", "TestResults", "BenchmarkDotNet.Artifacts", "node_modules"];

    private static IEnumerable<string> Pages => Directory.EnumerateFiles(LayeringTests.Root, "*.md", SearchOption.AllDirectories)
        .Where(f => !Path.GetRelativePath(LayeringTests.Root, f).Split(Path.DirectorySeparatorChar).Any(Skipped.Contains));

    [Test]
    public void Relative_links_resolve()
    {
        var broken = new List<string>();
        int links = 0;
        foreach (string page in Pages)
        {
            foreach (string target in Links(File.ReadAllText(page)))
            {
                links++;
                string path = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(page)!, target));
                if (!File.Exists(path) && !Directory.Exists(path)) broken.Add($"{page}: {target}");
            }
        }
        Assert.That(broken, Is.Empty);
        Assert.That(links, Is.GreaterThan(20), "the pages were found");
    }

    [Test]
    public void Pages_name_no_folder_of_this_machine()
    {
        IEnumerable<string> offences = Pages.SelectMany(p => Foreign(File.ReadAllText(p)).Select(f => $"{p}: {f}"));
        Assert.That(offences, Is.Empty);
    }

    [TestCase("see [a](b/c.md) and [d](e.md#f)", new[] { "b/c.md", "e.md" })]
    [TestCase("[a](https://example.org/b) [c](#d) [e](mailto:f@example.org)", new string[0])]
    [TestCase("`entries[i](x)` in code\n\n    indented [a](b)\n", new string[0])]
    public void Links_are_found(string text, string[] targets) => Assert.That(Links(text), Is.EqualTo(targets));

    [TestCase("runs in /home/somebody/src", 1)]
    [TestCase("runs in /wo" + "rk/main", 1)]
    [TestCase("made in /tmp/wt/docs and /root/.nuget", 2)]
    [TestCase("/etc/appliance/cluster.key, /run/appliance, /dev/shm, /static/, /work-in-progress", 0)]
    public void Folders_of_a_machine_are_found(string text, int count) => Assert.That(Foreign(text).Count(), Is.EqualTo(count));

    private static IEnumerable<string> Links(string text) =>
        LinkPattern().Matches(CodePattern().Replace(text, "")).Select(m => m.Groups[1].Value).Where(t => !t.Contains(':', StringComparison.Ordinal));

    // Places of people and of build machines; what a running box uses (/run, /etc, /dev/shm) is documentation.
    private static IEnumerable<string> Foreign(string text) => FolderPattern().Matches(text).Select(m => m.Value);

    [GeneratedRegex(@"\]\(([^)\s#]+)(?:#[^)]*)?\)")]
    private static partial Regex LinkPattern();

    [GeneratedRegex(@"^(```.*?^```|( {4}|\t).*?$)|`[^`\n]*`", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex CodePattern();

    [GeneratedRegex(@"(?<![\w.])/(home|root|work|Users|tmp|mnt|opt|srv)/[\w./-]+")]
    private static partial Regex FolderPattern();
}
