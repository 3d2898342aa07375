using Appliance.Control.Replication;
using Appliance.Control.Runtime;
using Appliance.Control.Sealing;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>Two workers' words to each other, through bridges and replicators, over a wire that the test carries datagram by datagram.</summary>
[TestFixture]
public sealed class RecordBridgeTests
{
    private const long Ms = 1_000_000;

    private End[] _ends = null!;
    private long _now = Ms;

    [SetUp]
    public void Connect()
    {
        _ends = [new End(0), new End(1)];
        foreach (End end in _ends) end.Replicator.SetLive(3, _now);
        for (int i = 0; i < 100; i++)
        {
            _now += Ms;
            foreach (End end in _ends) end.Replicator.Step(_now);
            Carry(0);
            Carry(1);
        }
        Assert.That(_ends.Select(e => e.Replicator.IsRefilled), Is.All.True);
        foreach (End end in _ends) end.Take();
    }

    [TearDown]
    public void Remove()
    {
        foreach (End end in _ends) end.Dispose();
    }

    [Test]
    public void Bytes_that_a_peer_holds_do_not_confirm_the_record_that_came_after_them()
    {
        SpliceEvent offered = _ends[0].Offer(10);
        SpliceEvent record = new() { Kind = SpliceEventKind.Changed, WantsConfirm = true, Ticket = offered.Ticket, Record = offered.Record };
        _ends[0].Say(offered, _now);
        _ends[0].Say(record, _now);
        // The datagram with the record is lost.
        List<byte[]> sent = _ends[0].Sent.ToList();
        _ends[0].Sent.Clear();
        Assert.That(sent, Has.Count.EqualTo(2));
        _ends[1].Replicator.Receive(sent[0], _now);
        _ends[1].Replicator.Step(_now);
        Assert.That(_ends[1].Take().Single().Length, Is.EqualTo(10));
        Carry(1);
        _ends[0].Bridge.Pump(_now);
        Assert.That(_ends[0].Take().Select(c => (c.Kind, c.Offset)), Is.EqualTo(new[] { (SpliceCommandKind.Confirmed, 10) }), "of the bytes, not of the record");
        _now += 1000 * Ms;
        _ends[0].Replicator.Step(_now);
        Carry(0);
        _ends[1].Replicator.Step(_now);
        Carry(1);
        Assert.That(_ends[0].Take().Select(c => (c.Kind, c.Offset)), Is.EqualTo(new[] { (SpliceCommandKind.Confirmed, 0) }), "the record, repeated");
    }

    [Test]
    public void An_offer_taken_back_comes_behind_its_bytes_and_is_confirmed_to_nobody()
    {
        SpliceEvent offered = _ends[0].Offer(600);
        _ends[0].Say(offered, _now);
        _ends[0].Handshakes.End(_ends[0].Handshakes.Find(offered.Ticket)!);
        _ends[0].Say(offered with { Length = 0, Offset = -1, WantsConfirm = false }, _now);
        Carry(0);
        List<SpliceCommand> told = _ends[1].Take();
        Assert.That(told.Sum(c => c.Length), Is.EqualTo(600));
        Assert.That(told.Select(c => (c.Kind, c.Record.Id, c.Record.B)), Is.All.EqualTo((SpliceCommandKind.OwnedBytes, offered.Record.Id, offered.Record.B)));
        Assert.That(told.FindIndex(c => c.Length == 0), Is.EqualTo(told.Count - 1));
        _ends[1].Replicator.Step(_now);
        Carry(1);
        _ends[0].Bridge.Pump(_now);
        Assert.That(_ends[0].Take(), Is.Empty);
    }

    private void Carry(byte from)
    {
        End to = _ends[1 - from];
        while (_ends[from].Sent.TryDequeue(out byte[]? datagram)) to.Replicator.Receive(datagram, _now);
    }

    private sealed class End : IDatagramSender, IDisposable
    {
        private static readonly Pool NoPool = new(1, "pool", 1, [], SendsProxyHeader: false);
        private static readonly Service Www = new(1, "WWW", IpAddr.FromV4(0xcb00_710a), 80, Acked: true, ShareMode.ByFlow, 40, [], [NoPool]);

        private readonly HeadBuffers _buffers = new(4, 4);
        private readonly SpscQueue<SpliceCommand> _toWorker = new(1024);
        private readonly SpscQueue<SpliceEvent> _fromWorker = new(16);

        public End(byte node)
        {
            BoxMemory memory = BoxMemory.Private(16, 7);
            Handshakes = new HandshakeTable(4, _buffers, 7, 0);
            Bridge = new RecordBridge(new SpliceTable(memory.Flows, memory.Records, 16, 7, memory.Quiescence), Handshakes, _toWorker, _fromWorker, () => { });
            byte[] salt = new byte[Incarnation.SaltBytes];
            salt[0] = (byte)(node + 1);
            Replicator = new Replicator(node, 3, new Incarnation(salt), ClusterKeys.Unsealed, Bridge, Bridge, this, simulated: new Random(node));
            Bridge.Connect(Replicator);
        }

        public Queue<byte[]> Sent { get; } = new();

        public RecordBridge Bridge { get; }

        public HandshakeTable Handshakes { get; }

        public Replicator Replicator { get; }

        public void Send(byte to, ReadOnlySpan<byte> datagram) => Sent.Enqueue(datagram.ToArray());

        public SpliceEvent Offer(int length)
        {
            FlowKey key = new(IpAddr.FromV4(0xc633_6401), Www.Address, 40_001, 80, Packet.ProtocolTcp);
            Handshake handshake = Handshakes.Begin(key, Www, default, new TcpSeq(1000), new TcpSeq(2000), 0, out _)!;
            SpliceEvent offer = new() { Kind = SpliceEventKind.OwnedBytes, Ticket = handshake.Ticket, WantsConfirm = true, Length = length, Bytes = _buffers.Address(handshake.Buffer) };
            ref SpliceRecord record = ref offer.Record;
            (record.Id, record.Version, record.A, record.B) = (handshake.RecordId, 1, 1000, 2000);
            (record.Client, record.Virtual, record.ClientPort, record.VirtualPort) = (key.Source, key.Destination, key.SourcePort, key.DestinationPort);
            (record.Source, record.SourcePort, record.Real, record.RealPort) = (key.Source, key.SourcePort, IpAddr.FromV4(0xc0a8_010b), 8080);
            return offer;
        }

        public void Say(in SpliceEvent message, long now)
        {
            _fromWorker.TryEnqueue(message);
            Bridge.Pump(now);
            Replicator.Step(now);
        }

        public List<SpliceCommand> Take()
        {
            List<SpliceCommand> all = [];
            while (_toWorker.TryDequeue(out SpliceCommand command)) all.Add(command);
            return all;
        }

        public void Dispose()
        {
            Replicator.Dispose();
            Bridge.Dispose();
            _buffers.Dispose();
        }
    }
}
