using System.Diagnostics;
using System.Net;

namespace Appliance.Lab.Load;

/// <summary>
/// Runs one <see cref="LoadOptions"/>: starts the connections, reports intervals and each connection's end as lines,
/// and sums up. It never repeats a request by itself: what breaks is reported as broken.
/// </summary>
public sealed class LoadClient(LoadOptions options, Action<LoadLine> report)
{
    private static readonly TimeSpan BinLength = TimeSpan.FromMilliseconds(100);

    private readonly LoadTotals _totals = new();
    private readonly List<LoadConnection> _connections = [];

    /// <summary>Runs to the end of all connections or of the time limit.</summary>
    public async Task<LoadSummary> Run()
    {
        var target = new IPEndPoint(IPAddress.Parse(options.Address), options.Port);
        long start = Stopwatch.GetTimestamp();
        _totals.MeasureFrom = start + (long)(options.WarmupSeconds * Stopwatch.Frequency);
        _totals.Deadline = start + (long)((options.WarmupSeconds + options.Seconds) * Stopwatch.Frequency);
        using var stop = new CancellationTokenSource();
        var watch = Watch(start, stop.Token);
        var runs = new List<Task>();
        for (int i = 0; i < options.Connections; i++)
        {
            var connection = new LoadConnection(i, options, target, _totals, slow => report(new LoadLine { Slow = slow }));
            lock (_connections)
            {
                _connections.Add(connection);
            }
            runs.Add(RunOne(connection, i * options.SpreadMs / options.Connections));
        }
        await Task.WhenAll(runs).ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds - options.WarmupSeconds;
        await stop.CancelAsync().ConfigureAwait(false);
        await watch.ConfigureAwait(false);
        var summary = Summary(seconds);
        report(new LoadLine { Summary = summary });
        return summary;
    }

    private async Task RunOne(LoadConnection connection, double delayMs)
    {
        await Task.Yield();
        if (delayMs > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(delayMs)).ConfigureAwait(false);
        }
        await connection.Run().ConfigureAwait(false);
        report(new LoadLine { Connection = connection.Result() });
    }

    /// <summary>Reports intervals and closes what makes no progress.</summary>
    private async Task Watch(long start, CancellationToken cancel)
    {
        using var timer = new PeriodicTimer(BinLength);
        long bytes = 0, requests = 0, broken = 0;
        try
        {
            while (await timer.WaitForNextTickAsync(cancel).ConfigureAwait(false))
            {
                var (b, r, x) = _totals.Progress();
                if (options.Bins)
                {
                    report(new LoadLine { Bin = new LoadBin(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), b - bytes, r - requests, x - broken) });
                }
                (bytes, requests, broken) = (b, r, x);
                bool over = Stopwatch.GetElapsedTime(start).TotalSeconds > options.LimitSeconds;
                lock (_connections)
                {
                    _connections.ForEach(c => c.CloseIfStalled(over));
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The run is over.
        }
    }

    private LoadSummary Summary(double seconds)
    {
        var (bytes, requests, broken) = _totals.Progress();
        var latency = new LatencyHistogram();
        var errors = new Dictionary<string, int>(StringComparer.Ordinal);
        var servers = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var connection in _connections)
        {
            latency.Add(connection.Latency);
            Sum(errors, connection.Errors);
            Sum(servers, connection.Servers);
        }
        return new LoadSummary
        {
            Mode = options.Mode.ToString().ToLowerInvariant(),
            Connections = options.Connections,
            Broken = broken,
            Resets = errors.GetValueOrDefault("reset"),
            Bytes = bytes,
            MismatchedBytes = _connections.Sum(c => c.Mismatched),
            ShaVerified = _connections.Sum(c => c.ShaVerified),
            Requests = requests,
            Seconds = seconds,
            MbitPerSecond = bytes * 8 / seconds / 1e6,
            PerSecond = requests / seconds,
            P50Us = latency.Quantile(0.50) / 1e3,
            P99Us = latency.Quantile(0.99) / 1e3,
            MaxUs = latency.Max / 1e3,
            LongestSilenceMs = _connections.Max(c => c.LongestSilenceNs) / 1e6,
            Errors = errors,
            Servers = servers,
        };
    }

    private static void Sum(Dictionary<string, int> into, Dictionary<string, int> from)
    {
        foreach (var (key, count) in from)
        {
            into[key] = into.GetValueOrDefault(key) + count;
        }
    }
}

/// <summary>What all connections of a run count together; read by the interval report while they run.</summary>
internal sealed class LoadTotals
{
    private long _bytes;
    private long _requests;
    private long _broken;
    private long _started;

    /// <summary>Timestamp from which on requests that end are counted.</summary>
    public long MeasureFrom { get; set; }

    /// <summary>Timestamp after which no new request starts.</summary>
    public long Deadline { get; set; }

    public void AddBytes(long count) => Interlocked.Add(ref _bytes, count);

    public void AddRequest() => Interlocked.Increment(ref _requests);

    public void AddBroken() => Interlocked.Increment(ref _broken);

    /// <summary>Number of this request among all, from 1.</summary>
    public long NextRequest() => Interlocked.Increment(ref _started);

    public (long Bytes, long Requests, long Broken) Progress() =>
        (Interlocked.Read(ref _bytes), Interlocked.Read(ref _requests), Interlocked.Read(ref _broken));
}
