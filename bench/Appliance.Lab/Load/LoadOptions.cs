using System.Globalization;

namespace Appliance.Lab.Load;

/// <summary>What the client is to do. Bounded: every run ends by its count or by its time.</summary>
public enum LoadMode
{
    /// <summary>Downloads of <see cref="LoadOptions.Bytes"/> on each connection.</summary>
    Get,

    /// <summary>Uploads of <see cref="LoadOptions.Bytes"/> on each connection.</summary>
    Put,

    /// <summary>An upload and then a download of <see cref="LoadOptions.Bytes"/>, on the same connection.</summary>
    Both,

    /// <summary>Small requests one after another on connections that stay open.</summary>
    Requests,

    /// <summary>As Requests, but POST /once/ID with an id that never comes twice; the server counts arrivals.</summary>
    Once,

    /// <summary>A connection for every request ("Connection: close").</summary>
    Short,
}

/// <summary>One run of the load client; also the way from the lab to the client's command line.</summary>
public sealed record LoadOptions(LoadMode Mode, string Address, int Port = 80)
{
    public int Connections { get; init; } = 1;

    /// <summary>Bytes of a body: of each bulk transfer, or of each small response.</summary>
    public long Bytes { get; init; } = 200;

    /// <summary>Requests on each connection (Requests, Once), or in all (Short); 0: until <see cref="Seconds"/> are over.</summary>
    public long Count { get; init; }

    public double Seconds { get; init; } = 5;

    /// <summary>Requests, Once, Short: what ends in the first so many seconds is not counted in rate, latency and silence (JIT, caches).</summary>
    public double WarmupSeconds { get; init; }

    /// <summary>Pause between the requests of a connection.</summary>
    public double IntervalMs { get; init; }

    /// <summary>Requests, Once, Short: a line at once for every request that takes longer; 0: none.</summary>
    public double SlowMs { get; init; }

    /// <summary>Another target than the test server's; {bytes} and {seed} are replaced.</summary>
    public string? Path { get; init; }

    public string? HostHeader { get; init; }

    /// <summary>SHA-256 of the body at <see cref="Path"/>; without it content is compared with the pattern of the seed.</summary>
    public string? Sha256 { get; init; }

    /// <summary>False: bytes are only counted.</summary>
    public bool Verify { get; init; } = true;

    public ulong Seed { get; init; } = 1;

    /// <summary>A connection without progress for so long counts as broken.</summary>
    public double StallSeconds { get; init; } = 30;

    /// <summary>Whatever is unfinished after so long counts as broken.</summary>
    public double LimitSeconds { get; init; } = 300;

    /// <summary>Prints a line for each 100 ms.</summary>
    public bool Bins { get; init; }

    /// <summary>Prints "ready" and starts when a line comes on standard input.</summary>
    public bool Wait { get; init; }

    /// <summary>Requests, Once: a broken connection is counted and replaced.</summary>
    public bool Reconnect { get; init; }

    /// <summary>Source address; null leaves it to the kernel.</summary>
    public string? Bind { get; init; }

    /// <summary>Milliseconds over which the connections' starts are spread evenly.</summary>
    public double SpreadMs { get; init; }

    /// <summary>TCP_NOTSENT_LOWAT of uploads, so that progress is that of the network and not of the send buffer; 0: unset.</summary>
    public int UnsentBytes { get; init; }

    /// <summary>Rate to which the kernel paces each connection, in both directions (SO_MAX_PACING_RATE; the test server is asked to), Mb/s; 0: none.</summary>
    public double PaceMbit { get; init; }

    /// <summary>Arguments that make "appliance-lab client" do this.</summary>
    public string[] ToArguments()
    {
        var arguments = new List<string>
        {
            "client", Mode.ToString().ToLowerInvariant(), Address,
            "--port", Number(Port), "--connections", Number(Connections), "--bytes", Number(Bytes), "--count", Number(Count),
            "--seconds", Number(Seconds), "--interval-ms", Number(IntervalMs), "--seed", Seed.ToString(CultureInfo.InvariantCulture),
            "--stall", Number(StallSeconds), "--limit", Number(LimitSeconds), "--spread-ms", Number(SpreadMs), "--unsent", Number(UnsentBytes),
        };
        if (WarmupSeconds > 0)
        {
            arguments.AddRange(["--warmup", Number(WarmupSeconds)]);
        }
        if (PaceMbit > 0)
        {
            arguments.AddRange(["--pace", Number(PaceMbit)]);
        }
        if (SlowMs > 0)
        {
            arguments.AddRange(["--slow-ms", Number(SlowMs)]);
        }
        AddText(arguments, "--path", Path);
        AddText(arguments, "--host", HostHeader);
        AddText(arguments, "--sha256", Sha256);
        AddText(arguments, "--bind", Bind);
        AddFlag(arguments, "--no-verify", !Verify);
        AddFlag(arguments, "--bins", Bins);
        AddFlag(arguments, "--wait", Wait);
        AddFlag(arguments, "--reconnect", Reconnect);
        return [.. arguments];
    }

    private static string Number(double value) => value.ToString(CultureInfo.InvariantCulture);

    private static void AddText(List<string> arguments, string name, string? value)
    {
        if (value is not null)
        {
            arguments.Add(name);
            arguments.Add(value);
        }
    }

    private static void AddFlag(List<string> arguments, string name, bool set)
    {
        if (set)
        {
            arguments.Add(name);
        }
    }
}
