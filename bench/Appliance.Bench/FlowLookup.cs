using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using BenchmarkDotNet.Attributes;

namespace Appliance.Bench;

/// <summary>
/// Hash, lookup, and a consistent copy of the entry, per packet, in an order that no prefetcher can
/// guess. One operation is one packet.
/// </summary>
public class FlowLookup
{
    internal const int Packets = 1 << 18;
    private const int Batch = 32;
    private const ulong Seed = 0x1234_5678_9abc_def1;

    private readonly FlowKey[] _keys = new FlowKey[Packets];
    private readonly ulong[] _hashes = new ulong[Batch];
    private FlowTable<RewriteEntry> _table = null!;

    /// <summary>Flows in the table.</summary>
    [Params(1_000, 1_000_000)]
    public int Flows { get; set; }

    /// <summary>Fills the table and checks that each way of looking up finds every packet's entry.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _table = new FlowTable<RewriteEntry>(Flows, Seed, new Quiescence());
        var random = new Random(1);
        for (int n = 0; n < Flows; n++)
        {
            var entry = new RewriteEntry { Key = KeyOf(n), SeqDelta = (uint)n };
            if (!_table.TryInsert(in entry, entry.Key.Hash(Seed), out _)) throw new InvalidOperationException("the table is full");
        }
        ulong sum = 0;
        for (int i = 0; i < Packets; i++)
        {
            int n = random.Next(Flows);
            _keys[i] = KeyOf(n);
            sum += (uint)n;
        }
        if (One() != sum || Batches() != sum) throw new InvalidOperationException("wrong entries");
    }

    /// <summary>Frees the table.</summary>
    [GlobalCleanup]
    public void Cleanup() => _table.Dispose();

    /// <summary>Hash alone.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public ulong Hash()
    {
        ulong sum = 0;
        foreach (ref readonly FlowKey key in _keys.AsSpan()) sum += key.Hash(Seed);
        return sum;
    }

    /// <summary>One packet after the other.</summary>
    [Benchmark(Baseline = true, OperationsPerInvoke = Packets)]
    public ulong One()
    {
        ulong sum = 0;
        foreach (ref readonly FlowKey key in _keys.AsSpan())
        {
            int index = _table.Find(in key, key.Hash(Seed));
            if (index >= 0 && _table.TryRead(index, out RewriteEntry copy)) sum += copy.SeqDelta;
        }
        return sum;
    }

    /// <summary>In batches of 32: buckets, then entries, then the lookups with copies.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public ulong Batches()
    {
        ulong sum = 0;
        for (int at = 0; at < Packets; at += Batch)
        {
            Span<FlowKey> keys = _keys.AsSpan(at, Batch);
            for (int i = 0; i < Batch; i++)
            {
                _hashes[i] = keys[i].Hash(Seed);
                _table.Prefetch(_hashes[i]);
            }
            for (int i = 0; i < Batch; i++) _table.Locate(_hashes[i]);
            for (int i = 0; i < Batch; i++)
            {
                int index = _table.Find(in keys[i], _hashes[i]);
                if (index >= 0 && _table.TryRead(index, out RewriteEntry copy)) sum += copy.SeqDelta;
            }
        }
        return sum;
    }

    /// <summary>In batches of 32, without the copy: what a worker does, which owns the entry.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int FindInBatches()
    {
        int sum = 0;
        for (int at = 0; at < Packets; at += Batch)
        {
            ReadOnlySpan<FlowKey> keys = _keys.AsSpan(at, Batch);
            for (int i = 0; i < keys.Length; i++)
            {
                _hashes[i] = keys[i].Hash(Seed);
                _table.Prefetch(_hashes[i]);
            }
            for (int i = 0; i < keys.Length; i++) _table.Locate(_hashes[i]);
            for (int i = 0; i < keys.Length; i++) sum += _table.Find(in keys[i], _hashes[i]);
        }
        return sum;
    }

    /// <summary>Hash and lookup without the copy: what the seqlock costs.</summary>
    [Benchmark(OperationsPerInvoke = Packets)]
    public int FindOnly()
    {
        int sum = 0;
        foreach (ref readonly FlowKey key in _keys.AsSpan()) sum += _table.Find(in key, key.Hash(Seed));
        return sum;
    }

    private static FlowKey KeyOf(int n) =>
        new(IpAddr.FromV4(0x0a00_0000u + (uint)(n * 7)), IpAddr.FromV4(0xcb00_710a), (ushort)(1024 + n % 60_000), 80, Packet.ProtocolTcp);
}
