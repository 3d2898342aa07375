using System.Globalization;
using Appliance.Lab.Net;

namespace Appliance.Lab.Judges;

/// <summary>
/// Segments and datagrams that a host's own stack threw away for a wrong checksum. This also judges links with
/// checksum offload, where a capture cannot.
/// </summary>
public static class ChecksumJudge
{
    /// <summary>TCP (both IP versions) and UDP over IPv4, counted since the host was made.</summary>
    public static (long Tcp, long Udp) Errors(Host host) => host.Enter(() =>
    {
        string[] lines = File.ReadAllLines("/proc/thread-self/net/snmp");
        return (Field(lines, "Tcp:", "InCsumErrors"), Field(lines, "Udp:", "InCsumErrors"));
    });

    /// <summary>A counter of /proc/net/snmp or netstat: a line of names, then a line of values.</summary>
    internal static long Field(string[] lines, string group, string name)
    {
        string[][] rows = lines.Where(l => l.StartsWith(group, StringComparison.Ordinal)).Select(l => l.Split(' ')).ToArray();
        return long.Parse(rows[1][Array.IndexOf(rows[0], name)], CultureInfo.InvariantCulture);
    }
}
