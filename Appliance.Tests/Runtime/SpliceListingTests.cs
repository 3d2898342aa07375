using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Appliance.Control.Runtime;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>Pages and filters of `show splices` over a table of 1,000 splices in memory, read as the manager reads it.</summary>
[TestFixture]
public sealed class SpliceListingTests
{
    private const int Capacity = 4096, Splices = 1000;
    private const long Now = 10_000_000_000;

    private SharedRegion _flows = null!, _records = null!;
    private SpliceTable _table = null!;
    private SpliceListing _listing = null!;

    [OneTimeSetUp]
    public void Fill()
    {
        _flows = SharedRegion.Anonymous(SpliceTable.FlowBytes(Capacity));
        _records = SharedRegion.Anonymous(SpliceTable.RecordBytes(Capacity));
        _table = new SpliceTable(_flows.Address, _records.Address, Capacity, seed: 7, new Quiescence());
        for (int i = 0; i < Splices; i++)
        {
            SpliceRecord record = Record(i);
            Assert.That(_table.Install(record, 1, 2, Now - 5_000_000, out int index, out _), Is.EqualTo(InstallResult.Installed));
            _table.Entry(_table.Record(index).ToServer).Packets = i;
        }
        _listing = new SpliceListing(
            [new SpliceTables(TableReader<SpliceRecord>.Open(_records.Address, _records.Length)!, TableReader<RewriteEntry>.Open(_flows.Address, _flows.Length)!)],
            id => id == 1 ? "WWW" : "SHOP", node => $"gw{node + 1}");
    }

    [OneTimeTearDown]
    public void Free()
    {
        _flows.Dispose();
        _records.Dispose();
    }

    [Test]
    public void Pages_hold_every_splice_once()
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (int page = 1; page <= Splices / SpliceListing.PageSize; page++)
        {
            JsonObject document = _listing.Page(SpliceFilter.All, page, Now);
            Assert.That(document["pages"]!.GetValue<long>(), Is.EqualTo(Splices / SpliceListing.PageSize));
            JsonArray rows = document["splices"]!.AsArray();
            Assert.That(rows, Has.Count.EqualTo(SpliceListing.PageSize));
            foreach (JsonNode? row in rows) Assert.That(seen.Add(row!["client"]!.GetValue<string>()), Is.True);
        }
        Assert.That(seen, Has.Count.EqualTo(Splices));
        JsonObject beyond = _listing.Page(SpliceFilter.All, 1000, Now);
        Assert.That(beyond["splices"]!.AsArray(), Is.Empty, "beyond the last page");
        Assert.That(ShowText.PageProblem(beyond), Is.EqualTo("there is no page 1000: the splices that match (1000) have 20 pages"));
        Assert.That(ShowText.PageProblem(_listing.Page(SpliceFilter.Parse("state=time-wait"), 1, Now)), Is.Null, "the first page may be empty");
    }

    [TestCase("", ExpectedResult = 1000)]
    [TestCase("service=WWW", ExpectedResult = 500)]
    [TestCase("service=WWW,real=192.168.1.11", ExpectedResult = 250)]
    [TestCase("state=half-closed", ExpectedResult = 100)]
    [TestCase("state=TimeWait", ExpectedResult = 0)]
    [TestCase("client=198.51.100.7", ExpectedResult = 10)]
    [TestCase("client=198.51.100.7 service=SHOP", ExpectedResult = 0)]
    [TestCase("client=2001:db8::1", ExpectedResult = 0)]
    public long Filters_count_what_they_let_through(string filter)
    {
        JsonObject document = _listing.Page(SpliceFilter.Parse(filter), 1, Now);
        Assert.That(document["total"]!.GetValue<long>(), Is.EqualTo(Splices));
        long matching = document["matching"]!.GetValue<long>();
        Assert.That(document["states"]!.AsObject().Sum(s => s.Value!.GetValue<long>()), Is.EqualTo(matching));
        Assert.That(document["splices"]!.AsArray(), Has.Count.EqualTo(Math.Min(matching, SpliceListing.PageSize)));
        return matching;
    }

    [TestCase("foo=1", "'foo=1' does not filter splices")]
    [TestCase("client=nobody", "'nobody' is not an address")]
    [TestCase("client=", "'' is not an address")]
    [TestCase("state=free", "'free' is not a state")]
    [TestCase("service=", "does not filter")]
    public void What_is_no_filter_is_refused(string filter, string sentence) =>
        Assert.That(() => SpliceFilter.Parse(filter), Throws.TypeOf<ShowException>().With.Message.Contains(sentence));

    [Test]
    public void A_row_says_who_how_and_how_much()
    {
        JsonObject row = _listing.Page(SpliceFilter.Parse("client=198.51.100.7"), 1, Now)["splices"]!.AsArray()[0]!.AsObject();
        Assert.That(row["client"]!.GetValue<string>(), Does.StartWith("198.51.100.7:"));
        Assert.That(row["service"]!.GetValue<string>(), Is.EqualTo("WWW"));
        Assert.That(row["idleMs"]!.GetValue<long>(), Is.EqualTo(5));
        Assert.That(row["packetsUp"]!.GetValue<long>() % 100, Is.EqualTo(6));
        Assert.That(row["details"]!["id"]!.GetValue<string>(), Has.Length.EqualTo(16));
        string text = ShowText.Render(_listing.Page(SpliceFilter.All, 1, Now));
        string[] lines = text.TrimEnd().Split('\n');
        string[] table = lines[^(SpliceListing.PageSize + 1)..];
        Assert.That(table[0], Does.StartWith("client").And.Contain("packets-up").And.Not.Contain("details"));
        int column = table[0].IndexOf("service", StringComparison.Ordinal);
        Assert.That(table.Skip(1).Select(l => l[column - 1]), Is.All.EqualTo(' '), "columns are aligned");
    }

    [Test]
    public void A_record_under_change_is_left_out_or_whole()
    {
        int index = _table.FindRecord(Record(3).Id);
        ref SpliceRecord record = ref _table.Record(index);
        uint guard = record.Guard;
        SeqLock.BeginWrite(ref record.Guard);
        Assert.That(_listing.Page(SpliceFilter.All, 1, Now)["total"]!.GetValue<long>(), Is.EqualTo(Splices - 1));
        record.Guard = guard;
        Assert.That(_listing.Page(SpliceFilter.All, 1, Now)["total"]!.GetValue<long>(), Is.EqualTo(Splices));
        Assert.That(Marshal.SizeOf<SpliceRecord>(), Is.EqualTo(256));
    }

    // 100 clients with 10 connections each; even ones at service 1; two reals; every tenth half-closed.
    private static SpliceRecord Record(int i) => new()
    {
        Id = (ulong)i + 1000,
        Version = 1,
        Client = IpAddr.FromV4(0xc633_6401 + (uint)(i % 100)),
        Virtual = IpAddr.FromV4(0xcb00_710a),
        Source = IpAddr.FromV4(0xc633_6401 + (uint)(i % 100)),
        Real = IpAddr.FromV4(0xc0a8_010b + (uint)(i / 2 % 2)),
        ClientPort = (ushort)(20000 + i),
        SourcePort = (ushort)(20000 + i),
        VirtualPort = 80,
        RealPort = 80,
        Service = i % 2 == 0 ? 1u : 2u,
        State = i % 10 == 0 ? SpliceState.HalfClosed : SpliceState.Established,
    };
}
