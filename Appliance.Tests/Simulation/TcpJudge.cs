using System.Globalization;
using System.Text;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>
/// Watches what one end receives and says what no honest path could have caused, loss, duplication and any reordering
/// included. Order between segments is judged by timestamps (a strictly later TSval was sent later), or, without them,
/// only if the path is known to keep order. Sources: RFC 9293 3.8.6 and 3.10, RFC 7323 2.2, 3.2, 4.3, RFC 2018.
/// Does not judge congestion control, timing, urgency and ECN.
/// </summary>
internal sealed class TcpJudge(SimWorld world, ModelTcp tcp, bool pathKeepsOrder)
{
    private const int TraceLength = 32;

    private readonly (long At, bool Sent, SimSegment Segment)[] _trace = new (long, bool, SimSegment)[TraceLength];
    private long _traced;
    private int _found;
    private bool _any;
    private long _maxAck, _maxEdge;
    private uint _tsOfMaxAck, _tsOfMaxEdge, _tsFirst;
    private long _finAt = long.MaxValue;

    /// <summary>First TSval that we have sent.</summary>
    public uint TsFirst { set => _tsFirst = value; }

    /// <summary>Remembers a segment for the evidence.</summary>
    public void Remember(in SimSegment s, bool sent) => _trace[_traced++ % TraceLength] = (world.Now, sent, s);

    /// <summary>A SYN-ACK answers our SYN: nothing may be there that we did not offer.</summary>
    public void CheckSynAck(in SimSegment s, TcpProfile own)
    {
        if (s.WindowScale >= 0 && own.WindowScale < 0) Fail("SYN-ACK scales windows, the SYN did not");
        if (s.HasSackPermitted && !own.Sack) Fail("SYN-ACK permits SACK, the SYN did not");
        if (s.HasTimestamps && !own.Timestamps) Fail("SYN-ACK has timestamps, the SYN had none");
        if (s.HasTimestamps && own.Timestamps) CheckEcho(s);
    }

    /// <summary>A segment with a right checksum for a synchronized connection; offsets are unwrapped, <paramref name="ack"/> in our space.</summary>
    public void Check(in SimSegment s, long at, long ack, long sentMax, (long From, long To) window, int mss, int peerScale, bool timestamps, bool sack)
    {
        if (s.Rst) return;
        long end = at + s.PayloadLength;
        // Of an empty segment from below the window nobody reads more (RFC 9293 3.10.7.4): a probe.
        if (end < window.From && s.PayloadLength == 0 && !s.Fin) return;
        if (s.PayloadLength > 0 && end > window.To + 1) Fail($"data up to offset {end}, the window ends at {window.To}");
        if (s.PayloadLength > 0 && end > _finAt) Fail($"data up to offset {end} behind the FIN at {_finAt}");
        if (s.Fin && _finAt != long.MaxValue && _finAt != end) Fail($"FIN at offset {end}, before at {_finAt}");
        if (s.Fin) _finAt = end;
        if (s.WireLength + s.OptionLength > mss) Fail($"segment of {s.WireLength}+{s.OptionLength} B, our MSS is {mss}");
        if (timestamps != s.HasTimestamps) Fail(timestamps ? "timestamp missing" : "timestamp not negotiated");
        if (s.HasTimestamps && world.JudgesEdges) CheckEcho(s);
        if (s.SackCount > 0 && !sack) Fail("SACK not negotiated");
        if (!s.IsAck) return;
        if (ack > sentMax) Fail($"ack of offset {ack}, sent {sentMax}");
        if (ack < 1) Fail($"ack of offset {ack}, before our first byte");
        for (int i = 0; i < s.SackCount; i++)
        {
            long right = ack + (int)(s.Sack[(i * 2) + 1] - s.Ack.Value);
            if (right > sentMax || s.Sack[(i * 2) + 1] == s.Sack[i * 2]) Fail($"SACK up to offset {right}, sent {sentMax}");
        }
        if (!s.Syn) CheckOrder(s, ack, ack + ((long)s.Window << peerScale), timestamps);
    }

    /// <summary>Records a violation with the connection's last segments; three per connection are enough.</summary>
    public void Fail(string what)
    {
        if (++_found > 3) return;
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{tcp}: {what}");
        Dump(text);
        world.Violate(text.ToString());
    }

    /// <summary>The last segments as text.</summary>
    public void Dump(StringBuilder text)
    {
        for (long i = Math.Max(0, _traced - TraceLength); i < _traced; i++)
        {
            ref readonly (long At, bool Sent, SimSegment Segment) line = ref _trace[i % TraceLength];
            text.Append(CultureInfo.InvariantCulture, $"\n    {line.At / 1e6,11:f3} {(line.Sent ? ">" : "<")} {PacketText.Of(line.Segment)}");
        }
    }

    private void CheckEcho(in SimSegment s)
    {
        var echo = new TcpSeq(s.TsEcr);
        if (echo < new TcpSeq(_tsFirst) || echo > new TcpSeq(tcp.TsNow)) Fail($"TSecr {s.TsEcr}, sent {_tsFirst}..{tcp.TsNow}");
    }

    private void CheckOrder(in SimSegment s, long ack, long edge, bool timestamps)
    {
        bool laterThanAck = timestamps ? (int)(s.TsVal - _tsOfMaxAck) > 0 : pathKeepsOrder;
        bool laterThanEdge = timestamps ? (int)(s.TsVal - _tsOfMaxEdge) > 0 : pathKeepsOrder;
        if (_any && world.JudgesAcks && laterThanAck && ack < _maxAck) Fail($"ack went back from offset {_maxAck} to {ack}");
        if (_any && world.JudgesEdges && laterThanEdge && edge < _maxEdge) Fail($"right edge shrank from {_maxEdge} to {edge}");
        if (!_any || ack > _maxAck || (ack == _maxAck && (int)(s.TsVal - _tsOfMaxAck) < 0))
        {
            _maxAck = ack;
            _tsOfMaxAck = s.TsVal;
        }
        if (!_any || edge > _maxEdge || (edge == _maxEdge && (int)(s.TsVal - _tsOfMaxEdge) < 0))
        {
            _maxEdge = edge;
            _tsOfMaxEdge = s.TsVal;
        }
        _any = true;
    }
}
