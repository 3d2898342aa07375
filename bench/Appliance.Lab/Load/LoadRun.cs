using Appliance.Lab.Net;

namespace Appliance.Lab.Load;

/// <summary>A load client that runs in a host: what it reported so far, and its end.</summary>
public sealed class LoadRun
{
    private readonly Lock _gate = new();
    private readonly Action<LoadLine>? _onLine;
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<LoadBin> _bins = [];
    private readonly List<ConnectionResult> _connections = [];
    private readonly List<(Func<bool> Condition, TaskCompletionSource Met)> _awaited = [];
    private LoadSummary? _summary;

    internal LoadRun(LoadMode mode, Action<LoadLine>? onLine)
    {
        Mode = mode;
        _onLine = onLine;
    }

    public LoadMode Mode { get; }

    public LabProcess Process { get; internal set; } = null!;

    public IReadOnlyList<LoadBin> Bins
    {
        get
        {
            lock (_gate)
            {
                return [.. _bins];
            }
        }
    }

    public IReadOnlyList<ConnectionResult> Connections
    {
        get
        {
            lock (_gate)
            {
                return [.. _connections];
            }
        }
    }

    /// <summary>Completes when the client waits for <see cref="Go"/>.</summary>
    public Task Ready => _ready.Task;

    /// <summary>Lets a client that was started with Wait begin.</summary>
    public void Go() => Process.WriteLine("go");

    /// <summary>Waits for all to be ready, then releases them together.</summary>
    public static async Task GoTogether(params LoadRun[] runs)
    {
        await Task.WhenAll(runs.Select(r => r.Ready)).WaitAsync(TimeSpan.FromSeconds(30)).ConfigureAwait(false);
        foreach (var run in runs)
        {
            run.Go();
        }
    }

    /// <summary>Completes with the line after which the condition on what was reported holds; fails when the client ends before.</summary>
    public async Task Until(Func<LoadRun, bool> condition)
    {
        var met = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            if (condition(this))
            {
                return;
            }
            _awaited.Add((() => condition(this), met));
        }
        if (await Task.WhenAny(met.Task, Process.WaitForExitAsync()).ConfigureAwait(false) != met.Task && !condition(this))
        {
            throw new CommandFailedException($"client {Process.Name} ended before what was waited for: {Process.Log}");
        }
    }

    /// <summary>Waits for the client's end; throws with its log when it ended without a summary.</summary>
    public async Task<LoadSummary> Finish(CancellationToken cancel = default)
    {
        int code = await Process.WaitForExitAsync(cancel).ConfigureAwait(false);
        return _summary ?? throw new CommandFailedException($"client {Process.Name} ended with {code} and no summary: {Process.Log}");
    }

    internal void Take(string text)
    {
        var line = LoadLine.Parse(text);
        if (line is null)
        {
            return;
        }
        lock (_gate)
        {
            if (line.Bin is not null)
            {
                _bins.Add(line.Bin);
            }
            if (line.Connection is not null)
            {
                _connections.Add(line.Connection);
            }
            _summary = line.Summary ?? _summary;
            foreach (var (_, met) in _awaited.Where(a => a.Condition()))
            {
                met.TrySetResult();
            }
        }
        if (line.Ready)
        {
            _ready.TrySetResult();
        }
        _onLine?.Invoke(line);
    }
}
