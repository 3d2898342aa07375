using System.Text;
using Appliance.Control.Model;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>Properties over generated configurations, and hostile texts.</summary>
[TestFixture]
public sealed class RoundTripTests
{
    private const int Seed = 20_260_901;

    [Test]
    public void What_is_printed_is_read_back_as_equal_and_printed_the_same([Range(0, 9)] int run)
    {
        for (int i = 0; i < 50; i++)
        {
            int seed = Seed + run * 50 + i;
            string text = new ConfigurationGenerator(seed).Next();
            ParseResult first = ConfigurationParser.Parse(text, "generated");
            Assert.That(first.Configuration, Is.Not.Null, () => $"seed {seed}\n{text}\n{string.Join('\n', FindingsTests.Findings(text))}");
            string printed = ConfigurationPrinter.Print(first.Configuration!);
            Configuration? second = ConfigurationParser.Parse(printed, "printed").Configuration;
            Assert.That(second, Is.EqualTo(first.Configuration), () => $"seed {seed}\n{text}\n---\n{printed}");
            Assert.That(ConfigurationPrinter.Print(second!), Is.EqualTo(printed), $"seed {seed}");
            Assert.That(ConfigurationDiff.Between(first.Configuration!, second!).IsEmpty, Is.True, $"seed {seed}");
            Assert.That(ConfigurationCompiler.Compile(second!).Services.Services, Has.Count.EqualTo(second!.Services.Count), $"seed {seed}");
        }
    }

    [Test]
    public void Damaged_texts_are_answered_and_findings_lie_in_the_text()
    {
        var random = new Random(Seed);
        for (int i = 0; i < 3000; i++)
        {
            int seed = random.Next();
            string text = Damage(new ConfigurationGenerator(seed).Next(), new Random(seed));
            ParseResult result = ConfigurationParser.Parse(text, "damaged");
            int lines = text.Count(c => c == '\n') + 1;
            Assert.That(result.Diagnostics.All(d => d.Span.Line >= 1 && d.Span.Line <= lines && d.Span.Column >= 1 && d.Message.Length > 0), Is.True, $"seed {seed}");
            Assert.That(result.HasErrors, Is.EqualTo(result.Diagnostics.Any(d => d.Severity == DiagnosticSeverity.Error)), $"seed {seed}");
            result.Write(TextWriter.Null);
            if (result.Configuration is null) continue;
            ConfigurationCompiler.Compile(result.Configuration);
            Assert.That(ConfigurationParser.Parse(ConfigurationPrinter.Print(result.Configuration), "printed").Configuration, Is.EqualTo(result.Configuration), $"seed {seed}");
        }
    }

    internal static string Damage(string text, Random random)
    {
        var damaged = new StringBuilder(text);
        for (int n = random.Next(1, 6); n > 0 && damaged.Length > 0; n--)
        {
            int at = random.Next(damaged.Length);
            switch (random.Next(5))
            {
                case 0:
                    damaged[at] = (char)random.Next(0x20, 0x7f);
                    break;
                case 1:
                    damaged[at] = (char)random.Next(0, 0x10000);
                    break;
                case 2:
                    damaged.Remove(at, Math.Min(random.Next(1, 40), damaged.Length - at));
                    break;
                case 3:
                    int from = random.Next(damaged.Length);
                    damaged.Insert(at, damaged.ToString(from, Math.Min(random.Next(1, 80), damaged.Length - from)));
                    break;
                default:
                    damaged.Insert(at, new string((char)random.Next(0x20, 0x80), random.Next(1, 1200)));
                    break;
            }
        }
        return damaged.ToString();
    }
}
