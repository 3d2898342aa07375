using System.Globalization;
using System.Text;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>One line of text for a frame or a remembered segment; for people who read a failing seed.</summary>
internal static class PacketText
{
    /// <summary>Describes a frame.</summary>
    public static string Of(ReadOnlySpan<byte> frame)
    {
        if (frame.Length < 14) return $"short {frame.Length} B";
        string macs = $"{MacAddress.Read(frame[6..]).Value & 0xffff:x4}>{MacAddress.Read(frame).Value & 0xffff:x4}";
        if (!SimIp.TryParse(frame, out _, out _, out byte protocol)) return $"{macs} type {frame[12]:x2}{frame[13]:x2}, {frame.Length} B";
        SimIp.Addresses(frame, out IpAddr source, out IpAddr destination);
        if (protocol != Packet.ProtocolTcp || !SimSegment.TryParse(frame, default, out SimSegment s)) return $"{macs} {source} > {destination} protocol {protocol}, {frame.Length} B";
        return $"{macs} {source}:{s.SourcePort} > {destination}:{s.DestinationPort} {Of(s)}{(s.IsBadChecksum ? " BAD/partial checksum" : "")}";
    }

    /// <summary>Describes a segment without its addresses.</summary>
    public static string Of(in SimSegment s)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"[{Flags(s.Flags)}] seq {s.Seq}");
        if (s.PayloadLength > 0) text.Append(CultureInfo.InvariantCulture, $"..{s.Seq + s.PayloadLength} ({s.PayloadLength})");
        if (s.IsAck) text.Append(CultureInfo.InvariantCulture, $" ack {s.Ack}");
        text.Append(CultureInfo.InvariantCulture, $" win {s.Window}");
        if (s.Mss >= 0) text.Append(CultureInfo.InvariantCulture, $" mss {s.Mss}");
        if (s.WindowScale >= 0) text.Append(CultureInfo.InvariantCulture, $" ws {s.WindowScale}");
        if (s.HasSackPermitted) text.Append(" sackOK");
        if (s.HasTimestamps) text.Append(CultureInfo.InvariantCulture, $" ts {s.TsVal}/{s.TsEcr}");
        for (int i = 0; i < s.SackCount; i++) text.Append(CultureInfo.InvariantCulture, $" sack {s.Sack[i * 2]}..{s.Sack[(i * 2) + 1]}");
        return text.ToString();
    }

    private static string Flags(TcpFlags flags)
    {
        string text = "";
        if ((flags & TcpFlags.Syn) != TcpFlags.None) text += 'S';
        if ((flags & TcpFlags.Fin) != TcpFlags.None) text += 'F';
        if ((flags & TcpFlags.Rst) != TcpFlags.None) text += 'R';
        if ((flags & TcpFlags.Psh) != TcpFlags.None) text += 'P';
        return (flags & TcpFlags.Ack) != TcpFlags.None ? text + '.' : text;
    }
}
