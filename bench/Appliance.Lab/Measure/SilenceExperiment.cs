using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Appliance.Lab.Experiments;
using Appliance.Lab.Faults;
using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Measure;

/// <summary>Which faults, how often, on which cluster.</summary>
public sealed record SilencePlan(string File)
{
    public int Count { get; init; } = 20;

    public double Seconds { get; init; } = 90;

    public int Proxies { get; init; } = 2;

    public string Share { get; init; } = "by flow";

    public IReadOnlyList<KillFault> Faults { get; init; } = [KillFault.Engine, KillFault.Standby, KillFault.Box, KillFault.Stop, KillFault.LinkDown, KillFault.Manager];
}

/// <summary>
/// One fault and what the connections waited. A stall is a connection's slowest request: of those under way or sent in the
/// first <see cref="SilenceExperiment.AtOnceMs"/> after the fault (Stalls), and of those sent later (Later: the box's way back).
/// Requests faster than <see cref="SilenceExperiment.SlowMs"/> are not noted and count as 0.
/// </summary>
public sealed record SilenceResult(
    KillFault Fault, int Proxies, string Share, string Victim, double[] Stalls, double[] Later, double ProbeP99Ms, double ProbeMaxMs, double BackMs, string Broken);

/// <summary>
/// How long a few connections of 200-byte requests wait when a proxy dies, stops, or loses a link, on a machine that does nothing else:
/// the bulk of <see cref="KillExperiment"/> is not there, so what is measured is detection, replay and takeover. One load runs through all
/// faults; the next comes when the last is over and its box, standby included, is as before.
/// </summary>
public sealed class SilenceExperiment(SilencePlan plan, Action<string> log)
{
    /// <summary>Requests that take longer are noted (ms).</summary>
    public const double SlowMs = 2;

    /// <summary>Requests sent so soon after the fault belong to it, later ones to the box's return (ms).</summary>
    public const double AtOnceMs = 500;

    private const int Connections = 10;
    private const double IntervalMs = 2, OutageSeconds = 5, QuietSeconds = 1;

    private static readonly JsonSerializerOptions Lines = new() { Converters = { new JsonStringEnumConverter() } };

    private readonly List<SlowRequest> _slow = [];
    private readonly List<string> _broken = [];

    /// <summary>Does what the file does not have, as far as the time goes; all results.</summary>
    public async Task<IReadOnlyList<SilenceResult>> Run(CancellationToken cancel)
    {
        var results = File.Exists(plan.File) ? File.ReadAllLines(plan.File).Where(l => l.Length > 0).Select(l => JsonSerializer.Deserialize<SilenceResult>(l, Lines)!).ToList() : [];
        int Done(KillFault fault) => results.Count(r => r.Fault == fault && r.Proxies == plan.Proxies && r.Share == plan.Share);
        if (plan.Faults.All(f => Done(f) >= plan.Count))
        {
            return results;
        }
        long over = LabNative.MonotonicNs() + (long)(plan.Seconds * 1e9);
        using var congestion = new CongestionControl(KillOptions.Congestion);
        var lab = ApplianceLab.Start(new ApplianceOptions { Proxies = plan.Proxies, Share = plan.Share }, new KillOptions().Cluster);
        await using (lab.ConfigureAwait(false))
        {
            await StartLoad(lab, plan.Seconds + 60).ConfigureAwait(false);
            while (LabNative.MonotonicNs() < over && plan.Faults.Where(f => Done(f) < plan.Count).OrderBy(Done).Select(f => (KillFault?)f).FirstOrDefault() is { } fault)
            {
                cancel.ThrowIfCancellationRequested();
                var result = Strike(lab, fault, victim: results.Count % plan.Proxies);
                results.Add(result);
                await File.AppendAllTextAsync(plan.File, JsonSerializer.Serialize(result, Lines) + "\n", cancel).ConfigureAwait(false);
                log(string.Create(CultureInfo.InvariantCulture, $"{fault} {result.Victim}: {Text(result.Stalls)} ms; later {Text(result.Later)}; probe p99 {result.ProbeP99Ms:F1} max {result.ProbeMaxMs:F1}; back after {result.BackMs:F0} ms {result.Broken}"));
            }
        }
        return results;
    }

    /// <summary>A row for each fault and cluster; stalls of all connections, and of those that waited.</summary>
    public static void Write(TextWriter to, IReadOnlyList<SilenceResult> results)
    {
        to.WriteLine("| fault | proxies | share | faults | connections | waited | p50 ms | p90 ms | p99 ms | max ms | p50 max of a fault | later, max ms | probe p99 ms (median) | probe max ms (median) | broken |");
        to.WriteLine("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        foreach (var group in results.GroupBy(r => (r.Fault, r.Proxies, r.Share)).OrderBy(g => g.Key.Fault).ThenBy(g => g.Key.Proxies).ThenBy(g => g.Key.Share, StringComparer.Ordinal))
        {
            var all = group.SelectMany(r => r.Stalls).ToList();
            var waited = all.Where(s => s > 0).Order().ToList();
            double Quantile(IEnumerable<double> values, double q) => values.Order().ToList() is { Count: > 0 } sorted ? sorted[Math.Min(sorted.Count - 1, (int)(q * sorted.Count))] : 0;
            to.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {group.Key.Fault} | {group.Key.Proxies} | {group.Key.Share} | {group.Count()} | {all.Count} | {waited.Count} | {Quantile(waited, 0.5):F1} | {Quantile(waited, 0.9):F1} | {Quantile(waited, 0.99):F1} | {Quantile(waited, 1):F1} | {Quantile(group.Select(r => r.Stalls.Max()), 0.5):F1} | {group.Max(r => r.Later.Max()):F1} | {Quantile(group.Select(r => r.ProbeP99Ms), 0.5):F2} | {Quantile(group.Select(r => r.ProbeMaxMs), 0.5):F1} | {group.Sum(r => r.Broken.Length > 0 ? 1 : 0)} |"));
        }
    }

    private static string Text(double[] stalls) => string.Join(' ', stalls.Select(s => s.ToString("F0", CultureInfo.InvariantCulture)));

    private async Task StartLoad(ApplianceLab lab, double seconds)
    {
        var load = new LoadOptions(LoadMode.Requests, lab.Topology.ServiceAddress())
        {
            Connections = Connections,
            IntervalMs = IntervalMs,
            Seconds = seconds,
            LimitSeconds = seconds + 10,
            SlowMs = SlowMs,
            Wait = true,
        };
        await LoadRun.GoTogether(LabTool.StartClient(lab.Topology.Clients[1], "requests", load, Take)).ConfigureAwait(false);
    }

    private void Take(LoadLine line)
    {
        lock (_slow)
        {
            if (line.Slow is not null)
            {
                _slow.Add(line.Slow);
            }
            if (line.Connection?.Error is { } error)
            {
                _broken.Add(error);
            }
        }
    }

    private SilenceResult Strike(ApplianceLab lab, KillFault fault, int victim)
    {
        var box = lab.Proxies.ElementAt(victim);
        ApplianceLab.WaitFor(() => lab.Boxes.All(b => b.HasStandby), "all boxes have a standby");
        Pause(QuietSeconds);
        using var probe = new SchedulingProbe();
        long at = LabNative.MonotonicNs();
        string name = lab.Name(box);
        long before = lab.Sharer.IncarnationOf(name);
        switch (fault)
        {
            case KillFault.Engine:
                at = ProcessFaults.KillProcess(box.EnginePid);
                Pause(0.3);
                ApplianceLab.WaitFor(() => lab.Sharer.Uses(name) && lab.Sharer.IncarnationOf(name) != before, $"{name} is used again", () => box.Log);
                break;
            case KillFault.Manager:
                at = ProcessFaults.KillProcess(box.ManagerPid);
                Pause(1);
                break;
            case KillFault.Standby:
                at = ProcessFaults.KillProcess(box.StandbyPid);
                Pause(1);
                break;
            case KillFault.Box:
                at = ProcessFaults.KillBox(box.Host);
                Pause(1);
                break;
            case KillFault.Stop:
                at = ProcessFaults.StopAll(box.Host);
                Pause(OutageSeconds);
                ProcessFaults.ContinueAll(box.Host);
                break;
            case KillFault.LinkDown:
                var link = box.Host.Link(Random.Shared.Next(2) == 0 ? "eth0" : "eth1");
                name += " " + link.Interface;
                at = LabNative.MonotonicNs();
                LinkFaults.Down(link);
                Pause(OutageSeconds);
                LinkFaults.Up(link);
                break;
            default:
                throw new CommandFailedException($"{fault} is not one of this experiment's");
        }
        double back = fault is KillFault.Engine ? (LabNative.MonotonicNs() - at) / 1e6 : 0;
        if (fault is KillFault.Box)
        {
            ProcessFaults.ReviveBox(box.Host);
            box.Process!.WaitForExit(ApplianceLab.Patience);
            box.Start();
        }
        lab.WaitUsable();
        Pause(QuietSeconds);
        var late = probe.Stop();
        lock (_slow)
        {
            long soon = at + (long)(AtOnceMs * 1e6);
            var result = new SilenceResult(fault, plan.Proxies, plan.Share, name, Longest(s => s.StartNs <= soon && s.StartNs + (s.Ms * 1e6) >= at), Longest(s => s.StartNs > soon),
                late.Quantile(0.99) / 1e6, late.Max / 1e6, back, string.Join(' ', _broken));
            _slow.Clear();
            _broken.Clear();
            return result;
        }
    }

    private double[] Longest(Func<SlowRequest, bool> of) =>
        [.. Enumerable.Range(0, Connections).Select(c => _slow.Where(s => s.Connection == c && of(s)).Select(s => s.Ms).DefaultIfEmpty(0).Max())];

    private static void Pause(double seconds) => LabNative.SleepUntil(LabNative.MonotonicNs() + (long)(seconds * 1e9));
}
