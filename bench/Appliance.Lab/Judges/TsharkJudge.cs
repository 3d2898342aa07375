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

    // What the bytes mean is not the question: a load's body, cut at the snap length, is poor HTTP.
    private static readonly string[] BodiesAsData = ["-d", "tcp.port==80,data"];

    /// <summary>
    /// Findings of a capture. With <paramref name="checksums"/> each checksum is verified: only for captures of links
    /// without checksum offload, since partial sums look wrong.
    /// </summary>
    public static IReadOnlyDictionary<string, int> Findings(string capture, bool checksums = false, string? filter = null)
    {
        string verify = checksums ? "TRUE" : "FALSE";
        string display = filter is null ? "_ws.expert" : $"_ws.expert && ({filter})";
        string output = Command.Run("tshark",
        [
            "-r", capture, "-n", "-o", $"tcp.check_checksum:{verify}", "-o", $"udp.check_checksum:{verify}", "-o", $"ip.check_checksum:{verify}",
            .. BodiesAsData, "-Y", display, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|", "-e", "_ws.expert.severity", "-e", "_ws.expert.message",
        ]);
        var found = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (string line in output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] fields = line.Split('\t');
            string[] severities = fields[0].Split('|');
            string[] messages = fields[1].Split('|');
            for (int i = 0; i < Math.Min(severities.Length, messages.Length); i++)
            {
                if (long.Parse(severities[i], CultureInfo.InvariantCulture) > Chat)
                {
                    string kind = Digits().Replace(messages[i], "N");
                    found[kind] = found.GetValueOrDefault(kind) + 1;
                }
            }
        }
        return found;
    }

    /// <summary>The frames with findings (those about windows and closing left out), a line each, at most <paramref name="most"/>: to explain what was counted.</summary>
    public static string Frames(string capture, int most = 40)
    {
        const string Usual = "tcp.analysis.zero_window || tcp.analysis.window_full || tcp.connection.fin || tcp.connection.fin_active || tcp.connection.fin_passive";
        string output = Command.Run("tshark", ["-r", capture, "-n", .. BodiesAsData, "-Y", $"_ws.expert.severity > {Chat} && !({Usual})"]);
        return string.Join('\n', output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Take(most));
    }

    /// <summary>Findings of kinds that the reference (the direct path's capture) does not have.</summary>
    public static IReadOnlyDictionary<string, int> Unexpected(IReadOnlyDictionary<string, int> findings, IReadOnlyDictionary<string, int> reference) =>
        findings.Where(f => !reference.ContainsKey(f.Key)).ToDictionary(StringComparer.Ordinal);

    [GeneratedRegex("[0-9]+")]
    private static partial Regex Digits();
}
