using Appliance.DataPath.Flow;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using BenchmarkDotNet.Attributes;

namespace Appliance.Bench;

/// <summary>
/// The per-packet function: alone, and behind key, hash, lookup and consistent copy of the entry,
/// in batches of 32 with prefetch and in an order that no prefetcher can guess. One operation is one packet: IPv4, TCP with
/// timestamps, scales that differ. Frames are parsed before; <see cref="Parse"/> says what that costs.
/// </summary>
public class RewriteBench
{
    private const int Packets = 1 << 14;
    private const int Batch = 32;
    private const int FrameLength = 66 + 34;
    private const ulong Seed = 0x1234_5678_9abc_def1;

    private readonly int[] _order = new int[Packets];
    private readonly byte[][] _frames = new byte[Batch][];
    private readonly FlowKey[] _keys = new FlowKey[Batch];
    private readonly ulong[] _hashes = new ulong[Batch];
    private FlowTable<RewriteEntry> _table = null!;
    private RewriteEntry _entry;

    /// <summary>Flows in the table.</summary>
    [Params(1_000, 1_000_000)]
    public int Flows { get; set; }

    /// <summary>Fills the table and checks that a rewritten frame has the right addresses and checksums.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _table = new FlowTable<RewriteEntry>(Flows, Seed, new Quiescence());
        for (int n = 0; n < Flows; n++)
        {
            RewriteEntry entry = EntryOf(n);
            if (!_table.TryInsert(in entry, entry.Key.Hash(Seed), out _)) throw new InvalidOperationException("the table is full");
        }
        var random = new Random(1);
        for (int i = 0; i < Packets; i++) _order[i] = random.Next(Flows);
        for (int i = 0; i < Batch; i++) _frames[i] = FrameOf(_order[i]);
        _entry = EntryOf(_order[0]);
        Check();
    }

    /// <summary>Frees the table.</summary>
    [GlobalCleanup]
    public void Cleanup() => _table.Dispose();

    /// <summary>Parsing a frame.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int Parse()
    {
        int sum = 0;
        for (int i = 0; i < Packets; i++)
        {
            if (Packet.TryParse(_frames[i & (Batch - 1)], out Packet packet, out _)) sum += packet.Layout.End;
        }
        return sum;
    }

    /// <summary>The rewrite, parsed before, its entry at hand.</summary>
    [Benchmark(Baseline = true, OperationsPerInvoke = Packets)]
    public int Rewrite()
    {
        Span<byte> frame = _frames[0];
        if (!Packet.TryParse(frame, out Packet packet, out _)) return -1;
        VnetHeader vnet = default;
        int dropped = 0;
        for (int i = 0; i < Packets; i++)
        {
            frame[22] = 64;
            if (Rewriter.Rewrite(in packet, in vnet, in _entry) != DropReason.None) dropped++;
        }
        return dropped;
    }

    /// <summary>Noting the packet's numbers in the progress line.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public long Observe()
    {
        if (!Packet.TryParse(_frames[0], out Packet packet, out _)) return -1;
        for (int i = 0; i < Packets; i++) Progress.Observe(ref _entry, in packet, i);
        return _entry.Packets;
    }

    /// <summary>Key, hash, lookup, copy, rewrite; in batches.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int LookupAndRewrite()
    {
        int dropped = 0;
        VnetHeader vnet = default;
        for (int at = 0; at < Packets; at += Batch)
        {
            // As a receive ring would: other packets in the same buffers.
            for (int i = 0; i < Batch; i++) Address(_frames[i], _order[at + i]);
            for (int i = 0; i < Batch; i++)
            {
                if (!Packet.TryParse(_frames[i], out Packet packet, out _)) return -1;
                _keys[i] = FlowKey.Of(in packet);
                _hashes[i] = _keys[i].Hash(Seed);
                _table.Prefetch(_hashes[i]);
            }
            for (int i = 0; i < Batch; i++) _table.PrefetchEntry(_hashes[i]);
            for (int i = 0; i < Batch; i++)
            {
                if (!Packet.TryParse(_frames[i], out Packet packet, out _)) return -1;
                int index = _table.Find(in _keys[i], _hashes[i]);
                if (index < 0 || !_table.TryRead(index, out RewriteEntry entry) || Rewriter.Rewrite(in packet, in vnet, in entry) != DropReason.None) dropped++;
            }
        }
        return dropped;
    }

    /// <summary>What <see cref="LookupAndRewrite"/> does besides: writing other packets, and parsing (twice).</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int Overhead()
    {
        int sum = 0;
        for (int at = 0; at < Packets; at += Batch)
        {
            for (int i = 0; i < Batch; i++) Address(_frames[i], _order[at + i]);
            for (int i = 0; i < 2 * Batch; i++)
            {
                if (Packet.TryParse(_frames[i & (Batch - 1)], out Packet packet, out _)) sum += packet.Layout.End;
            }
        }
        return sum;
    }

    private void Check()
    {
        if (LookupAndRewrite() != 0) throw new InvalidOperationException("flows not found");
        byte[] frame = FrameOf(_order[0]);
        RewriteEntry entry = EntryOf(_order[0]);
        bool right = Packet.TryParse(frame, out Packet packet, out _) && Rewriter.Rewrite(in packet, default, in entry) == DropReason.None && packet.Source == entry.NewSource && packet.Tcp.Seq.Value == 1000 + entry.SeqDelta
            && InternetChecksum.VerifyTransport(in packet) && InternetChecksum.VerifyIpv4Header(packet.Network[..20]);
        if (!right) throw new InvalidOperationException("wrong frame");
    }

    private static IpAddr ClientOf(int n) => IpAddr.FromV4(0x0a00_0000u + (uint)(n * 7));

    private static ushort PortOf(int n) => (ushort)(1024 + n % 60_000);

    private static RewriteEntry EntryOf(int n)
    {
        SpliceRecord record = default;
        (record.Client, record.Virtual, record.Source, record.Real) = (ClientOf(n), IpAddr.FromV4(0xcb00_710a), ClientOf(n), IpAddr.FromV4(0xc0a8_010b));
        (record.ClientPort, record.VirtualPort, record.SourcePort, record.RealPort) = (PortOf(n), 80, PortOf(n), 8080);
        (record.X, record.Y, record.Ds, record.ScaleClient, record.ScaleOursServer) = (1, (uint)n * 977, 12345, 7, 5);
        record.Options = SpliceOptions.Timestamps | SpliceOptions.ScaleClient | SpliceOptions.ScaleServer | SpliceOptions.SackClient | SpliceOptions.SackServer;
        RewriteEntryBuilder.Build(in record, 1, 0, 0, out RewriteEntry toServer, out _);
        return toServer;
    }

    private static byte[] FrameOf(int n)
    {
        byte[] frame = new byte[FrameLength];
        TcpSegmentSpec spec = default;
        (spec.Source, spec.Destination, spec.SourcePort, spec.DestinationPort) = (ClientOf(n), IpAddr.FromV4(0xcb00_710a), PortOf(n), 80);
        (spec.Seq, spec.Ack, spec.Flags, spec.Window) = (new(1000), new(2000), TcpFlags.Ack, 501);
        (spec.HasTimestamps, spec.TsVal, spec.TsEcr) = (true, 1, 2);
        if (FrameWriter.WriteTcp(frame, in spec, new byte[34]) != FrameLength || !TcpOptions.IsTimestampsOnly(frame.AsSpan(54, 12))) throw new InvalidOperationException("frame");
        return frame;
    }

    // A packet of flow n, as received; its checksums do not matter to the rewrite.
    private static void Address(Span<byte> frame, int n)
    {
        frame[22] = 64;
        ClientOf(n).WriteV4(frame[26..]);
        IpAddr.FromV4(0xcb00_710a).WriteV4(frame[30..]);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame[34..], PortOf(n));
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame[36..], 80);
    }
}
