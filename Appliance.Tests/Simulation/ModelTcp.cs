using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>
/// One end of a TCP connection, a model of RFC 9293 with 7323, 2018, 2883, 5681 (simplified), 5961 and 6298 that is fair
/// to its peer and suspicious of it (<see cref="TcpJudge"/>). Offsets are 64-bit and count from the ISNs. What goes out stands
/// in <see cref="TcpOutput"/>, what comes in here. No Nagle, no urgent data, no keepalive, no ECN.
/// </summary>
internal sealed class ModelTcp
{
    private bool _connected, _readable, _writable, _isFreed;
    private TcpSeq _irs;
    private long _peerFinAt = long.MaxValue, _windowAt = -1, _windowAck = -1;

    public ModelTcp(SimHost host, IpAddr local, ushort localPort, IpAddr remote, ushort remotePort, TcpProfile profile, SimApp app)
    {
        (Host, Local, LocalPort, Remote, RemotePort, Profile, App) = (host, local, localPort, remote, remotePort, profile, app);
        Iss = new TcpSeq(profile.InitialSequence);
        Receiver = new TcpReceiver(profile.ReceiveBuffer, 1 << Math.Max(0, profile.WindowScale));
        Sender = new TcpSender(profile.SendBuffer);
        Judge = new TcpJudge(host.World, this, host.PathKeepsOrder) { TsFirst = TsNow };
        Output = new TcpOutput(this);
        PeerMss = local.IsV4 ? 536 : 1220;
    }

    public SimHost Host { get; }

    public IpAddr Local { get; }

    public ushort LocalPort { get; }

    public IpAddr Remote { get; }

    public ushort RemotePort { get; }

    public TcpProfile Profile { get; }

    public SimApp App { get; }

    public TcpReceiver Receiver { get; }

    public TcpSender Sender { get; }

    public TcpJudge Judge { get; }

    public TcpOutput Output { get; }

    public TcpState State { get; private set; }

    public TcpEnd End { get; private set; }

    public TcpSeq Iss { get; }

    public int PeerMss { get; private set; }

    public int PeerScale { get; private set; }

    /// <summary>Our scale if both sides have the option, else 0.</summary>
    public int OwnScale { get; private set; }

    public bool UsesScale { get; private set; }

    public bool UsesTimestamps { get; private set; }

    public bool UsesSack { get; private set; }

    /// <summary>Peer's window in bytes, and the largest seen.</summary>
    public long PeerWindow { get; private set; }

    public long MaxPeerWindow { get; private set; }

    public uint TsRecent { get; private set; }

    /// <summary>Offset acknowledged by our newest segment.</summary>
    public long LastAckSent { get; set; }

    /// <summary>The application has closed its direction.</summary>
    public bool FinQueued { get; private set; }

    /// <summary>Segments dropped by PAWS, RSTs and SYNs answered by a challenge ACK.</summary>
    public int PawsDrops { get; private set; }

    public int Challenges { get; private set; }

    public uint TsNow => Profile.TimestampOffset + (uint)(Host.World.Now / Profile.TimestampTickNs);

    public int Available => _isFreed ? 0 : Receiver.Available(_peerFinAt);

    /// <summary>The peer's stream has ended and all of it has been read.</summary>
    public bool IsEof => _peerFinAt != long.MaxValue && Receiver.Next > _peerFinAt && Available == 0;

    public bool IsSynchronized => State >= TcpState.Established;

    public TcpSeq SeqOf(long offset) => Iss + (uint)offset;

    public TcpSeq PeerSeqOf(long offset) => _irs + (uint)offset;

    public void Connect()
    {
        State = TcpState.SynSent;
        Output.SendSyn();
    }

    public void AcceptSyn(in SimSegment s)
    {
        State = TcpState.SynReceived;
        // A repeated SYN may have made an earlier connection of the same names here: its values count as sent.
        Judge.TsFirst = Profile.TimestampOffset;
        TakeSyn(s);
        Output.SendSyn();
    }

    public int Write(ReadOnlySpan<byte> data)
    {
        if (FinQueued || State is TcpState.Closed) return 0;
        int n = Sender.Write(data);
        if (n > 0 && IsSynchronized) Output.Run();
        return n;
    }

    public int Read(Span<byte> destination)
    {
        if (_isFreed) return 0;
        int n = Receiver.Read(destination, _peerFinAt);
        if (n > 0 && State is TcpState.Established or TcpState.FinWait1 or TcpState.FinWait2 &&
            Receiver.Growth(OwnScale) >= Math.Min(2 * Profile.Mss, Profile.ReceiveBuffer / 2)) Output.SendAck();
        return n;
    }

    /// <summary>Closes our direction; reading goes on.</summary>
    public void CloseSend()
    {
        if (FinQueued || State == TcpState.Closed) return;
        FinQueued = true;
        if (State == TcpState.SynSent) Finish(TcpEnd.Aborted);
        else if (State == TcpState.Established) State = TcpState.FinWait1;
        else if (State == TcpState.CloseWait) State = TcpState.LastAck;
        if (IsSynchronized) Output.Run();
    }

    /// <summary>Sends a RST and forgets everything.</summary>
    public void Abort()
    {
        if (State is TcpState.Closed) return;
        if (State is not TcpState.SynSent and not TcpState.TimeWait) Output.SendRst();
        Finish(TcpEnd.Aborted);
    }

    /// <summary>A segment has come; its checksum is right.</summary>
    public void OnSegment(in SimSegment s, ReadOnlySpan<byte> payload)
    {
        Judge.Remember(s, sent: false);
        if (State == TcpState.SynSent) InSynSent(s);
        else if (State != TcpState.Closed) Synchronized(s, payload);
        Notify();
    }

    /// <summary>The connection is over for this end; in TIME_WAIT, which is a normal end already, it goes quietly.</summary>
    public void Finish(TcpEnd end)
    {
        if (State == TcpState.Closed) return;
        State = TcpState.Closed;
        Output.Stop();
        Host.Forget(this);
        Tell(end);
        FreeBuffers();
    }

    /// <summary>Gives buffers back; nothing can be read or written any more.</summary>
    public void FreeBuffers()
    {
        _isFreed = true;
        Sender.Free();
        Receiver.Free();
    }

    /// <summary>The path takes packets of at most <paramref name="mtu"/> bytes (RFC 1191, 8201).</summary>
    public void OnTooBig(TcpSeq quoted, int mtu)
    {
        int mss = mtu - (Local.IsV4 ? 40 : 60);
        long at = Sender.Una + (quoted - SeqOf(Sender.Una));
        if (at < Sender.Una || at > Sender.Max || mss < 88 || mss >= PeerMss) return;
        PeerMss = mss;
        Sender.Next = Sender.Una;
        Output.Run();
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Host.Name} {Local}:{LocalPort} with {Remote}:{RemotePort} ({State}, una {Sender.Una}, nxt {Sender.Next}, rcv {Receiver.Next})";

    private void TakeSyn(in SimSegment s)
    {
        _irs = s.Seq;
        Receiver.Next = 1;
        Receiver.Advertised += State == TcpState.SynSent ? 1 : 0;
        if (s.Mss >= 0) PeerMss = s.Mss;
        UsesTimestamps = s.HasTimestamps && Profile.Timestamps;
        UsesSack = s.HasSackPermitted && Profile.Sack;
        UsesScale = s.WindowScale >= 0 && Profile.WindowScale >= 0;
        if (UsesScale) (PeerScale, OwnScale) = (s.WindowScale, Profile.WindowScale);
        TsRecent = s.TsVal;
        (PeerWindow, _windowAt, _windowAck) = (s.Window, 0, 0);
        MaxPeerWindow = s.Window;
        LastAckSent = 1;
    }

    private void InSynSent(in SimSegment s)
    {
        bool acceptable = s.IsAck && s.Ack == SeqOf(1);
        if (s.IsAck && !acceptable)
        {
            // RFC 9293 3.10.7.3: an old connection's ghost, answered as if nobody were here.
            if (!s.Rst) Host.SendResetFor(s);
            return;
        }
        if (s.Rst && acceptable) Finish(TcpEnd.Reset);
        if (s.Rst || !s.Syn) return;
        if (acceptable) Judge.CheckSynAck(s, Profile);
        TakeSyn(s);
        if (!acceptable)
        {
            State = TcpState.SynReceived;
            Output.SendSyn();
            return;
        }
        Sender.Una = Sender.Next = Sender.Max = 1;
        Establish();
        Output.SendAck();
    }

    private void Establish()
    {
        State = FinQueued ? TcpState.FinWait1 : TcpState.Established;
        _connected = true;
        Output.OnEstablished();
    }

    private void Synchronized(in SimSegment s, ReadOnlySpan<byte> payload)
    {
        long at = Receiver.Next + (s.Seq - PeerSeqOf(Receiver.Next));
        long ack = Sender.Una + (s.Ack - SeqOf(Sender.Una));
        if (s.Syn && !s.Rst)
        {
            if (State == TcpState.SynReceived && s.Seq == _irs && !s.IsAck)
            {
                Output.SendSyn();
                return;
            }
            // Simultaneous open: the SYN-ACK acknowledges our SYN. Anything else is challenged (RFC 5961 4).
            if (State != TcpState.SynReceived || s.Seq != _irs || ack != 1)
            {
                Challenges++;
                Output.SendAck();
                return;
            }
        }
        if (State != TcpState.SynReceived) Judge.Check(s, at, ack, Sender.Max, (Receiver.Next, Receiver.Advertised), Profile.Mss, PeerScale, UsesTimestamps, UsesSack);
        // Also what will be thrown away as old must be what it was.
        if (!s.Rst && !Receiver.Matches(at, payload)) Judge.Fail($"offset {at}: a byte came again with another value");
        if (UsesTimestamps && !s.Rst)
        {
            if (!s.HasTimestamps) return;
            if ((int)(s.TsVal - TsRecent) < 0)
            {
                PawsDrops++;
                Output.SendAck();
                return;
            }
        }
        if (!IsAcceptable(s, at, payload)) return;
        if (UsesTimestamps && s.HasTimestamps && at <= LastAckSent) TsRecent = s.TsVal;
        if (s.Rst)
        {
            OnReset(at);
            return;
        }
        if (!s.IsAck) return;
        if (State == TcpState.SynReceived)
        {
            if (ack < 1 || ack > Sender.Max)
            {
                Host.SendResetFor(s);
                return;
            }
            Sender.Una = Math.Max(1, Sender.Una);
            Sender.Next = Math.Max(1, Sender.Next);
            (PeerWindow, _windowAt, _windowAck) = ((long)s.Window << PeerScale, at, ack);
            Establish();
        }
        if (!TakeAck(s, at, ack) || State == TcpState.Closed) return;
        TakeData(s, at, payload);
        if (State != TcpState.Closed) Output.Run();
    }

    private bool IsAcceptable(in SimSegment s, long at, ReadOnlySpan<byte> payload)
    {
        long length = s.PayloadLength + (s.Fin ? 1 : 0) + (s.Syn ? 1 : 0);
        long edge = Math.Max(Receiver.Advertised, Receiver.Next);
        bool acceptable = length == 0
            ? at >= Receiver.Next && at <= edge
            : at + length > Receiver.Next && at < Math.Max(edge, Receiver.Next + 1);
        if (acceptable) return true;
        if (s.Rst) return false;
        if (s.PayloadLength > 0 && at + s.PayloadLength <= Receiver.Next) Receiver.Store(at, payload);
        if (s.Fin && State == TcpState.TimeWait) Output.RestartTimeWait();
        Output.SendAck(duplicate: length > 0 && s.PayloadLength > 0);
        return false;
    }

    private void OnReset(long at)
    {
        if (at == Receiver.Next)
        {
            Finish(State is TcpState.TimeWait ? TcpEnd.Normal : TcpEnd.Reset);
            return;
        }
        Challenges++;
        Output.SendAck();
    }

    private bool TakeAck(in SimSegment s, long at, long ack)
    {
        if (ack > Sender.Max)
        {
            Output.SendAck();
            return false;
        }
        long before = Sender.Una;
        long window = (long)s.Window << PeerScale;
        bool sameWindow = window == PeerWindow;
        // Also with any newer ack, as Linux does: an old window behind a new edge would promise too much.
        if (ack > before || (ack == before && (at > _windowAt || (at == _windowAt && ack >= _windowAck))))
        {
            (PeerWindow, _windowAt, _windowAck) = (window, at, ack);
            MaxPeerWindow = Math.Max(MaxPeerWindow, window);
        }
        Output.OnAck(s, ack, isDuplicate: ack == before && s.PayloadLength == 0 && !s.Fin && sameWindow);
        if (Sender.Una > before && Sender.Room > 0) _writable = true;
        bool finAcked = FinQueued && Sender.Una == Sender.End + 1;
        if (!finAcked) return true;
        if (State == TcpState.FinWait1) State = TcpState.FinWait2;
        else if (State == TcpState.Closing) EnterTimeWait();
        else if (State == TcpState.LastAck) Finish(TcpEnd.Normal);
        return true;
    }

    private void TakeData(in SimSegment s, long at, ReadOnlySpan<byte> payload)
    {
        if (payload.IsEmpty && !s.Fin) return;
        if (s.Fin) _peerFinAt = at + payload.Length;
        long before = Receiver.Next;
        bool wasAhead = Receiver.Ahead.Count > 0;
        if (!payload.IsEmpty && before <= _peerFinAt) Receiver.Store(at, payload);
        if (Receiver.Next > before) _readable = true;
        bool finNow = Receiver.Next == _peerFinAt;
        if (finNow)
        {
            Receiver.Next++;
            // The FIN takes a place in sequence space that the window did not have to have.
            Receiver.Advertised = Math.Max(Receiver.Advertised, Receiver.Next);
            _readable = true;
            TakeFin();
        }
        bool inOrder = at <= before && Receiver.Next > before && !wasAhead;
        Output.OnData(immediate: finNow || !inOrder, duplicate: at + payload.Length <= before && payload.Length > 0, payload.Length);
    }

    private void TakeFin()
    {
        if (State == TcpState.Established) State = TcpState.CloseWait;
        else if (State == TcpState.FinWait1) State = TcpState.Closing;
        else if (State == TcpState.FinWait2) EnterTimeWait();
    }

    private void EnterTimeWait()
    {
        State = TcpState.TimeWait;
        Output.RestartTimeWait();
        _readable = true;
        Tell(TcpEnd.Normal);
    }

    private void Tell(TcpEnd end)
    {
        if (End != TcpEnd.None) return;
        End = end;
        // The application hears of the last bytes before it hears of the end.
        if (_readable && end == TcpEnd.Normal) App.OnReadable(this);
        _readable = false;
        App.OnEnd(this, end);
    }

    private void Notify()
    {
        if (_connected) App.OnConnected(this);
        _connected = false;
        if (_readable && State != TcpState.Closed) App.OnReadable(this);
        _readable = false;
        if (_writable && State != TcpState.Closed && !FinQueued) App.OnWritable(this);
        _writable = false;
    }
}
