using System.Numerics;
using Appliance.DataPath.Balance;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Wire;
using BenchmarkDotNet.Attributes;

namespace Appliance.Bench;

/// <summary>Sharing load: building and asking the Maglev table, spreading packets.</summary>
public class Balancing
{
    private const int Lookups = 4096;

    private readonly ulong[] _hashes = new ulong[Lookups];
    private MaglevTables _tables = null!;
    private MaglevTable _table = null!;
    private PacketSpreader _spreader = null!;
    private ulong _all;

    /// <summary>Nodes in the set.</summary>
    [Params(3, 64)]
    public int Nodes { get; set; }

    /// <summary>Builds once and checks the shares.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var names = new ulong[Nodes];
        for (int i = 0; i < Nodes; i++) names[i] = FlowKey.HashEndpoint(IpAddr.FromV4((uint)i), 1, 9);
        _all = ulong.MaxValue >> (64 - Nodes);
        _tables = new MaglevTables(names, 1);
        _table = _tables.For(_all);
        _spreader = new PacketSpreader(40);
        _spreader.Update(_all, []);
        Rebuild();
        var counts = new int[Nodes];
        for (int i = 0; i < Lookups * 64; i++) counts[_table.Lookup(FlowKey.HashEndpoint(IpAddr.FromV4((uint)i), 7, 3))]++;
        int share = Lookups * 64 / Nodes;
        if (BitOperations.PopCount(_table.Usable) != Nodes || counts.Min() < share * 8 / 10) throw new InvalidOperationException("unequal shares");
        for (int i = 0; i < Lookups; i++) _hashes[i] = FlowKey.HashEndpoint(IpAddr.FromV4((uint)i), 7, 3);
    }

    /// <summary>The whole table anew.</summary>
    [Benchmark]
    public void Rebuild() => _tables.Build(_table, _all);

    /// <summary>One lookup.</summary>
    [Benchmark(OperationsPerInvoke = Lookups)]
    public int Lookup()
    {
        int sum = 0;
        foreach (ulong hash in _hashes) sum += _table.Lookup(hash);
        return sum;
    }

    /// <summary>One packet by the spreader.</summary>
    [Benchmark(OperationsPerInvoke = Lookups)]
    public int Spread()
    {
        int sum = 0;
        for (int i = 0; i < Lookups; i++) sum += _spreader.Next();
        return sum;
    }
}
