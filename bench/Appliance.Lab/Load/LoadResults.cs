using System.Text.Json;
using System.Text.Json.Serialization;

namespace Appliance.Lab.Load;

/// <summary>What became of one connection. <see cref="Error"/> is null when all went well.</summary>
public sealed record ConnectionResult(int Index, string Mode, long Bytes, long Mismatched, bool ShaVerified, double Seconds, double LongestSilenceMs, string? Error, string? Server);

/// <summary>Progress of one interval; <see cref="EndUnixMs"/> makes the intervals of several clients comparable.</summary>
public sealed record LoadBin(long EndUnixMs, long Bytes, long Requests, long Broken);

/// <summary>A request that took long: when it was sent, on the machine's monotonic clock, and how long its connection waited.</summary>
public sealed record SlowRequest(int Connection, long StartNs, double Ms);

/// <summary>The whole run. Times of latency in microseconds.</summary>
public sealed record LoadSummary
{
    public string Mode { get; init; } = string.Empty;

    public int Connections { get; init; }

    public long Broken { get; init; }

    public long Resets { get; init; }

    public long Bytes { get; init; }

    public long MismatchedBytes { get; init; }

    public long ShaVerified { get; init; }

    public long Requests { get; init; }

    public double Seconds { get; init; }

    public double MbitPerSecond { get; init; }

    public double PerSecond { get; init; }

    public double P50Us { get; init; }

    public double P99Us { get; init; }

    public double MaxUs { get; init; }

    /// <summary>Longest time for which one connection of the run that was not finished made no progress.</summary>
    public double LongestSilenceMs { get; init; }

    public Dictionary<string, int> Errors { get; init; } = [];

    public Dictionary<string, int> Servers { get; init; } = [];
}

/// <summary>A line of the client's standard output: exactly one of its members is set, or Ready is true.</summary>
public sealed record LoadLine
{
    public bool Ready { get; init; }

    public LoadBin? Bin { get; init; }

    public ConnectionResult? Connection { get; init; }

    public SlowRequest? Slow { get; init; }

    public LoadSummary? Summary { get; init; }

    public static LoadLine? Parse(string line) => JsonSerializer.Deserialize(line, LoadJson.Default.LoadLine);

    public override string ToString() => JsonSerializer.Serialize(this, LoadJson.Default.LoadLine);
}

/// <summary>Serialisers made at build time: the client starts in a few dozen milliseconds.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(LoadLine))]
internal sealed partial class LoadJson : JsonSerializerContext;
