using System.Text.Json.Nodes;
using Appliance.Control.Runtime;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>The tables and counters of several workers, as replication, the manager and the next engine see them.</summary>
[TestFixture]
public sealed class WorkerTablesTests
{
    private const int Workers = 3, Splices = 200, Capacity = 256;

    private EngineFiles _files = null!;
    private SpliceTable[] _tables = null!;
    private string _directory = "";

    [SetUp]
    public void Fill()
    {
        _directory = Directory.CreateTempSubdirectory("workers").FullName;
        _files = EngineFiles.Create(Random.Shared.NextInt64(), Capacity, Workers);
        Quiescence quiescence = new();
        _tables = [.. Enumerable.Range(0, Workers).Select(i => Table(_files.ToBoxMemory(i, 7, quiescence)))];
        for (int i = 0; i < Splices; i++)
        {
            SpliceRecord record = Record(i);
            Assert.That(_tables[Owner(record, Workers)].Install(record, 1, 2, 5, out _, out _), Is.EqualTo(InstallResult.Installed));
        }
        Assert.That(_tables.Select(t => t.Count), Has.All.GreaterThan(Splices / Workers / 2));
    }

    [TearDown]
    public void Remove()
    {
        _files.Unlink();
        _files.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Test]
    public void A_full_transfer_walks_the_tables_of_all_workers_and_meets_every_record_once()
    {
        using Bridges bridges = new(_tables);
        HashSet<ulong> met = [];
        long cursor = 0, last = -1;
        for (SourceResult result = SourceResult.Pause; result != SourceResult.End;)
        {
            SpliceRecord record = default;
            SpliceProgress progress = default;
            result = bridges.Router.Next(ref cursor, ref record, ref progress, out _, out _);
            Assert.That(cursor, Is.GreaterThanOrEqualTo(last), "a stretch is told by two numbers");
            last = cursor;
            if (result == SourceResult.Record) Assert.That(met.Add(record.Id), Is.True);
        }
        Assert.That(met, Has.Count.EqualTo(Splices));
    }

    [Test]
    public void A_full_tables_last_slot_ends_its_walk()
    {
        SpliceTable full = Table(BoxMemory.Private(16, 7), 16);
        for (int i = 0; full.Count < full.Capacity; i++) Assert.That(full.Install(Record(i), 1, 2, 5, out _, out _), Is.EqualTo(InstallResult.Installed));
        using Bridges bridges = new([full, _tables[0]]);
        long cursor = 0;
        int met = 0;
        for (SourceResult result = SourceResult.Pause; result != SourceResult.End; Assert.That(met, Is.LessThan(1000)))
        {
            SpliceRecord record = default;
            SpliceProgress progress = default;
            result = bridges.Router.Next(ref cursor, ref record, ref progress, out _, out _);
            if (result == SourceResult.Record) met++;
        }
        Assert.That(met, Is.EqualTo(full.Count + _tables[0].Count));
    }

    [Test]
    public void What_peers_say_goes_to_the_worker_of_the_client_or_where_only_an_id_is_known_to_all()
    {
        using Bridges bridges = new(_tables);
        for (int i = 0; i < Splices; i++)
        {
            SpliceRecord record = Record(i);
            bridges.Router.Import(1, record, default);
            bridges.Router.Choice(1, new ChoiceRecord { Id = record.Id + 1, Client = record.Client, ClientPort = record.ClientPort });
            Assert.That(bridges.Take(Owner(record, Workers)), Is.EqualTo(new[] { SpliceCommandKind.Import, SpliceCommandKind.Choice }));
            bridges.Router.Progress(1, record.Id, default);
            bridges.Router.Remove(1, record.Id, 9);
            bridges.Router.Filling(1);
            for (int worker = 0; worker < Workers; worker++) Assert.That(bridges.Take(worker), Is.EqualTo(new[] { SpliceCommandKind.Progress, SpliceCommandKind.Remove, SpliceCommandKind.NodeJoins }));
        }
    }

    [Test]
    public void A_peers_question_is_answered_from_the_table_that_holds_the_record()
    {
        using Bridges bridges = new(_tables);
        for (int i = 0; i < Splices; i++)
        {
            SpliceRecord asked = Record(i), record = default;
            SpliceProgress progress = default;
            ChoiceRecord choice = default;
            OwnerQuery query = new() { Id = asked.Id, Client = asked.Client, Virtual = asked.Virtual, ClientPort = asked.ClientPort, VirtualPort = asked.VirtualPort };
            Assert.That(bridges.Router.Query(1, query, ref record, ref progress, ref choice), Is.EqualTo(AnswerKind.Splice));
            Assert.That(record.Id, Is.EqualTo(asked.Id));
        }
    }

    [Test]
    public void The_next_engine_gets_every_record_whatever_its_number_of_workers([Values(1, 2, 5)] int workers)
    {
        SpscQueue<SpliceCommand>[] queues = [.. Enumerable.Range(0, workers).Select(_ => new SpscQueue<SpliceCommand>(512))];
        Assert.That(TableRefill.Run(_files.Address, queues, () => { }), Is.EqualTo(Splices));
        HashSet<ulong> met = [];
        for (int worker = 0; worker < workers; worker++)
        {
            while (queues[worker].TryDequeue(out SpliceCommand command))
            {
                Assert.That((command.Kind, Owner(command.Record, workers)), Is.EqualTo((SpliceCommandKind.Import, worker)));
                Assert.That(met.Add(command.Record.Id), Is.True);
            }
        }
        Assert.That(met, Has.Count.EqualTo(Splices));
    }

    [Test]
    public void The_manager_adds_workers_up()
    {
        EngineEventRing.Create(_files.Events, 1);
        for (int i = 0; i < Workers; i++)
        {
            WorkerStatus worker = _files.Status.Workers[i];
            worker.Statistics[Counter.Received] = 10 + i;
            worker.Statistics[DropReason.HandoverFull] = i;
            worker.Statistics.Node(2, 1) = 100;
            worker.Port(LinkRole.Internal).Set(new PortCounters { SentBytes = 7, Truncated = 1 });
        }
        _files.Announce(_directory);
        using EngineView view = EngineView.Open(_directory)!;
        Statistics sum = Statistics.Private();
        for (int twice = 0; twice < 2; twice++) view.Status.Sum(sum);
        Assert.That((sum[Counter.Received], sum[DropReason.HandoverFull], sum.Node(2, 1), sum[Counter.Cycles]), Is.EqualTo((33L, 3L, 300L, 0L)));
        PortStatus port = view.Status.Port(LinkRole.Internal);
        Assert.That((port.SentBytes, port.Truncated, port.SentFrames), Is.EqualTo((21L, 3L, 0L)));
        JsonObject page = new SpliceListing(view.Tables, _ => "WWW", _ => "gw1").Page(SpliceFilter.All, 1, 5);
        Assert.That(page["total"]!.GetValue<long>(), Is.EqualTo(Splices));
    }

    [Test]
    public void A_version_is_built_once_and_the_next_waits_until_every_worker_has_taken_it()
    {
        Membership first = new([1, 2]), second = new(first);
        Membership[] all = [first, second];
        for (int version = 1; version < 10; version++)
        {
            MembershipSlot slot = LivenessBridge.Prepare(all, out byte number)!;
            slot.Version = (uint)version;
            slot.Use((ulong)(version / 2 % 3));
            foreach (Membership membership in all) membership.Posted(number);
            Assert.That(LivenessBridge.Prepare(all, out _), Is.Null);
            all[version % 2].Apply(number, version);
            Assert.That(LivenessBridge.Prepare(all, out _), Is.Null, "one has it, one has not");
            all[1 - version % 2].Apply(number, version);
            Assert.That((first.Current!.Version, second.Current), Is.EqualTo(((uint)version, first.Current)));
            Assert.That(second.ChangedAt, Is.EqualTo(first.ChangedAt));
            Assert.That(second.HasMoved(7, 0, version, 100), Is.EqualTo(first.HasMoved(7, 0, version, 100)));
        }
    }

    private static SpliceTable Table(BoxMemory memory, int capacity = Capacity) => new(memory.Flows, memory.Records, capacity, 7, memory.Quiescence);

    private static int Owner(in SpliceRecord record, int workers) => ClientShare.Of(record.Client, record.ClientPort, workers);

    private static SpliceRecord Record(int i) => new()
    {
        Id = (ulong)i + 1000,
        Version = 1,
        Client = i % 2 == 0 ? IpAddr.FromV4(0xc633_6401 + (uint)i) : new IpAddr(0x2001_0db8_0000_0000, (ulong)i),
        Virtual = IpAddr.FromV4(0xcb00_710a),
        Source = IpAddr.FromV4(0xc633_6401 + (uint)i),
        Real = IpAddr.FromV4(0xc0a8_010b),
        ClientPort = (ushort)(20000 + i),
        SourcePort = (ushort)(20000 + i),
        VirtualPort = 80,
        RealPort = 8080,
        State = SpliceState.Established,
    };

    /// <summary>A bridge per table, and the router over them.</summary>
    private sealed class Bridges : IDisposable
    {
        private readonly HeadBuffers _buffers = new(4, 4);
        private readonly RecordBridge[] _bridges;
        private readonly SpscQueue<SpliceCommand>[] _queues;

        public Bridges(SpliceTable[] tables)
        {
            _queues = [.. tables.Select(_ => new SpscQueue<SpliceCommand>(512))];
            _bridges = [.. tables.Select((t, i) => new RecordBridge(t, new HandshakeTable(4, _buffers, 7, 0), _queues[i], new SpscQueue<SpliceEvent>(4), () => { }))];
            Router = new RecordRouter(_bridges);
        }

        public RecordRouter Router { get; }

        public List<SpliceCommandKind> Take(int worker)
        {
            List<SpliceCommandKind> kinds = [];
            while (_queues[worker].TryDequeue(out SpliceCommand command)) kinds.Add(command.Kind);
            return kinds;
        }

        public void Dispose()
        {
            foreach (RecordBridge bridge in _bridges) bridge.Dispose();
            _buffers.Dispose();
        }
    }
}
