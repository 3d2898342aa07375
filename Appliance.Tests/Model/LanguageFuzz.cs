using System.Text;
using Appliance.Control.Model;
using Appliance.Tests.Fuzz;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>Hostile texts against the parsers of configuration and key files: no exception, no endless loop, and what is accepted holds its promises.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
public sealed class LanguageFuzz
{
    private const int Count = 5000;

    [Test]
    public void Configuration_text()
    {
        byte[][] corpus = [Encoding.UTF8.GetBytes(ExampleTests.Example), .. Enumerable.Range(1, 20).Select(seed => Encoding.UTF8.GetBytes(new ConfigurationGenerator(seed).Next()))];
        FuzzRunner.Run("configuration", corpus, input =>
        {
            ParseResult result = ConfigurationParser.Parse(Encoding.UTF8.GetString(input), "fuzz");
            result.Write(TextWriter.Null);
            if (result.Configuration is null)
            {
                Assert.That(result.Diagnostics, Is.Not.Empty);
                return;
            }
            ConfigurationCompiler.Compile(result.Configuration);
            Assert.That(ConfigurationParser.Parse(ConfigurationPrinter.Print(result.Configuration), "printed").Configuration, Is.EqualTo(result.Configuration));
        }, Count);
    }

    [Test]
    public void Completion_of_a_line()
    {
        Configuration known = ConfigurationParser.Parse(ExampleTests.Example, "x").Configuration!;
        byte[][] corpus = [.. StatementTable.All.Where(s => !s.IsLater).Select(s => Encoding.UTF8.GetBytes(s.Example))];
        FuzzRunner.Run("completion", corpus, input => Assert.That(Completion.Candidates(Encoding.UTF8.GetString(input), known), Has.None.Null), Count);
    }

    [Test]
    public void Key_file()
    {
        byte[][] corpus = [Encoding.UTF8.GetBytes(ClusterKey.Header + "\n" + new string('A', 43) + "=\n" + new string('B', 42) + "A=\n")];
        FuzzRunner.Run("key file", corpus, input =>
        {
            ClusterKey? key = ClusterKey.Parse(Encoding.UTF8.GetString(input), out string? problem);
            Assert.That(key is null, Is.EqualTo(problem is not null));
            if (key is not null) Assert.That(key.Current, Has.Length.EqualTo(ClusterKey.Length));
        }, Count);
    }
}
