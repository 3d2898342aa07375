using Appliance.Control.Model;
using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>Suggestions, completion, help, the reference page, differences and compiled tables.</summary>
[TestFixture]
public sealed class LanguageTests
{
    private static Configuration Example => ConfigurationParser.Parse(ExampleTests.Example, "x").Configuration!;

    [TestCase("servce", "service")]
    [TestCase("sevrice", "service")]
    [TestCase("SERVICE", "service")]
    [TestCase("hots", "host")]
    [TestCase("banana", null)]
    [TestCase("", null)]
    public void Nearest_word(string word, string? expected) => Assert.That(Suggestion.Nearest(word, ["service", "pool", "host", "route"]), Is.EqualTo(expected));

    [TestCase("abc", "abc", 0)]
    [TestCase("abc", "acb", 1)]
    [TestCase("abc", "", 3)]
    [TestCase("kitten", "sitting", 3)]
    public void Edit_distance(string x, string y, int expected) => Assert.That(Suggestion.Distance(x, y), Is.EqualTo(expected));

    [TestCase("ser", "service")]
    [TestCase("internal ", "gw net")]
    [TestCase("add 192.168.1.100 to ", "shop_b shop_pool static_pool www_pool")]
    [TestCase("add 192.168.1.100 to s", "shop_b shop_pool static_pool")]
    [TestCase("add 192.168.1.100 to shop_b ", "port weight")]
    [TestCase("add 192.168.1.100 to shop_b port 1 ", "weight")]
    [TestCase("route WWW ", "host path sni")]
    [TestCase("share WWW by ", "flow packet")]
    [TestCase("service X is 203.0.113.1 tcp 80 ", "splice")]
    [TestCase("role sharer ", "proxy")]
    [TestCase("nonsense ", "")]
    [TestCase("vir", "")]
    public void Completion_offers(string line, string expected) => Assert.That(string.Join(' ', Completion.Candidates(line, Example)), Is.EqualTo(expected));

    [Test]
    public void Every_example_of_the_table_is_right()
    {
        foreach (Statement statement in StatementTable.All.Where(s => !s.IsLater))
        {
            ParseResult result = ConfigurationParser.Parse(statement.Example, "x");
            Assert.That(result.Diagnostics.Where(d => d.Message.StartsWith("unexpected", StringComparison.Ordinal) || d.Message.Contains("is not a", StringComparison.Ordinal)), Is.Empty, statement.Example);
            Assert.That(StatementHelp.Of([.. statement.Words], out _), Does.Contain(statement.Syntax));
        }
    }

    [Test]
    public void The_reference_page_is_in_step()
    {
        string path = Path.Combine(Root(), "docs", "language.md");
        if (Environment.GetEnvironmentVariable("APPLIANCE_UPDATE_DOCS") == "1") File.WriteAllText(path, StatementHelp.Markdown());
        Assert.That(File.ReadAllText(path), Is.EqualTo(StatementHelp.Markdown()), "run the test with APPLIANCE_UPDATE_DOCS=1 to write the page anew");
    }

    [Test]
    public void A_difference_names_statements_and_services()
    {
        string changed = ExampleTests.Example.Replace("weight 2", "weight 3", StringComparison.Ordinal)
            .Replace("SHOP", "STORE", StringComparison.Ordinal);
        ConfigurationDiff diff = ConfigurationDiff.Between(Example, ConfigurationParser.Parse(changed, "x").Configuration!);
        Assert.Multiple(() =>
        {
            Assert.That(diff.ChangedServices, Is.EqualTo(new[] { "WWW" }));
            Assert.That(diff.RemovedServices, Is.EqualTo(new[] { "SHOP" }));
            Assert.That(diff.AddedServices, Is.EqualTo(new[] { "STORE" }));
            Assert.That(diff.Gone, Has.Member("add 192.168.1.11 to www_pool weight 2"));
            Assert.That(diff.Come, Has.Member("add 192.168.1.11 to www_pool weight 3"));
            Assert.That(diff.NeedsRestart, Is.False);
        });
    }

    [Test]
    public void The_order_of_pools_is_a_difference()
    {
        string changed = ExampleTests.Example.Replace("pool www_pool for WWW\npool static_pool for WWW", "pool static_pool for WWW\npool www_pool for WWW", StringComparison.Ordinal);
        ConfigurationDiff diff = ConfigurationDiff.Between(Example, ConfigurationParser.Parse(changed, "x").Configuration!);
        Assert.That(diff.ChangedServices, Is.EqualTo(new[] { "WWW" }));
    }

    [TestCase("", 0x811c9dc5u)]
    [TestCase("a", 0xe40c292cu)]
    [TestCase("foobar", 0xbf9cf968u)]
    public void Numbers_are_fnv_1a(string text, uint expected) => Assert.That(ConfigurationCompiler.Hash(text), Is.EqualTo(expected));

    [Test]
    public void Versions_follow_contents_and_numbers_follow_names()
    {
        string other = ExampleTests.Example.Replace("hostname gw1", "hostname gw0", StringComparison.Ordinal).Replace("weight 2", "weight 3", StringComparison.Ordinal);
        Service x = ConfigurationCompiler.Compile(Example).Services.Services[0];
        Service y = ConfigurationCompiler.Compile(ConfigurationParser.Parse(other, "x").Configuration!).Services.Services[0];
        Assert.Multiple(() =>
        {
            Assert.That(y.Id, Is.EqualTo(x.Id));
            Assert.That(y.Pools[0].Id, Is.EqualTo(x.Pools[0].Id));
            Assert.That(y.Pools[0].Version, Is.Not.EqualTo(x.Pools[0].Version));
            Assert.That(y.Pools[1].Version, Is.EqualTo(x.Pools[1].Version));
            Assert.That(x.Routes[0].Value, Is.EqualTo("static.example"u8.ToArray()));
            Assert.That(x.Acked, Is.True);
        });
    }

    [Test]
    public void Links_carry_addresses_and_gateways()
    {
        BoxSettings box = ConfigurationCompiler.Compile(Example).Box;
        Assert.Multiple(() =>
        {
            Assert.That(box.External.InterfaceName, Is.EqualTo("eth0"));
            Assert.That(box.External.Address4.ToString(), Is.EqualTo("203.0.113.2"));
            Assert.That(box.External.Gateway4.ToString(), Is.EqualTo("203.0.113.1"));
            Assert.That(box.Internal.Prefix4, Is.EqualTo(24));
            Assert.That(box.Internal.Gateway4.IsNone, Is.True);
            Assert.That(box.SyncAddress.ToString(), Is.EqualTo("10.255.0.1"));
            Assert.That(box.Peers[0], Is.EqualTo(new PeerBox(1, "gw2", box.Peers[0].Address)));
        });
    }

    private static string Root()
    {
        string? at = TestContext.CurrentContext.TestDirectory;
        while (at is not null && !File.Exists(Path.Combine(at, "Appliance.sln"))) at = Path.GetDirectoryName(at);
        return at ?? throw new InvalidOperationException("Appliance.sln is not above the tests");
    }
}
