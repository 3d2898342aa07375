using Appliance.Control.Model;
using NUnit.Framework;

namespace Appliance.Tests.Model;

/// <summary>Tables of {text, findings}. A text follows <see cref="Prelude"/>, so its first line is number 7; a finding is "line:column severity: message".</summary>
[TestFixture]
public sealed class FindingsTests
{
    private const string Prelude = """
        hostname gw1
        interface external eth0 203.0.113.2/24 2001:db8::2/64
        interface internal eth1 192.168.1.2/24 fd00::2/64
        internal net 192.168.1.0/24
        internal gw 192.168.1.1
        role sharer proxy

        """;

    private const string Www = "service WWW is 203.0.113.10 tcp 80 splice\npool www for WWW\nadd 192.168.1.11 to www\n";

    private static readonly TestCaseData[] Grammar =
    [
        Case("# only a comment", []),
        Case("  \t ", []),
        Case("hostnam gw2", ["7:1 error: unknown statement 'hostnam'; did you mean 'hostname'?"]),
        Case("\"hostname\" gw2", ["7:1 error: unknown statement 'hostname'; did you mean 'hostname'?"]),
        Case("zzzzzzzzzzz", ["7:1 error: unknown statement 'zzzzzzzzzzz'"]),
        Case("save", ["7:1 error: 'save' is a command for a running box, not a statement of a configuration"]),
        Case("virtual 203.0.113.10 vrrp 10 priority 200 on external", ["7:1 error: 'virtual' is not available yet in this version"]),
        Case("check www http GET /health", ["7:1 error: 'check' is not available yet in this version"]),
        Case("internal", ["7:9 error: the statement ends too early; expected 'net' or 'gw'"]),
        Case("internal nett 192.168.2.0/24", ["7:10 error: unexpected 'nett'; expected 'net' or 'gw'; did you mean 'net'?"]),
        Case("external gw", ["7:12 error: the statement ends too early; expected ADDRESS (an IPv4 or IPv6 address)"]),
        Case("external gw 203.0.113.1 now", ["7:25 error: unexpected 'now' after the end of the statement"]),
        Case("external gw 203.0.113.256", ["7:13 error: '203.0.113.256' is not an address"]),
        Case("external gw 203.0.113", ["7:13 error: '203.0.113' is not an address"]),
        Case("external gw fe80::1%eth0", ["7:13 error: 'fe80::1%eth0' is not an address"]),
        Case("external gw ff02::1", ["7:13 error: 'ff02::1' is not the address of one host"]),
        Case("external gw 0.0.0.0", ["7:13 error: '0.0.0.0' is not the address of one host"]),
        Case("peer p at 224.0.0.1", ["7:11 error: '224.0.0.1' is not the address of one host"]),
        Case("peer p at 0.0.0.1", ["7:11 error: '0.0.0.1' is not the address of one host"]),
        Case("service W is 127.0.0.1 tcp 80 splice\npool p for W\nadd 192.168.1.11 to p", ["7:14 error: '127.0.0.1' is a loopback address: it never leaves a machine"]),
        Case("service W is ::1 tcp 80 splice\npool p for W\nadd fd00::11 to p\ninternal net fd00::/64", ["7:14 error: '::1' is a loopback address: it never leaves a machine"]),
        Case(Www + "add 127.0.0.2 to www", ["10:5 error: '127.0.0.2' is a loopback address: it never leaves a machine"]),
        Case("interface sync eth2 127.0.0.1/8", ["7:21 error: '127.0.0.1/8' is a loopback address: it never leaves a machine"]),
        Case("interface sync eth2 10.255.0.0/24", ["7:21 error: 10.255.0.0 is the address of the network 10.255.0.0/24 itself, not an address of a box"]),
        Case("interface sync eth2 10.255.0.255/24", ["7:21 error: 10.255.0.255 is the broadcast address of 10.255.0.0/24, not an address of a box"]),
        Case("interface sync eth2 10.255.0.1/24 fd00:2::/64", ["7:35 error: fd00:2:: is the address of all routers on fd00:2::/64, not an address of a box"]),
        Case("interface sync eth2 10.255.0.0/31 fd00:2::/127", []),
        Case("interface sync eth2 10.255.0.255/32", []),
        Case("external gw 203.0.113.255", ["7:13 error: 203.0.113.255 is the broadcast address of 203.0.113.0/24 (2)"]),
        Case("service W is 203.0.113.0 tcp 80 splice\npool p for W\nadd 192.168.1.11 to p", ["7:14 error: 203.0.113.0 is the address of the network 203.0.113.0/24 itself (2)"]),
        Case(Www + "add 192.168.1.255 to www", ["10:5 error: 192.168.1.255 is the broadcast address of 192.168.1.0/24, not a server (3)"]),
        Case("interface sync eth2 10.255.0.1/24\nkey file k\npeer p at 10.255.0.255", ["9:6 error: 10.255.0.255 is the broadcast address of 10.255.0.0/24 (7)"]),
        Case("interface sync eth2 10.255.0.1", ["7:21 error: '10.255.0.1' lacks its prefix length"]),
        Case("interface sync eth2 10.255.0.1/33", ["7:21 error: '10.255.0.1/33' is not an address with a prefix length"]),
        Case("interface sync eth2 10.255.0.1/24 10.255.0.2/24", ["7:35 error: a link has one address of each family at most"]),
        Case("interface sync a-name-that-is-too-long 10.255.0.1/24", ["7:16 error: 'a-name-that-is-too-long' is not the name of an interface"]),
        Case("interface sync eth1 10.255.0.1/24", ["7:16 error: 'eth1' is used for another link already (3)"]),
        Case("interface outside eth2 10.255.0.1/24", ["7:11 error: unexpected 'outside'; expected 'external', 'internal' or 'sync'"]),
        Case("interface external eth2 10.255.0.1/24", ["7:1 error: the external interface is given twice (2)"]),
        Case("internal net 192.168.1.5/24", ["7:14 error: '192.168.1.5/24' is not a network: bits behind the prefix are set"]),
        Case("internal net 192.168.1.0/24", ["7:14 error: internal net 192.168.1.0/24 is given twice (4)"]),
        Case("hostname gw2", ["7:10 error: the hostname is given twice (1)"]),
        Case("heartbeat interval 5 misses 3", ["7:20 error: '5' is not a duration"]),
        Case("heartbeat interval 500us misses 3", ["7:20 error: a heartbeat interval is 1ms to 10s"]),
        Case("heartbeat interval 99999999999999999999s misses 0", ["7:20 error: '99999999999999999999s' is not a duration", "7:49 error: '0' is not a number of missed heartbeats from 1 to 100"]),
        Case("workers 0", ["7:9 error: '0' is not a number of workers from 1 to 16"]),
        Case("log level chatty", ["7:11 error: unexpected 'chatty'; expected 'error', 'warning', 'info' or 'debug'"]),
        Case("service W\u00fc is 203.0.113.10 tcp 80 splice", ["7:9 error: 'W\u00fc' is not a name"]),
        Case("key file \"a b", ["7:10 error: the quotation mark is not closed"]),
        Case("key file \"a\"b", ["7:13 error: a blank must follow the closing quotation mark"]),
        Case("key file a\u0007b", ["7:11 error: control character U+0007"]),
        Case("role proxy", ["7:1 error: the role is given twice (6)"]),
        Case("service S is 203.0.113.10 tcp 80 nat", ["7:34 error: 'nat' is not available yet in this version"]),
        Case("service S is 203.0.113.10 udp 80 splice", ["7:27 error: 'udp' is not available yet in this version"]),
        Case("service S is 203.0.113.10 tcp 80 splice sticky", ["7:41 error: 'sticky' is not available yet in this version"]),
        Case("service S is 203.0.113.10 tcp 80", ["7:33 error: the statement ends too early; expected 'splice'"]),
        Case("service S is 203.0.113.10 tcp 80 splice durability maybe", ["7:52 error: unexpected 'maybe'; expected 'async' or 'acked'"]),
    ];

    private static readonly TestCaseData[] Meaning =
    [
        Case(Www, []),
        Case(Www + "add 192.168.1.12 to ww port 0 weight 257",
            ["10:21 error: undefined pool 'ww'; did you mean 'www'?", "10:29 error: '0' is not a port from 1 to 65535", "10:38 error: '257' is not a weight from 1 to 256"]),
        Case(Www + "add 192.168.1.12 to www port 81 port 82", ["10:33 error: 'port' is given twice or out of place"]),
        Case(Www + "add 192.168.1.12 to www weight 2 port 81", []),
        Case(Www + "add 192.168.1.11 to www port 80", ["10:5 error: 192.168.1.11 is in pool 'www' already (9)"]),
        Case(Www + "add 192.168.1.11 to www port 81", []),
        Case(Www + "add fd00::11 to www", ["10:5 error: fd00::11 is IPv6, but service 'WWW' is IPv4 (7)"]),
        Case(Www + "add 192.168.2.11 to www", ["10:5 warning: 192.168.2.11 is outside of the internal net"]),
        Case(Www + "internal net 192.168.2.0/24\nadd 192.168.2.11 to www", ["11:5 warning: 192.168.2.11 is not on the internal link (192.168.1.0/24), so there is no next hop to it (3)"]),
        Case(Www + "add 192.168.1.1 to www", ["10:5 error: 192.168.1.1 is the internal gateway, not a server"]),
        Case("pool p for NONE", ["7:12 error: undefined service 'NONE'"]),
        Case("pool p for W\nservice W is 203.0.113.10 tcp 80 splice\nadd 192.168.1.11 to p", []),
        Case("service W is 203.0.113.10 tcp 80 nat\npool p for W\nadd 192.168.1.1 to p\nroute W host a to p", ["7:34 error: 'nat' is not available yet in this version"]),
        Case("service W is 203.0.113.10 tcp 80 splice", ["7:9 warning: service 'W' has no pool: its connections are refused"]),
        Case("service W is 203.0.113.10 tcp 80 splice\npool p for W", ["8:6 warning: pool 'p' has no servers: its connections are refused"]),
        Case("service W is 203.0.113.10 tcp 80 splice\npool p for W\nad 192.168.1.11 to p", ["9:1 error: unknown statement 'ad'; did you mean 'add'?"]),
        Case(Www + "service W2 is 203.0.113.10 tcp 80 splice\npool w2 for W2\nadd 192.168.1.11 to w2", ["10:15 error: service 'WWW' has 203.0.113.10 port 80 already (7)"]),
        Case(Www + "service WWW is 203.0.113.11 tcp 80 splice", ["10:9 error: service 'WWW' is defined twice (7)"]),
        Case("service W is 203.0.113.2 tcp 80 splice\npool p for W\nadd 192.168.1.11 to p", ["7:14 error: 203.0.113.2 is the box's own address on the external link"]),
        Case("service W is 203.0.113.10 tcp 80 splice durability acked\npool p for W\nadd 192.168.1.11 to p", ["7:9 warning: service 'W' is acked, but there is no peer that could acknowledge"]),
        Case("service W is 2001:db8::10 tcp 80 splice\npool p for W\nadd fd00::11 to p\ninternal net fd00::/64\n", []),
        Case(Www + "route WWW host A.Example to www", ["10:11 warning: a connection stays with the pool that its first request chose, also for later requests that another route would match"]),
        Case(Www + "route WWW host a to www\nroute WWW host A to www", ["10:11 warning: a connection stays", "11:16 warning: this route never matches: it repeats an earlier one (10)"]),
        Case(Www + "route WWW path /a to www\nroute WWW path /ab to www", ["10:11 warning: a connection stays", "11:16 warning: this route never matches: it comes after one for '/a', which takes all that it would match (10)"]),
        Case(Www + "route WWW path /ab to www\nroute WWW path /a to www", ["10:11 warning: a connection stays"]),
        Case(Www + "route WWW path /a?b to www", ["10:11 warning: a connection stays", "10:16 warning: this route never matches: a path ends before '?' and '#'"]),
        Case(Www + "route WWW sni a to www\nroute WWW host b to www", ["11:11 error: service 'WWW' has both sni routes and host or path routes (10)"]),
        Case(Www + "route WWW sni 192.0.2.1 to www", ["10:15 warning: this route never matches: a TLS server name is no address and has no dot at its end"]),
        Case(Www + "route WWW host a:80 to www", ["10:16 error: a host name is compared without its port"]),
        Case(Www + "route WWW host *.a to www", ["10:16 error: names are compared whole; '*' stands for nothing"]),
        Case(Www + "route WWW path static to www", ["10:16 error: a path starts with '/'"]),
        Case(Www + "route WWW path \"\" to www", ["10:16 error: an empty value matches nothing"]),
        Case(Www + "service B is 203.0.113.11 tcp 80 splice\npool b for B\nadd 192.168.1.12 to b\nroute WWW host a to b", ["13:21 error: pool 'b' belongs to service 'B', not to 'WWW' (11)"]),
        Case(Www + "share WWW by packet 10001", ["10:21 error: '10001' is not a number of packets in a burst from 1 to 10000"]),
        Case(Www + "share WWW by flow\nshare WWW by packet 40", ["11:1 error: the sharing of 'WWW' is given twice (10)"]),
        Case("peer gw2 at 10.255.0.2", ["7:6 error: peers need a key", "7:6 error: peers need a sync interface"]),
        Case("interface sync eth2 10.255.0.1/24\nkey file k\npeer gw1 at 10.255.0.1", ["9:6 error: 'gw1' is this box (1)", "9:6 error: 10.255.0.1 is this box's own address (7)"]),
        Case("interface sync eth2 10.255.0.1/24\nkey file k\npeer gw2 at 10.1.0.1\npeer gw3 at 10.1.0.1",
            ["9:6 warning: peer 'gw2' at 10.1.0.1 is not on the sync link", "10:6 warning: peer 'gw3' at 10.1.0.1 is not on the sync link", "10:13 error: peer 'gw2' is at 10.1.0.1 already (9)"]),
        Case("external gw 198.51.100.1", ["7:13 warning: 198.51.100.1 is not on the external link (203.0.113.0/24)"]),
        Case("external gw fe80::1", []),
    ];

    // One mistake, one finding: what only follows from it is not said.
    private static readonly TestCaseData[] Repeats =
    [
        Case("servce WWW is 203.0.113.10 tcp 80 splice\npool www for WWW\nadd 192.168.1.11 to www\nshare WWW by flow", ["7:1 error: unknown statement 'servce'; did you mean 'service'?"]),
        Case("virtualserver WWW 203.0.113.10\npool www for WWW\nadd 192.168.1.11 to www\nshare WWW by flow", ["7:1 error: unknown statement 'virtualserver'"]),
        Case("service WWW is 203.0.113.10 tcp 80 splice\npol www for WWW\nadd 192.168.1.11 to www\nadd 192.168.1.12 to www", ["8:1 error: unknown statement 'pol'; did you mean 'pool'?"]),
        Case("service WWW is 203.0.113.10 tcp 80 splice\npool www for WWX\nadd 192.168.1.11 to www\nroute WWW host a to www", ["8:14 error: undefined service 'WWX'; did you mean 'WWW'?"]),
        Case("service WWW is 203.0.113.10 tcp 80 splice\npool www for WWW\nadd 192.168.1.11 to wwe\nadd 192.168.1.12 to wwe", ["9:21 error: undefined pool 'wwe'; did you mean 'www'?"]),
        Case("service 1WWW is 203.0.113.10 tcp 80 splice\npool www for 1WWW\nshare 1WWW by flow", ["7:9 error: '1WWW' is not a name"]),
        Case("service \"WWW is 203.0.113.10 tcp 80 splice\npool www for WWW\nshare WWW by flow", ["7:9 error: the quotation mark is not closed"]),
        Case("interface sync eth2 10.255.0.1/24\nkeyfile k\npeer gw2 at 10.255.0.2", ["8:1 error: unknown statement 'keyfile'"]),
        Case("iface sync eth2 10.255.0.1/24\nkey file k\npeer gw2 at 10.255.0.2", ["7:1 error: unknown statement 'iface'"]),
        Case("service W is 203.0.113.10 tcp 80 splice durability acked\npool p for W\nadd 192.168.1.11 to p\npeeer gw2 at 10.255.0.2", ["10:1 error: unknown statement 'peeer'; did you mean 'peer'?"]),
    ];

    [TestCase("hostname", "node gw1", "1:1 error: unknown statement 'node'")]
    [TestCase("hostname", "hostname g\u0007", "1:11 error: control character U+0007")]
    [TestCase("interface external", "link external eth0 203.0.113.2/24", "2:1 error: unknown statement 'link'")]
    [TestCase("interface internal", "interface internal eth1 192.168.1.2/24 fd00::2/200", "3:40 error: 'fd00::2/200' is not an address with a prefix length")]
    [TestCase("internal gw", "internal gate 192.168.1.1", "5:10 error: unexpected 'gate'; expected 'net' or 'gw'")]
    [TestCase("role", "rolle sharer", "6:1 error: unknown statement 'rolle'; did you mean 'role'?")]
    [TestCase("role", "mode sharer", "6:1 error: unknown statement 'mode'")]
    public void What_stands_there_misspelt_is_not_missing_too(string statement, string instead, string expected)
    {
        string[] lines = (Prelude + "service W6 is 2001:db8::10 tcp 80 splice\npool p for W6\nadd fd00::11 to p\ninternal net fd00::/64").Split('\n');
        lines[Array.FindIndex(lines, l => l.StartsWith(statement, StringComparison.Ordinal))] = instead;
        Assert.That(Findings(string.Join('\n', lines)), Is.EqualTo(new[] { expected }));
    }

    [TestCase("role sharer", "6:1 warning: a sharer without peers: there is no proxy to hand packets to, so no connection is ever accepted")]
    [TestCase("role proxy", "6:1 warning: a proxy without peers: there is no sharer to hand it packets, and it does not answer for the services itself")]
    public void Half_a_box_that_is_alone_is_warned(string role, string expected) =>
        Assert.That(Findings(Prelude.Replace("role sharer proxy", role, StringComparison.Ordinal)), Is.EqualTo(new[] { expected }));

    [TestCaseSource(nameof(Grammar))]
    [TestCaseSource(nameof(Meaning))]
    [TestCaseSource(nameof(Repeats))]
    public void Findings_are_exactly(string text, string[] expected)
    {
        string[] found = [.. Findings(Prelude + text)];
        Assert.That(found, Has.Length.EqualTo(expected.Length), string.Join('\n', found));
        for (int i = 0; i < expected.Length; i++)
        {
            if (expected[i].EndsWith("connection stays", StringComparison.Ordinal)) Assert.That(found[i], Does.StartWith(expected[i]));
            else Assert.That(found[i], Is.EqualTo(expected[i]));
        }
    }

    [Test]
    public void An_empty_text_names_all_that_is_missing() => Assert.That(Findings(""), Is.EqualTo(new[]
    {
        "1:1 error: the box has no role",
        "1:1 error: the external interface is missing",
        "1:1 error: the hostname is missing",
        "1:1 error: the internal interface is missing",
    }));

    [Test]
    public void A_sharer_without_internal_gw_is_warned() =>
        Assert.That(Findings(Prelude.Replace("internal gw 192.168.1.1", "", StringComparison.Ordinal)), Has.One.StartsWith("6:1 warning: a sharer without internal gw"));

    [Test]
    public void A_cluster_of_65_boxes_is_refused()
    {
        string peers = string.Concat(Enumerable.Range(1, 64).Select(i => $"peer p{i} at 10.255.0.{i + 1}\n"));
        Assert.That(Findings(Prelude + "interface sync eth2 10.255.0.1/24\nkey file k\n" + peers), Is.EqualTo(new[] { "72:1 error: a cluster has at most 64 boxes" }));
    }

    [Test]
    public void A_finding_shows_the_line_a_caret_and_the_remedy()
    {
        var text = new StringWriter { NewLine = "\n" };
        ConfigurationParser.Parse(Prelude + "\tlog levl info", "gw1.conf").Write(text);
        Assert.That(text.ToString(), Is.EqualTo(
            "gw1.conf:7:6: error: unexpected 'levl'; expected 'level'; did you mean 'level'?\n    \tlog levl info\n    \t    ^~~~\n  hint: syntax: log level error|warning|info|debug\n"));
    }

    [Test]
    public void A_hundred_errors_are_kept_and_the_rest_is_counted()
    {
        ParseResult result = ConfigurationParser.Parse(string.Concat(Enumerable.Repeat("nonsense\n", 5000)), "x");
        Assert.Multiple(() =>
        {
            Assert.That(result.Diagnostics, Has.Count.EqualTo(100));
            Assert.That(result.Left, Is.EqualTo(4900));
        });
    }

    [Test]
    public void Long_lines_and_texts_are_refused()
    {
        Assert.That(Findings(Prelude + new string('a', 1001)), Is.EqualTo(new[] { "7:1001 error: the line is longer than 1,000 characters" }));
        Assert.That(Findings(new string('\n', ConfigurationParser.MaxText + 1)), Is.EqualTo(new[] { "1:1 error: the file is longer than 1 MiB" }));
    }

    [Test]
    public void Control_characters_of_a_file_do_not_reach_the_terminal()
    {
        var text = new StringWriter();
        ConfigurationParser.Parse("hostname a\u001b[2J", "x").Write(text);
        Assert.That(text.ToString(), Does.Not.Contain('\u001b'));
    }

    [Test]
    public void Line_ends_and_a_byte_order_mark_do_not_matter()
    {
        Configuration? unix = ConfigurationParser.Parse(Prelude + Www, "x").Configuration;
        Configuration? dos = ConfigurationParser.Parse("\ufeff" + (Prelude + Www).Replace("\n", "\r\n", StringComparison.Ordinal), "x").Configuration;
        Assert.That(unix, Is.Not.Null.And.EqualTo(dos));
    }

    internal static IEnumerable<string> Findings(string text) => ConfigurationParser.Parse(text, "x").Diagnostics.Select(d =>
        $"{d.Span.Line}:{d.Span.Column} {(d.Severity == DiagnosticSeverity.Error ? "error" : "warning")}: {d.Message}"
        + (d.Suggestion is null ? "" : $"; did you mean '{d.Suggestion}'?") + (d.FirstPlace is { } first ? $" ({first.Line})" : ""));

    private static TestCaseData Case(string text, string[] findings) => new TestCaseData(text, findings).SetArgDisplayNames(text[Math.Max(0, text.Length - 60)..].ReplaceLineEndings(" / "));
}
