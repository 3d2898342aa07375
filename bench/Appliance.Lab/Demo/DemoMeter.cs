using System.Globalization;
using Appliance.Lab.Load;
using Appliance.Lab.Net;

namespace Appliance.Lab.Demo;

/// <summary>What the screen shows: bytes in bins of 100 ms, by kind of traffic, and the packets that each proxy received.</summary>
public sealed class DemoMeter(IReadOnlyList<Host> proxies)
{
    // A client's interval is known here this much after its end, at the latest.
    private const int BinMs = 100, LateMs = 250;

    private readonly Lock _gate = new();
    private readonly List<(string Name, long[] Counts)> _bins = [];
    private readonly Dictionary<string, long> _first = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _last = new(StringComparer.Ordinal);
    private readonly Dictionary<string, double> _rates = new(StringComparer.Ordinal);
    private long _startUnixMs;
    private TimeSpan _sampled;

    /// <summary>Packets per second of each proxy over the last sample.</summary>
    public IReadOnlyDictionary<string, double> Rates => _rates;

    public long Broken { get; private set; }

    public void Begin()
    {
        _startUnixMs = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        foreach (var host in proxies)
        {
            _first[host.Name] = _last[host.Name] = Received(host);
            _rates[host.Name] = 0;
        }
    }

    /// <summary>Adds a client's interval to the bin in which it ended.</summary>
    public void Take(string name, LoadLine line)
    {
        if (line.Bin is not { } bin)
        {
            return;
        }
        int index = (int)Math.Clamp((bin.EndUnixMs - _startUnixMs) / BinMs, 0, 10_000);
        lock (_gate)
        {
            var row = _bins.Find(b => b.Name == name);
            if (row.Counts is null)
            {
                row = (name, new long[10_001]);
                _bins.Add(row);
            }
            row.Counts[index] += bin.Bytes;
            Broken += bin.Broken;
        }
    }

    /// <summary>Reads the proxies' packet counters, unless it did so a moment ago and this is not the last time.</summary>
    public void Sample(TimeSpan now, bool isLast = false)
    {
        double seconds = (now - _sampled).TotalSeconds;
        if (seconds < 0.4 && !isLast)
        {
            return;
        }
        foreach (var host in proxies)
        {
            long received = Received(host);
            _rates[host.Name] = Math.Max(0, received - _last[host.Name]) / seconds;
            _last[host.Name] = received;
        }
        _sampled = now;
    }

    /// <summary>Packets that each proxy received since <see cref="Begin"/>.</summary>
    public IReadOnlyDictionary<string, long> Packets() => _last.ToDictionary(p => p.Key, p => p.Value - _first[p.Key], StringComparer.Ordinal);

    /// <summary>Bytes of each 100 ms, of one kind of traffic or (null) of all: up to an instant, also where there were none, or to the last byte.</summary>
    public IReadOnlyList<long> Bins(string? name = null, TimeSpan? until = null)
    {
        lock (_gate)
        {
            var rows = _bins.Where(b => name is null || b.Name == name).Select(b => b.Counts).ToList();
            int used = until is { } now ? (int)Math.Clamp((now.TotalMilliseconds - LateMs) / BinMs, 0, 10_000)
                : rows.Count == 0 ? 0 : rows.Max(r => Array.FindLastIndex(r, v => v != 0)) + 1;
            return Enumerable.Range(0, used).Select(i => rows.Sum(r => r[i])).ToList();
        }
    }

    /// <summary>Packets received on eth0 and eth1, the traffic links.</summary>
    private static long Received(Host host) => host.Enter(() => File.ReadLines("/proc/thread-self/net/dev")
        .Select(l => l.Split([' ', ':'], StringSplitOptions.RemoveEmptyEntries))
        .Where(f => f[0] is "eth0" or "eth1").Sum(f => long.Parse(f[2], CultureInfo.InvariantCulture)));
}
