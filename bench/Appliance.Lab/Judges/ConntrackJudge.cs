using System.Text.Json;
using Appliance.Lab.Net;

namespace Appliance.Lab.Judges;

/// <summary>Packets that a host's connection tracking called invalid, and how many it looked at in all.</summary>
public readonly record struct ConntrackVerdict(long InvalidIn, long InvalidOut, long Seen)
{
    public long Invalid => InvalidIn + InvalidOut;
}

/// <summary>
/// Lets a host's kernel judge every packet by its strict connection tracking (no liberal windows, no pick-up of
/// unknown connections, checksums verified on receipt). Attach before the first packet: a connection that is older
/// counts as invalid. Invalid packets are also kept as a capture, to be explained.
/// </summary>
public sealed class ConntrackJudge
{
    private const int LogGroup = 77;
    private static readonly TimeSpan LogDelay = TimeSpan.FromMilliseconds(1100);

    private const string Rules = """
        table inet judge {
            counter invalid_in { }
            counter invalid_out { }
            counter seen { }
            chain in {
                type filter hook prerouting priority -150
                counter name seen
                ct state invalid counter name invalid_in log group 77
            }
            chain out {
                type filter hook output priority -150
                counter name seen
                ct state invalid counter name invalid_out log group 77
            }
        }

        """;

    private readonly Host _host;
    private readonly Capture _invalid;

    private ConntrackJudge(Host host, Capture invalid)
    {
        _host = host;
        _invalid = invalid;
    }

    /// <summary>Makes the judge sit in a host.</summary>
    public static ConntrackJudge Attach(Host host)
    {
        host.Set("netfilter.nf_conntrack_tcp_be_liberal", "0");
        host.Set("netfilter.nf_conntrack_tcp_loose", "0");
        host.Set("netfilter.nf_conntrack_checksum", "1");
        host.RunWithInput(Rules, "nft", "-f", "-");
        return new ConntrackJudge(host, Capture.Start(host, $"nflog:{LogGroup}", "invalid", snapLength: 256));
    }

    /// <summary>What it counted so far.</summary>
    public ConntrackVerdict Verdict()
    {
        using var document = JsonDocument.Parse(_host.Run("nft", "-j", "list", "counters", "table", "inet", "judge"));
        var counts = document.RootElement.GetProperty("nftables").EnumerateArray()
            .Where(e => e.TryGetProperty("counter", out _)).Select(e => e.GetProperty("counter"))
            .ToDictionary(c => c.GetProperty("name").GetString()!, c => c.GetProperty("packets").GetInt64(), StringComparer.Ordinal);
        return new ConntrackVerdict(counts["invalid_in"], counts["invalid_out"], counts["seen"]);
    }

    /// <summary>Stops keeping invalid packets and describes those kept, a line each.</summary>
    public string Explain()
    {
        // The kernel hands logged packets over a second later at most.
        Thread.Sleep(LogDelay);
        return Command.TryRun("tcpdump", ["-nn", "-S", "-v", "-r", _invalid.Stop()]).Output;
    }
}
