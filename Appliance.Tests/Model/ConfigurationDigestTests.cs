using Appliance.Control.Model;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>Which differences between two boxes' files are told, and where.</summary>
[TestFixture]
public sealed class ConfigurationDigestTests
{
    [Test]
    public void Boxes_of_one_cluster_have_one_digest()
    {
        string other = ExampleTests.Example
            .Replace("hostname gw1", "hostname gw2", StringComparison.Ordinal)
            .Replace("peer gw2 at 10.255.0.2", "peer gw1 at 10.255.0.1", StringComparison.Ordinal)
            .Replace("sync eth2 10.255.0.1/24", "sync bond0 10.255.0.2/24", StringComparison.Ordinal)
            .Replace("203.0.113.2/24", "203.0.113.3/24", StringComparison.Ordinal)
            .Replace("192.168.1.2/24", "192.168.1.3/24", StringComparison.Ordinal)
            .Replace("role sharer proxy", "role proxy", StringComparison.Ordinal)
            .Replace("/etc/appliance/", "/root/", StringComparison.Ordinal)
            + "\nworkers 2\ntable splices 65536\nlog level debug";
        Assert.That(Digest(other), Is.EqualTo(Digest(ExampleTests.Example)));
    }

    [Test]
    public void The_same_in_other_words_or_order_of_services_is_the_same()
    {
        string[] lines = ExampleTests.Example.Split('\n');
        string www = lines.Single(l => l.StartsWith("service WWW", StringComparison.Ordinal));
        string moved = string.Join('\n', [.. lines.Where(l => l != www), www]);
        Assert.That(Digest(moved), Is.EqualTo(Digest(ExampleTests.Example)));
        Assert.That(Digest(ExampleTests.Example.Replace("192.168.1.11 to www_pool", "192.168.1.11 to www_pool port 80", StringComparison.Ordinal)), Is.EqualTo(Digest(ExampleTests.Example)));
    }

    [TestCase("misses 3", "misses 4", "cluster")]
    [TestCase("at 10.255.0.2", "at 10.255.0.3", "cluster")]
    [TestCase("peer gw2", "peer gw3", "cluster")]
    [TestCase(" durability acked", "", "services")]
    [TestCase("203.0.113.10", "203.0.113.11", "services")]
    [TestCase("share WWW by flow", "share WWW by packet 40", "services")]
    [TestCase("weight 2", "weight 3", "pools")]
    [TestCase("pool static_pool for WWW", "pool static_pool for WWW proxy", "pools")]
    [TestCase("port 8443", "port 8444", "pools")]
    [TestCase("/static/", "/files/", "routes")]
    [TestCase("b.example to shop_b", "b.example to shop_pool", "routes")]
    [TestCase("WWW", "WEB", "services pools routes")]
    public void A_difference_has_a_place(string was, string becomes, string parts)
    {
        ulong changed = Digest(ExampleTests.Example.Replace(was, becomes, StringComparison.Ordinal));
        Assert.That(string.Join(' ', ConfigurationDigest.Differences(Digest(ExampleTests.Example), changed)), Is.EqualTo(parts));
    }

    [Test]
    public void It_is_printed_part_by_part() => Assert.That(ConfigurationDigest.Text(0x0001_0203_abcd_ffff), Is.EqualTo("0001-0203-abcd-ffff"));

    private static ulong Digest(string text)
    {
        ParseResult parsed = ConfigurationParser.Parse(text, "gw.conf");
        Assert.That(parsed.Configuration, Is.Not.Null, string.Join('\n', FindingsTests.Findings(text)));
        return ConfigurationCompiler.Compile(parsed.Configuration!).Box.Digest;
    }
}
