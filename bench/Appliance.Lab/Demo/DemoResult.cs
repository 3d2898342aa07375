using System.Text.Json;
using System.Text.Json.Serialization;

namespace Appliance.Lab.Demo;

/// <summary>Something that was done to the cluster, seconds after the traffic began.</summary>
public sealed record DemoEvent(double Seconds, string What);

/// <summary>One line of the final table: a kind of traffic.</summary>
public sealed record DemoTraffic(string Name, int Connections, long Broken, long Resets, long Bytes, long MismatchedBytes, long ShaVerified, long Requests, double LongestSilenceMs, double P50Us, double P99Us);

/// <summary>What "demo --json" writes.</summary>
public sealed record DemoResult
{
    public string Cluster { get; init; } = string.Empty;

    public int Connections { get; init; }

    public long Broken { get; init; }

    public long Bytes { get; init; }

    public long MismatchedBytes { get; init; }

    public long Resets { get; init; }

    /// <summary>Transfers whose SHA-256 was verified, and how many there were to verify.</summary>
    public long Sha256Verified { get; init; }

    public int Transfers { get; init; }

    public long Requests { get; init; }

    public double LongestSilenceMs { get; init; }

    /// <summary>Null for boxes that replay nothing.</summary>
    public long? PacketsReplayed { get; init; }

    public double Seconds { get; init; }

    public IReadOnlyList<DemoTraffic> Traffic { get; init; } = [];

    public IReadOnlyList<DemoEvent> Events { get; init; } = [];

    /// <summary>Packets that each proxy received on its traffic links.</summary>
    public IReadOnlyDictionary<string, long> ProxyPackets { get; init; } = new Dictionary<string, long>(StringComparer.Ordinal);

    /// <summary>Bytes of all bodies in each 100 ms.</summary>
    public IReadOnlyList<long> Bins { get; init; } = [];

    public string Capture { get; init; } = string.Empty;

    public IReadOnlyList<string> Configurations { get; init; } = [];

    public string ToJson() => JsonSerializer.Serialize(this, DemoJson.Default.DemoResult);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(DemoResult))]
internal sealed partial class DemoJson : JsonSerializerContext;
