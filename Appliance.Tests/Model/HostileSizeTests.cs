using System.Text;
using Appliance.Control.Model;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>The longest text that is read, full of the lines that cost most: answered, within the bounds.</summary>
[TestFixture]
public sealed class HostileSizeTests
{
    private const string Www = "service W is 203.0.113.10 tcp 80 splice\npool p for W\n";

    [TestCase("", "x\n")]
    [TestCase("", "service @\n")]
    [TestCase("", "pool p@ for W\n")]
    [TestCase("", "internal net 10.#.0.0/16\n")]
    [TestCase(Www, "add 10.#.1.1 to p port @\n")]
    [TestCase(Www, "add 10.0.0.1 to q@\n")]
    [TestCase(Www, "route W path /@-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa to p\n")]
    [TestCase("", "service S@ is 10.#.1.1 tcp 80 splice\npool P@ for S@\nadd 10.1.1.1 to P@\nroute S@ host h@ to P@\n")]
    [TestCase("", "peer p@ at 10.#.1.1\n")]
    [TestCase("", "\"\\\"\n")]
    public void A_full_text(string start, string line)
    {
        var text = new StringBuilder(start);
        for (int i = 0; text.Length < ConfigurationParser.MaxText - 200; i++) text.Append(line.Replace("#", $"{i % 250}", StringComparison.Ordinal).Replace("@", $"{i}", StringComparison.Ordinal));
        ParseResult result = ConfigurationParser.Parse(text.ToString(), "big");
        result.Write(TextWriter.Null);
        Assert.That(result.Diagnostics, Has.Count.InRange(1, 2 * DiagnosticBag.Max));
        Assert.That(result.HasErrors, Is.True);
    }
}
