using Appliance.Control.Model;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>The language's example, as far as this version supports it.</summary>
[TestFixture]
public sealed class ExampleTests
{
    public const string Example = """
        hostname gw1
        interface external eth0 203.0.113.2/24
        interface internal eth1 192.168.1.2/24
        interface sync eth2 10.255.0.1/24
        external gw 203.0.113.1
        internal net 192.168.1.0/24
        internal gw 192.168.1.1
        role sharer proxy
        key file /etc/appliance/cluster.key
        peer gw2 at 10.255.0.2
        heartbeat interval 5ms misses 3
        service WWW is 203.0.113.10 tcp 80 splice durability acked
        service SHOP is 203.0.113.13 tcp 443 splice
        pool www_pool for WWW
        pool static_pool for WWW
        pool shop_pool for SHOP
        pool shop_b for SHOP
        add 192.168.1.11 to www_pool weight 2
        add 192.168.1.12 to static_pool
        add 192.168.1.13 to shop_pool
        add 192.168.1.14 to shop_b port 8443
        route WWW host static.example to static_pool
        route WWW path /static/ to static_pool
        route SHOP sni b.example to shop_b
        share WWW by flow
        """;

    [Test]
    public void The_example_is_read_without_errors_and_warns_of_keep_alive_only()
    {
        ParseResult result = ConfigurationParser.Parse(Example, "gw1.conf");
        Assert.That(result.Diagnostics.Select(d => (d.Severity, d.Span.Line)), Is.EqualTo(new[] { (DiagnosticSeverity.Warning, 22) }));
        Assert.That(result.Configuration, Is.Not.Null);
        CompiledConfiguration compiled = ConfigurationCompiler.Compile(result.Configuration!);
        Assert.Multiple(() =>
        {
            Assert.That(compiled.Box.Nodes, Is.EqualTo(new[] { "gw1", "gw2" }));
            Assert.That(compiled.Box.Node, Is.Zero);
            Assert.That(compiled.Box.DetectionNs, Is.EqualTo(15_000_000));
            Assert.That(compiled.Services.Services[0].DefaultPool!.Reals[0].Port, Is.EqualTo(80));
            Assert.That(compiled.Services.Services[1].IsTls, Is.True);
            Assert.That(compiled.Services.Services[1].Routes[0].Pool.Reals[0].Port, Is.EqualTo(8443));
        });
    }

    [Test]
    public void What_is_printed_is_read_back_as_the_same()
    {
        Configuration configuration = ConfigurationParser.Parse(Example, "gw1.conf").Configuration!;
        string printed = ConfigurationPrinter.Print(configuration);
        Assert.That(ConfigurationParser.Parse(printed, "printed").Configuration, Is.EqualTo(configuration));
    }
}
