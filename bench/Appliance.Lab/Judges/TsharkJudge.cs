using System.Globalization;
using System.Text.RegularExpressions;
using Appliance.Lab.Net;

namespace Appliance.Lab.Judges;

/// <summary>
/// What Wireshark's expert system says of a capture: kind of finding and how often. Mere remarks ("Chat") are left
/// out; numbers in a finding are replaced by N, so that kinds can be compared between captures.
/// </summary>
public static partial class TsharkJudge
{
    private const long Chat = 0x200000;

    /// <summary>
    /// Findings of a capture. With <paramref name="checksums"/> each checksum is verified: only for captures of links
    /// without checksum offload, since partial sums look wrong.
    /// </summary>
    public static IReadOnlyDictionary<string, int> Findings(string capture, bool checksums = false, string? filter = null) =>
        Judge(capture, checksums, filter).GroupBy(f => f.Kind, StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.Count(), StringComparer.Ordinal);

    /// <summary>The same, one by one, each with its frame's line.</summary>
    public static IReadOnlyList<TsharkFinding> Judge(string capture, bool checksums = false, string? filter = null)
    {
        string verify = checksums ? "TRUE" : "FALSE";
        string display = filter is null ? "_ws.expert" : $"_ws.expert && ({filter})";
        string output = Command.Run("tshark",
        [
            "-r", capture, "-n", "-o", $"tcp.check_checksum:{verify}", "-o", $"udp.check_checksum:{verify}", "-o", $"ip.check_checksum:{verify}",
            // What the bytes mean is not the question: a load's body, cut at the snap length, is poor HTTP.
            "-d", "tcp.port==80,data", "-Y", display, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|", "-e", "_ws.expert.severity", "-e", "_ws.expert.message",
            "-e", "frame.number", "-e", "frame.time_relative", "-e", "_ws.col.Source", "-e", "_ws.col.Destination", "-e", "_ws.col.Info",
        ]);
        var found = new List<TsharkFinding>();
        foreach (string line in output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] fields = line.Split('\t');
            string[] severities = fields[0].Split('|');
            string[] messages = fields[1].Split('|');
            for (int i = 0; i < Math.Min(severities.Length, messages.Length); i++)
            {
                if (long.Parse(severities[i], CultureInfo.InvariantCulture) > Chat)
                {
                    found.Add(new TsharkFinding(Digits().Replace(messages[i], "N"), string.Join(' ', fields.Skip(2))));
                }
            }
        }
        return found;
    }

    /// <summary>Findings of kinds that the reference (the direct path's capture) does not have.</summary>
    public static IReadOnlyDictionary<string, int> Unexpected(IReadOnlyDictionary<string, int> findings, IReadOnlyDictionary<string, int> reference) =>
        findings.Where(f => !reference.ContainsKey(f.Key)).ToDictionary(StringComparer.Ordinal);

    [GeneratedRegex("[0-9]+")]
    private static partial Regex Digits();
}

/// <summary>A kind of finding, and the frame that it is about: number, time, addresses, what it says.</summary>
public sealed record TsharkFinding(string Kind, string Frame);
