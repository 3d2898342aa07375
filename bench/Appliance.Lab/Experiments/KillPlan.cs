using System.Diagnostics;
using Appliance.Lab.Faults;
using Appliance.Lab.Net;

namespace Appliance.Lab.Experiments;

/// <summary>A cluster whose boxes are hit, run after run.</summary>
public interface IKillCluster : IAsyncDisposable
{
    /// <summary>One run: load, fault, the load's end, the victim brought back.</summary>
    Task<KillResult> Run(KillFault fault, int seed);
}

/// <summary>What a seed says of a run: which box, when, which of its links; and the faults that are the same for every kind of box.</summary>
internal sealed class KillPlan
{
    private readonly KillOptions _options;
    private readonly KillFault _fault;
    private readonly int _seed;

    public KillPlan(KillOptions options, KillFault fault, int seed, int boxes)
    {
        (_options, _fault, _seed) = (options, fault, seed);
        var random = new Random(seed);
        Victim = random.Next(boxes);
        At = options.EarliestFaultSeconds + (random.NextDouble() * (options.LatestFaultSeconds - options.EarliestFaultSeconds));
        Link = random.Next(2) == 0 ? "eth0" : "eth1";
    }

    /// <summary>Number of the box, from 0.</summary>
    public int Victim { get; }

    /// <summary>Seconds after the load's start.</summary>
    public double At { get; }

    public string Link { get; }

    /// <summary>How long the requests are to go on after the fault.</summary>
    public double After => (_fault is KillFault.Stop or KillFault.LinkDown ? _options.OutageSeconds : 0) + _options.AfterSeconds;

    /// <summary>A whole box dies, or stops, or loses a link for a while; returns when that is over.</summary>
    public void Hit(Host box)
    {
        var clock = Stopwatch.StartNew();
        switch (_fault)
        {
            case KillFault.Box:
                ProcessFaults.KillBox(box);
                break;
            case KillFault.Stop:
                ProcessFaults.StopAll(box);
                SleepUntil(clock, _options.OutageSeconds);
                ProcessFaults.ContinueAll(box);
                break;
            case KillFault.LinkDown:
                LinkFaults.Down(box.Link(Link));
                SleepUntil(clock, _options.OutageSeconds);
                LinkFaults.Up(box.Link(Link));
                break;
            default:
                throw new ArgumentException($"{_fault} is no fault of a whole box");
        }
    }

    public KillResult Result(string victim) => new()
    {
        Fault = _fault,
        Seed = _seed,
        Proxies = _options.Proxies,
        Share = _options.Share,
        Durability = _options.Durability,
        Victim = victim,
        At = At,
    };

    public static Task Act(Action faults) => Task.Factory.StartNew(faults, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    public static void SleepUntil(Stopwatch clock, double seconds)
    {
        var wait = TimeSpan.FromSeconds(seconds) - clock.Elapsed;
        if (wait > TimeSpan.Zero)
        {
            Thread.Sleep(wait);
        }
    }
}
