using Appliance.Lab.Net;

namespace Appliance.Lab.Judges;

/// <summary>What a host's own TCP had to do because something was lost or late, counted since the host was made.</summary>
public readonly record struct TcpCounters(long Sent, long Retransmitted, long Timeouts)
{
    public static TcpCounters operator +(TcpCounters a, TcpCounters b) => new(a.Sent + b.Sent, a.Retransmitted + b.Retransmitted, a.Timeouts + b.Timeouts);

    public static TcpCounters operator -(TcpCounters a, TcpCounters b) => new(a.Sent - b.Sent, a.Retransmitted - b.Retransmitted, a.Timeouts - b.Timeouts);

    /// <summary>Segments sent and sent again, and retransmission timeouts of a host.</summary>
    public static TcpCounters Read(Host host) => host.Enter(() =>
    {
        string[] snmp = File.ReadAllLines("/proc/thread-self/net/snmp"), more = File.ReadAllLines("/proc/thread-self/net/netstat");
        return new TcpCounters(ChecksumJudge.Field(snmp, "Tcp:", "OutSegs"), ChecksumJudge.Field(snmp, "Tcp:", "RetransSegs"), ChecksumJudge.Field(more, "TcpExt:", "TCPTimeouts"));
    });
}
