using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using BenchmarkDotNet.Attributes;

namespace Appliance.Bench;

/// <summary>
/// The per-packet function over packets of varied flows, in an order that no prefetcher can guess: IPv4, TCP with
/// timestamps, scales that differ. Batches of 32 lie in the same buffers again and again, as in a receive ring; before
/// each batch the fields that name the flow are written anew (a rewritten frame needs no more), and each packet is
/// parsed. <see cref="Arrive"/> is what these two cost, contained in all the others.
/// </summary>
public class RewriteBench
{
    internal const int Packets = 1 << 18;
    private const int Batch = 32;
    private const int FrameLength = 66 + 34, Stride = 128;
    private const ulong Seed = 0x1234_5678_9abc_def1;

    private readonly int[] _order = new int[Packets];
    private readonly ulong[] _hashes = new ulong[Batch];
    private readonly int[] _hints = new int[Batch];
    private nint _frames;
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
        _frames = MemoryNative.Allocate(Batch * Stride);
        for (int i = 0; i < Batch; i++) FrameOf(_order[i]).CopyTo(Frame(i));
        _entry = EntryOf(_order[0]);
        Check();
    }

    /// <summary>Frees the table.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        _table.Dispose();
        MemoryNative.Free(_frames);
    }

    /// <summary>Packets arrive and are parsed.</summary>
    [Benchmark(Baseline = true, OperationsPerInvoke = Packets)]
    public int Arrive()
    {
        int sum = 0;
        for (int at = 0; at < Packets; at += Batch)
        {
            ArriveBatch(at);
            for (int i = 0; i < Batch; i++)
            {
                if (Packet.TryParse(Frame(i), out Packet packet, out _)) sum += packet.Layout.End;
            }
        }
        return sum;
    }

    /// <summary>The rewrite, its entry at hand.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int Rewrite()
    {
        int dropped = 0;
        VnetHeader vnet = default;
        for (int at = 0; at < Packets; at += Batch)
        {
            ArriveBatch(at);
            for (int i = 0; i < Batch; i++)
            {
                if (!Packet.TryParse(Frame(i), out Packet packet, out _) || Rewriter.Rewrite(in packet, in vnet, in _entry) != DropReason.None) dropped++;
            }
        }
        return dropped;
    }

    /// <summary>Noting the packet's numbers in the progress line of an entry at hand.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public long Observe()
    {
        for (int at = 0; at < Packets; at += Batch)
        {
            ArriveBatch(at);
            for (int i = 0; i < Batch; i++)
            {
                if (Packet.TryParse(Frame(i), out Packet packet, out _)) Progress.Observe(ref _entry, in packet, at);
            }
        }
        return _entry.Packets;
    }

    /// <summary>Key, hash, lookup, rewrite; one packet after the other.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int LookupAndRewrite()
    {
        int dropped = 0;
        for (int at = 0; at < Packets; at += Batch)
        {
            ArriveBatch(at);
            for (int i = 0; i < Batch; i++) dropped += Treat(Frame(i), 0, 0);
        }
        return dropped;
    }

    /// <summary>The same as the worker does it: buckets are asked for, then entries are located and asked for, then each packet is treated.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int PrefetchLookupAndRewrite()
    {
        int dropped = 0;
        for (int at = 0; at < Packets; at += Batch)
        {
            ArriveBatch(at);
            for (int i = 0; i < Batch; i++)
            {
                _hashes[i] = FlowKey.TryGuess(Frame(i), out FlowKey key) ? key.Hash(Seed) : 0;
                _table.Prefetch(_hashes[i]);
            }
            uint removals = _table.Removals;
            for (int i = 0; i < Batch; i++) _hints[i] = _table.Locate(_hashes[i]);
            for (int i = 0; i < Batch; i++) dropped += Treat(Frame(i), _hints[i], removals);
        }
        return dropped;
    }

    // As the packet path does: the owner reads its entries where they are.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Treat(Span<byte> frame, int hint, uint removals)
    {
        VnetHeader vnet = default;
        if (!Packet.TryParse(frame, out Packet packet, out _)) return 1;
        FlowKey key = FlowKey.Of(in packet);
        int index = _table.IsAt(hint, in key) && _table.Removals == removals ? hint : _table.Find(in key, key.Hash(Seed));
        return index >= 0 && Rewriter.Rewrite(in packet, in vnet, in _table.Entry(index)) == DropReason.None ? 0 : 1;
    }

    // The IP header on a multiple of four, as the receivers place it.
    private Span<byte> Frame(int slot) => MemoryNative.Span(_frames + slot * Stride + 2, FrameLength);

    private void Check()
    {
        if (LookupAndRewrite() != 0 || PrefetchLookupAndRewrite() != 0) throw new InvalidOperationException("flows not found");
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

    // Other packets in the same buffers; their checksums do not matter to the rewrite.
    private void ArriveBatch(int at)
    {
        ReadOnlySpan<int> order = _order.AsSpan(at, Batch);
        for (int i = 0; i < order.Length; i++)
        {
            Span<byte> frame = Frame(i);
            frame[22] = 64;
            BinaryPrimitives.WriteUInt32BigEndian(frame[26..], ClientOf(order[i]).V4);
            BinaryPrimitives.WriteUInt32BigEndian(frame[30..], 0xcb00_710a);
            BinaryPrimitives.WriteUInt16BigEndian(frame[34..], PortOf(order[i]));
            BinaryPrimitives.WriteUInt16BigEndian(frame[36..], 80);
        }
    }
}
