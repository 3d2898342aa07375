using System.Globalization;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Experiments;

/// <summary>What happens to one proxy.</summary>
public enum KillFault
{
    /// <summary>The machine dies: its links are blackholed first, then every process is killed, so nobody is told.</summary>
    Box,

    /// <summary>kill -9 of the engine alone: its kernel and its supervisor tell.</summary>
    Engine,

    /// <summary>SIGSTOP to every process of the box, SIGCONT later.</summary>
    Stop,

    /// <summary>One of its traffic links goes down, and up again later.</summary>
    LinkDown,

    /// <summary>kill -9 of the manager.</summary>
    Manager,

    /// <summary>SIGTERM to the supervisor: an announced leave.</summary>
    Terminate,

    /// <summary>kill -9 of the standby, which does nothing: what the end of any such process costs this machine.</summary>
    Standby,
}

/// <summary>The load, the proxies and their mode: what stays the same for all runs of one <see cref="KillExperiment"/>.</summary>
public sealed record KillOptions
{
    /// <summary>Proxies; with one it is sharer too.</summary>
    public int Proxies { get; init; } = 2;

    /// <summary>"by flow", "by packet 40".</summary>
    public string Share { get; init; } = "by flow";

    /// <summary>"acked", "async"; HAProxy's name when that is the box.</summary>
    public string Durability { get; init; } = "acked";

    /// <summary>Workers of every box.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>Uploads at once, each on a connection of its own.</summary>
    public int Puts { get; init; } = 100;

    /// <summary>Downloads at once.</summary>
    public int Gets { get; init; } = 100;

    /// <summary>Bytes of each transfer.</summary>
    public long Bytes { get; init; } = 10_000_000;

    /// <summary>Connections of 200-byte request/response.</summary>
    public int Requests { get; init; } = 20;

    /// <summary>Pause between requests of a connection.</summary>
    public double RequestIntervalMs { get; init; } = 4;

    /// <summary>Fewest segments that an end puts into a frame of bulk: at the pace above the kernel would take two, and the frames of 200 transfers alone would keep two processors busy.</summary>
    public int SegmentsPerFrame { get; init; } = 24;

    /// <summary>Whether half of all connections use IPv6.</summary>
    public bool Ipv6 { get; init; } = true;

    /// <summary>Capture small frames on all links from the start of each run; kept only of runs in which a connection stands still.</summary>
    public bool Capture { get; init; }

    /// <summary>Rate of each transfer, Mb/s: it says how long they take, so that they outlast the fault and leave the machine some time of its own.</summary>
    public double PaceMbit { get; init; } = 9;

    /// <summary>TCP's congestion control in all hosts.</summary>
    internal const string Congestion = "cubic";

    /// <summary>The wires of the experiment. Cubic, whatever the machine's default: BBR takes a busy processor for a slow network, and what it then sends are frames of one or two segments.</summary>
    internal ClusterOptions Cluster => new() { Clients = 2, CongestionControl = Congestion, EndSettings = [("ipv4.tcp_min_tso_segs", SegmentsPerFrame.ToString(CultureInfo.InvariantCulture))] };

    /// <summary>Earliest instant of a fault: a client whose kernel asks for the MAC of the only box while that is stopped gives up after 3 s, which says nothing about the box.</summary>
    public double EarliestFaultSeconds => Proxies == 1 ? 1 : 0;

    /// <summary>Latest instant of a fault after the load's start; drawn evenly between the two.</summary>
    public double LatestFaultSeconds { get; init; } = 3;

    /// <summary>How long a stopped box stays stopped, a link down.</summary>
    public double OutageSeconds { get; init; } = 5;

    /// <summary>How long the requests go on after the fault (and its end).</summary>
    public double AfterSeconds { get; init; } = 2;

    /// <summary>A connection without progress for so long counts as broken.</summary>
    public double StallSeconds { get; init; } = 30;

    /// <summary>Every run is over after so long.</summary>
    public double LimitSeconds { get; init; } = 90;
}

/// <summary>What became of one run. Broken and MismatchedBytes are to be zero; the times are what was seen, not judged.</summary>
public sealed record KillResult
{
    public required KillFault Fault { get; init; }

    public required int Seed { get; init; }

    public required int Proxies { get; init; }

    public required string Share { get; init; }

    public required string Durability { get; init; }

    /// <summary>Box that was hit.</summary>
    public required string Victim { get; init; }

    /// <summary>Instant of the fault after the load's start, seconds.</summary>
    public required double At { get; init; }

    public int Connections { get; init; }

    public long Broken { get; init; }

    public long Resets { get; init; }

    public long Bytes { get; init; }

    public long MismatchedBytes { get; init; }

    /// <summary>Transfers whose SHA-256 is right; <see cref="Transfers"/> when all is well.</summary>
    public long ShaVerified { get; init; }

    public int Transfers { get; init; }

    public long Requests { get; init; }

    /// <summary>Bulk transfers that were not finished when the fault struck.</summary>
    public int InFlight { get; init; }

    /// <summary>Longest silence of each request/response connection: median, 99th percentile, maximum (ms).</summary>
    public double StallP50Ms { get; init; }

    public double StallP99Ms { get; init; }

    public double StallMaxMs { get; init; }

    /// <summary>How late a thread of highest priority ran meanwhile, 99th percentile (ms): the machine's own share.</summary>
    public double ProbeP99Ms { get; init; }

    /// <summary>From the fault until the killed engine counted as usable again (ms); 0 where nothing restarts by itself.</summary>
    public double UsableAgainMs { get; init; }

    /// <summary>Frames that survivors were given again.</summary>
    public long Replayed { get; init; }

    public double Seconds { get; init; }

    /// <summary>Directory with what was seen of transfers that stood still; null when none did.</summary>
    public string? Evidence { get; init; }

    public Dictionary<string, int> Errors { get; init; } = [];
}
