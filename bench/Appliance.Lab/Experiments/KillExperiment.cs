using System.Diagnostics;
using System.Globalization;
using Appliance.Lab.Faults;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Experiments;

/// <summary>
/// Uploads, downloads and request/response through a cluster of appliances, one of whose proxies is hit at an instant
/// drawn from a seed. Runs follow one another on the same cluster; after each the victim is brought back, refilled and
/// usable before the next, so that one death is over before another comes. The connections that are judged may use any box.
/// </summary>
public sealed class KillExperiment : IKillCluster
{
    private readonly KillOptions _options;
    private readonly CongestionControl _allowed;
    private int _runs;

    private KillExperiment(KillOptions options)
    {
        _options = options;
        _allowed = new CongestionControl(KillOptions.Congestion);
        try
        {
            Lab = ApplianceLab.Start(new ApplianceOptions { Proxies = options.Proxies, Share = options.Share, Durability = options.Durability, Workers = options.Workers }, options.Cluster);
        }
        catch
        {
            _allowed.Dispose();
            throw;
        }
    }

    public ApplianceLab Lab { get; }

    /// <summary>Builds the cluster; returns when all of its boxes can be used.</summary>
    public static KillExperiment Start(KillOptions options) => new(options);

    /// <summary>One run: starts the load, hits the victim, waits for the load's end, heals the victim.</summary>
    public async Task<KillResult> Run(KillFault fault, int seed)
    {
        var plan = new KillPlan(_options, fault, seed, Lab.Proxies.Count());
        var victim = Lab.Proxies.ElementAt(plan.Victim);
        if (fault == KillFault.Engine)
        {
            // A box that has run for a while has one; its first seconds are not what is looked at.
            ApplianceLab.WaitFor(() => victim.HasStandby, $"{victim.Host.Name} has a standby", () => victim.Log);
        }
        long replayedBefore = Lab.Counter("replayed");
        string[] addresses = [.. (_options.Ipv6 ? (bool[])[false, true] : [false]).Select(ipv6 => Lab.Topology.ServiceAddress(ipv6: ipv6))];
        using var load = new KillLoad(Lab.Topology, _options, addresses, ++_runs, plan);
        using var evidence = new StandstillEvidence(Lab, string.Create(CultureInfo.InvariantCulture, $"{_options.Durability}-{fault}-{seed}-{_runs}"), _options.Capture);
        await load.Go().ConfigureAwait(false);
        var clock = Stopwatch.StartNew();
        int inFlight = 0;
        double usableAgain = 0;
        await KillPlan.Act(() =>
        {
            KillPlan.SleepUntil(clock, plan.At);
            inFlight = load.InFlight;
            usableAgain = Hit(fault, victim, plan);
        }).ConfigureAwait(false);
        var result = await load.Finish(plan.Result(victim.Host.Name)).ConfigureAwait(false);
        result = result with
        {
            InFlight = inFlight,
            UsableAgainMs = usableAgain,
            Seconds = clock.Elapsed.TotalSeconds,
            Replayed = Lab.Counter("replayed") - replayedBefore,
            Evidence = evidence.Directory,
        };
        Heal(fault, victim);
        return result;
    }

    public async ValueTask DisposeAsync()
    {
        await Lab.DisposeAsync().ConfigureAwait(false);
        _allowed.Dispose();
    }

    /// <summary>The fault and, for those that pass, its end. Returns how long a killed engine took to be usable again.</summary>
    private double Hit(KillFault fault, ApplianceBox victim, KillPlan plan)
    {
        switch (fault)
        {
            case KillFault.Engine:
                return KillEngine(victim);
            case KillFault.Manager:
                ProcessFaults.KillProcess(victim.ManagerPid);
                return 0;
            case KillFault.Terminate:
                victim.Process!.Signal(LabNative.SigTerm);
                return 0;
            default:
                plan.Hit(victim.Host);
                return 0;
        }
    }

    /// <summary>Until the sharer uses the next incarnation. The manager that answers looks every 50 ms, so the time is at most about 0.1 s too long.</summary>
    private double KillEngine(ApplianceBox victim)
    {
        string name = Lab.Name(victim);
        long before = Lab.Sharer.IncarnationOf(name);
        var clock = Stopwatch.StartNew();
        ProcessFaults.KillProcess(victim.EnginePid);
        ApplianceLab.WaitFor(() => Lab.Sharer.Uses(name) && Lab.Sharer.IncarnationOf(name) != before, $"{name} is used again", () => victim.Log);
        return clock.Elapsed.TotalMilliseconds;
    }

    private void Heal(KillFault fault, ApplianceBox victim)
    {
        if (fault == KillFault.Box)
        {
            ProcessFaults.ReviveBox(victim.Host);
        }
        if (fault is KillFault.Box or KillFault.Terminate)
        {
            victim.Process!.WaitForExit(ApplianceLab.Patience);
            victim.Start();
        }
        Lab.WaitUsable();
    }
}
