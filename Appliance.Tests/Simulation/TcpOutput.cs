using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>
/// What a model connection sends and when: segments within both windows, retransmission by timeout (RFC 6298, floor
/// 200 ms), by three duplicates and by SACK (RFC 6675, simplified), probes of a closed window, delayed ACKs.
/// </summary>
internal sealed class TcpOutput(ModelTcp tcp) : SimTimer(tcp.Host.World)
{
    private const long Never = long.MaxValue, RtoFloor = 200 * SimWorld.Millisecond, RtoCeiling = 5 * SimWorld.Second;

    private readonly TcpSender _sender = tcp.Sender;
    private long _rtoAt = Never, _ackAt = Never, _persistAt = Never, _timeWaitAt = Never;
    private long _rto = SimWorld.Second, _srtt, _rttVar, _timedAt, _timedEnd;
    private long _cwnd, _ssthresh = long.MaxValue / 4, _recover, _rexmitAt;
    private int _retries, _dupAcks, _unacked, _persists;
    private bool _recovering, _reportDuplicate;

    public long Retransmissions { get; private set; }

    private SimWorld World => tcp.Host.World;

    private int Mss => Math.Min(tcp.PeerMss, tcp.Profile.Mss);

    public void SendSyn()
    {
        bool passive = tcp.State == TcpState.SynReceived;
        long window = Math.Min(65535, tcp.Profile.ReceiveBuffer);
        tcp.Receiver.Advertised = passive ? Math.Max(tcp.Receiver.Advertised, 1 + window) : window;
        Span<byte> options = stackalloc byte[40];
        options.Fill(1);
        int n = 4;
        options[0] = 2;
        options[1] = 4;
        BinaryPrimitives.WriteUInt16BigEndian(options[2..], (ushort)tcp.Profile.Mss);
        if (passive ? tcp.UsesSack : tcp.Profile.Sack) n = Put(options, n, 4, 2, 0);
        if (passive ? tcp.UsesScale : tcp.Profile.WindowScale >= 0) n = Put(options, n, 3, 3, (byte)tcp.Profile.WindowScale);
        if (passive ? tcp.UsesTimestamps : tcp.Profile.Timestamps) n = PutTimestamps(options, n);
        _sender.Max = Math.Max(1, _sender.Max);
        Emit(0, 0, TcpFlags.Syn | (passive ? TcpFlags.Ack : TcpFlags.None), (ushort)window, options[..((n + 3) & ~3)]);
        if (_rtoAt == Never) ArmRto();
    }

    public void OnEstablished()
    {
        _cwnd = 10L * Mss;
        _retries = 0;
        _rtoAt = Never;
        _rto = Math.Min(_rto, SimWorld.Second);
        Rearm();
    }

    public void SendAck(bool duplicate = false)
    {
        _reportDuplicate = duplicate && tcp.UsesSack;
        // Beyond the window's edge an ACK would itself be unacceptable.
        Segment(Math.Min(_sender.Max, Math.Max(_sender.Una, _sender.Una + tcp.PeerWindow)), 0, TcpFlags.Ack);
    }

    public void SendRst() => Segment(_sender.Max, 0, TcpFlags.Rst | TcpFlags.Ack);

    public void RestartTimeWait()
    {
        _rtoAt = _persistAt = Never;
        _timeWaitAt = World.Now + tcp.Profile.TimeWaitNs;
        Rearm();
    }

    public void Stop()
    {
        _rtoAt = _ackAt = _persistAt = _timeWaitAt = Never;
        Rearm();
    }

    /// <summary>Data or a FIN has come: acknowledge now or soon.</summary>
    public void OnData(bool immediate, bool duplicate, int length)
    {
        _unacked += length >= 2 * Mss ? 2 : 1;
        if (immediate || _unacked >= 2 || !tcp.Profile.DelayedAcks)
        {
            SendAck(duplicate);
            return;
        }
        _ackAt = Math.Min(_ackAt, World.Now + (40 * SimWorld.Millisecond));
        Rearm();
    }

    /// <summary>An acceptable acknowledgment has come.</summary>
    public void OnAck(in SimSegment s, long ack, bool isDuplicate)
    {
        if (tcp.UsesSack) TakeSack(s, ack);
        if (ack > _sender.Una)
        {
            Advance(s, ack);
        }
        else if (isDuplicate && _sender.Max > _sender.Una)
        {
            _dupAcks++;
            if (_recovering) Repair(2);
        }
        if (tcp.PeerWindow > 0) _persistAt = Never;
        else _retries = 0;
        bool lossSeen = _dupAcks >= 3 || _sender.Sacked.Total > 3L * Mss;
        if (!lossSeen || _recovering || _sender.Max <= _sender.Una || _sender.Una < _recover) return;
        _recovering = true;
        _recover = _sender.Max;
        _rexmitAt = _sender.Una;
        _ssthresh = Math.Max((_sender.Max - _sender.Una) / 2, 2L * Mss);
        _cwnd = _ssthresh;
        Repair(1);
    }

    /// <summary>Sends what the windows allow.</summary>
    public void Run()
    {
        if (!tcp.IsSynchronized || tcp.State == TcpState.TimeWait) return;
        while (SendNext())
        {
        }
        bool waiting = _sender.Next < _sender.End || (tcp.FinQueued && _sender.Next == _sender.End);
        if (waiting && _sender.Una == _sender.Max && _persistAt == Never)
        {
            _persists = 0;
            _persistAt = World.Now + Math.Max(_rto, RtoFloor);
        }
        Rearm();
    }

    /// <inheritdoc/>
    protected override void OnDeadline()
    {
        if (!tcp.Host.IsAlive || tcp.State == TcpState.Closed) return;
        long now = World.Now;
        if (tcp.Host.IsPaused)
        {
            SetDeadline(now + SimWorld.Millisecond);
            return;
        }
        if (_timeWaitAt <= now)
        {
            tcp.Finish(TcpEnd.Normal);
            return;
        }
        if (_ackAt <= now) SendAck();
        if (_persistAt <= now) Probe();
        if (_rtoAt <= now) OnTimeout();
        Rearm();
    }

    private void Advance(in SimSegment s, long ack)
    {
        long acked = ack - _sender.Una;
        _rto = _srtt == 0 ? SimWorld.Second : Math.Clamp(_srtt + (4 * _rttVar), RtoFloor, RtoCeiling);
        if (tcp.UsesTimestamps && s.TsEcr != 0 && _retries == 0) Sample((tcp.TsNow - s.TsEcr) * tcp.Profile.TimestampTickNs);
        else if (_timedAt != 0 && ack >= _timedEnd) Sample(World.Now - _timedAt);
        if (ack >= _timedEnd) _timedAt = 0;
        _sender.Una = ack;
        _sender.Next = Math.Max(_sender.Next, ack);
        _sender.Sacked.RemoveBelow(ack);
        _retries = 0;
        _dupAcks = 0;
        if (_recovering && ack < _recover)
        {
            // A partial ACK: the next hole is lost as well (RFC 6582).
            _rexmitAt = Math.Max(_rexmitAt, ack);
            if (!tcp.UsesSack) _rexmitAt = ack;
            Repair(2);
        }
        else
        {
            _recovering = false;
            _cwnd += _cwnd < _ssthresh ? Math.Min(acked, 2L * Mss) : Math.Max(1, (long)Mss * Mss / _cwnd);
        }
        _rtoAt = Never;
        if (_sender.Una < _sender.Max) ArmRto();
    }

    private void TakeSack(in SimSegment s, long ack)
    {
        for (int i = 0; i < s.SackCount; i++)
        {
            long left = ack + (int)(s.Sack[i * 2] - s.Ack.Value), right = ack + (int)(s.Sack[(i * 2) + 1] - s.Ack.Value);
            if (left >= Math.Max(ack, _sender.Una) && right > left && right <= _sender.Max) _sender.Sacked.Add(left, right);
        }
    }

    /// <summary>Sends up to <paramref name="segments"/> segments of what seems lost; without SACK only the first.</summary>
    private void Repair(int segments)
    {
        RangeList sacked = _sender.Sacked;
        long highest = sacked.Count > 0 ? sacked.End(sacked.Count - 1) : _sender.Una + 1;
        while (segments-- > 0 && _rexmitAt < Math.Min(highest, _sender.Max))
        {
            int inside = sacked.IndexOf(_rexmitAt);
            if (inside >= 0)
            {
                _rexmitAt = sacked.End(inside);
                segments++;
                continue;
            }
            _rexmitAt = Resend(_rexmitAt);
        }
    }

    private long Resend(long at)
    {
        long end = Math.Min(Math.Min(at + Room(), Math.Min(_sender.End, _sender.Max)), _sender.Sacked.NextStart(at));
        bool fin = tcp.FinQueued && end == _sender.End && _sender.Max > _sender.End;
        Retransmissions++;
        _timedAt = 0;
        Segment(at, (int)(end - at), TcpFlags.Ack | (fin ? TcpFlags.Fin : TcpFlags.None));
        return end + (fin ? 1 : 0);
    }

    private bool SendNext()
    {
        long inside = _sender.Sacked.IndexOf(_sender.Next);
        if (_sender.Next < _sender.Max && inside >= 0) _sender.Next = _sender.Sacked.End((int)inside);
        long at = _sender.Next;
        long edge = _sender.Una + Math.Min(tcp.PeerWindow, _cwnd + _sender.Sacked.Total);
        long limit = at < _sender.Max ? Math.Min(_sender.End, _sender.Sacked.NextStart(at)) : _sender.End;
        int most = at < _sender.Max ? Room() : Math.Max(Room(), tcp.Host.SuperFrames ? tcp.Profile.SuperFrameBytes / Room() * Room() : 0);
        long length = Math.Min(most, Math.Min(limit, edge) - at);
        bool fin = tcp.FinQueued && at + Math.Max(0, length) == _sender.End && edge > _sender.End;
        if (length <= 0 && !(fin && at == _sender.End)) return false;
        // Silly windows: wait for a useful one unless nothing is in flight (RFC 9293 3.8.6.2.1).
        if (length < Room() && at + length < _sender.End && _sender.Max > _sender.Una && length < tcp.MaxPeerWindow / 2) return false;
        if (at < _sender.Max) Retransmissions++;
        else if (_timedAt == 0) (_timedAt, _timedEnd) = (World.Now, at + length);
        length = Math.Max(0, length);
        TcpFlags push = at + length == _sender.End && length > 0 ? TcpFlags.Psh : TcpFlags.None;
        _sender.Next = at + length + (fin ? 1 : 0);
        _sender.Max = Math.Max(_sender.Max, _sender.Next);
        Segment(at, (int)length, TcpFlags.Ack | push | (fin ? TcpFlags.Fin : TcpFlags.None));
        if (_rtoAt == Never) ArmRto();
        return true;
    }

    private void OnTimeout()
    {
        if (++_retries > tcp.Profile.MaxRetries)
        {
            tcp.Finish(TcpEnd.TimedOut);
            return;
        }
        _rto = Math.Min(_rto * 2, RtoCeiling);
        _rtoAt = Never;
        if (tcp.State is TcpState.SynSent or TcpState.SynReceived)
        {
            SendSyn();
            return;
        }
        if (_sender.Una >= _sender.Max) return;
        _ssthresh = Math.Max((_sender.Max - _sender.Una) / 2, 2L * Mss);
        _cwnd = Mss;
        _recovering = false;
        _recover = _sender.Max;
        _dupAcks = 0;
        _sender.Sacked.Clear();
        _sender.Next = Resend(_sender.Una);
        ArmRto();
    }

    private void Probe()
    {
        if (++_persists > 40)
        {
            tcp.Finish(TcpEnd.TimedOut);
            return;
        }
        _persistAt = World.Now + Math.Min(RtoCeiling, Math.Max(_rto, RtoFloor) << Math.Min(_persists, 6));
        if (!tcp.Profile.ProbesWithData || _sender.Next >= _sender.End)
        {
            Segment(_sender.Una - 1, 0, TcpFlags.Ack);
            return;
        }
        long at = _sender.Next++;
        _sender.Max = Math.Max(_sender.Max, _sender.Next);
        Segment(at, 1, TcpFlags.Ack);
        ArmRto();
    }

    private void Sample(long rtt)
    {
        if (rtt < 0 || rtt > 60 * SimWorld.Second) return;
        if (_srtt == 0) (_srtt, _rttVar) = (rtt, rtt / 2);
        _rttVar += (Math.Abs(_srtt - rtt) - _rttVar) / 4;
        _srtt += (rtt - _srtt) / 8;
        _rto = Math.Clamp(_srtt + (4 * _rttVar), RtoFloor, RtoCeiling);
    }

    private void ArmRto()
    {
        _rtoAt = World.Now + Math.Max(_rto, RtoFloor);
        Rearm();
    }

    private void Rearm() => SetDeadline(Math.Min(Math.Min(_rtoAt, _ackAt), Math.Min(_persistAt, _timeWaitAt)));

    /// <summary>Payload that fits into one segment beside the options (RFC 6691).</summary>
    private int Room() => Mss - (tcp.UsesTimestamps ? 12 : 0) - SackLength();

    private int SackBlocks() => Math.Min(tcp.UsesTimestamps ? 3 : 4, (tcp.UsesSack ? tcp.Receiver.Ahead.Count : 0) + (_reportDuplicate ? 1 : 0));

    private int SackLength() => SackBlocks() == 0 ? 0 : 4 + (8 * SackBlocks());

    private void Segment(long at, int length, TcpFlags flags)
    {
        Span<byte> options = stackalloc byte[40];
        options.Fill(1);
        int n = tcp.UsesTimestamps ? PutTimestamps(options, 2) : 0;
        int blocks = SackBlocks();
        if (blocks > 0) n = PutSack(options, n + 2, blocks);
        _reportDuplicate = false;
        ushort window = (flags & TcpFlags.Rst) != TcpFlags.None ? (ushort)0 : tcp.Receiver.Announce(tcp.OwnScale, tcp.Profile.Mss);
        _ackAt = Never;
        _unacked = 0;
        tcp.LastAckSent = tcp.Receiver.Next;
        Emit(at, length, flags, window, options[..n]);
    }

    private void Emit(long at, int length, TcpFlags flags, ushort window, ReadOnlySpan<byte> options)
    {
        int transport = tcp.Local.IsV4 ? 34 : 54;
        int payload = transport + 20 + options.Length;
        SimFrame frame = World.Frames.Rent(payload + length);
        Span<byte> segment = frame.Span[transport..];
        BinaryPrimitives.WriteUInt16BigEndian(segment, tcp.LocalPort);
        BinaryPrimitives.WriteUInt16BigEndian(segment[2..], tcp.RemotePort);
        BinaryPrimitives.WriteUInt32BigEndian(segment[4..], tcp.SeqOf(at).Value);
        BinaryPrimitives.WriteUInt32BigEndian(segment[8..], (flags & TcpFlags.Ack) != TcpFlags.None ? tcp.PeerSeqOf(tcp.Receiver.Next).Value : 0);
        segment[12] = (byte)((20 + options.Length) << 2);
        segment[13] = (byte)flags;
        BinaryPrimitives.WriteUInt16BigEndian(segment[14..], window);
        segment[18] = segment[19] = 0;
        options.CopyTo(segment[20..]);
        if (length > 0) _sender.Read(at, frame.Span[payload..]);
        int room = Mss - options.Length;
        if (length > room)
        {
            frame.Vnet.GsoType = tcp.Local.IsV4 ? VnetHeader.GsoTcp4 : VnetHeader.GsoTcp6;
            frame.Vnet.GsoSize = (ushort)room;
            frame.Vnet.HeaderLength = (ushort)payload;
        }
        tcp.Host.SendTcp(frame, tcp.Local, tcp.Remote, tcp.Judge);
    }

    private static int Put(Span<byte> options, int at, byte kind, byte length, byte value)
    {
        options[at] = kind;
        options[at + 1] = length;
        if (length > 2) options[at + 2] = value;
        return at + length;
    }

    private int PutTimestamps(Span<byte> options, int at)
    {
        options[at] = 8;
        options[at + 1] = 10;
        BinaryPrimitives.WriteUInt32BigEndian(options[(at + 2)..], tcp.TsNow);
        BinaryPrimitives.WriteUInt32BigEndian(options[(at + 6)..], tcp.TsRecent);
        return at + 10;
    }

    private int PutSack(Span<byte> options, int at, int blocks)
    {
        options[at] = 5;
        options[at + 1] = (byte)(2 + (8 * blocks));
        int n = at + 2;
        (long Start, long End) newest = tcp.Receiver.Newest;
        int first = tcp.Receiver.Ahead.IndexOf(newest.Start);
        int left = blocks;
        if (_reportDuplicate || first >= 0) n = PutBlock(options, n, newest.Start, newest.End, ref left);
        for (int i = 0; i < tcp.Receiver.Ahead.Count && left > 0; i++)
        {
            if (i != first || _reportDuplicate) n = PutBlock(options, n, tcp.Receiver.Ahead.Start(i), tcp.Receiver.Ahead.End(i), ref left);
        }
        options[at + 1] = (byte)(2 + (8 * (blocks - left)));
        return n;
    }

    private int PutBlock(Span<byte> options, int at, long start, long end, ref int left)
    {
        left--;
        BinaryPrimitives.WriteUInt32BigEndian(options[at..], tcp.PeerSeqOf(start).Value);
        BinaryPrimitives.WriteUInt32BigEndian(options[(at + 4)..], tcp.PeerSeqOf(end).Value);
        return at + 8;
    }
}
