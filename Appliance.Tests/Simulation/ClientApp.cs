using System.Globalization;

namespace Appliance.Tests.Simulation;

/// <summary>What became of a client's connection.</summary>
internal enum Outcome
{
    /// <summary>Not over when the run ended.</summary>
    Stuck,

    /// <summary>As planned, to the last byte and FIN.</summary>
    Complete,

    /// <summary>Cut off: RST, or an end of stream in the wrong place.</summary>
    Reset,

    /// <summary>Given up after too many retransmissions.</summary>
    TimedOut,
}

/// <summary>
/// One client connection, carried out as planned: writes requests in the planned pieces, checks every byte of the
/// responses in order, closes as planned. Reports how it ended and when it last made progress.
/// </summary>
internal sealed class ClientApp(SimWorld world, SimHost host, ConnectionPlan plan, ScenarioAddresses addresses) : SimApp
{
    private const int CodeStart = 0, CodeWrite = 1, CodeRead = 2, CodeClose = 3;

    private readonly Ticker _ticker = new();
    private int _writing, _piece, _reading;
    private long _writeAt, _readAt;
    private bool _writePending, _readPending, _gotEof, _closing, _abortedByPlan;

    public ConnectionPlan Plan => plan;

    public Outcome Outcome { get; private set; } = Outcome.Stuck;

    public bool IsOver { get; private set; }

    public ModelTcp? Tcp { get; private set; }

    /// <summary>Response bytes read, when the last came, and the longest time between two while a response was due, in ns.</summary>
    public long BytesRead { get; private set; }

    public long LastProgress { get; private set; }

    public long LongestGap { get; private set; }

    /// <summary>True if a server's planned abort explains that nothing more came: it also discards what it had not yet sent.</summary>
    public bool MayEndHere => plan.IsPipelined ? _reading < plan.Requests.Length : _reading == plan.Requests.Length - 1;

    public void Start()
    {
        _ticker.Target = this;
        world.Schedule(plan.StartNs, _ticker, CodeStart);
    }

    public override void OnConnected(ModelTcp tcp)
    {
        LastProgress = world.Now;
        if (plan.Close == CloseKind.Idle) world.Schedule(world.Now + plan.IdleNs, _ticker, CodeClose);
        else Later(CodeWrite, plan.Requests[0].ThinkNs);
    }

    public override void OnReadable(ModelTcp tcp)
    {
        if (plan.ReadChunk == 0 || tcp.End != TcpEnd.None) ReadAll(tcp, int.MaxValue);
        else if (!_readPending) Later(CodeRead, plan.ReadPauseNs);
    }

    public override void OnWritable(ModelTcp tcp) => Write(tcp);

    public override void OnEnd(ModelTcp tcp, TcpEnd end)
    {
        IsOver = true;
        bool all = _reading == plan.Requests.Length;
        Outcome = end switch
        {
            _ when _abortedByPlan => Outcome.Complete,
            TcpEnd.Normal when all && _gotEof => Outcome.Complete,
            TcpEnd.Reset when plan.Close == CloseKind.ServerAborts && MayEndHere => Outcome.Complete,
            TcpEnd.TimedOut => Outcome.TimedOut,
            _ => Outcome.Reset,
        };
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{plan}; {Outcome}, response {_reading} at {_readAt}, wrote request {_writing} to {_writeAt}, eof {_gotEof}, {Tcp}");

    private void OnTick(int code)
    {
        if (code == CodeStart)
        {
            (var local, ushort port) = addresses.Client(plan);
            Tcp = host.Connect(local, port, addresses.Service(plan.IsV6), addresses.ServicePort, plan.Profile, this);
            return;
        }
        if (code == CodeWrite) _writePending = false;
        if (code == CodeRead) _readPending = false;
        ModelTcp tcp = Tcp!;
        if (IsOver && code != CodeRead) return;
        if (code == CodeWrite) Write(tcp);
        else if (code == CodeRead) ReadAll(tcp, plan.ReadChunk);
        else Close(tcp);
    }

    private void Later(int code, long delay)
    {
        if (code == CodeWrite) _writePending = true;
        if (code == CodeRead) _readPending = true;
        world.Schedule(world.Now + delay, _ticker, code);
    }

    private void Write(ModelTcp tcp)
    {
        Span<byte> chunk = stackalloc byte[4096];
        while (!_writePending && !IsOver && _writing < plan.Requests.Length)
        {
            if (_writing > _reading && !plan.IsPipelined) return;
            RequestPlan request = plan.Requests[_writing];
            bool isHead = _writeAt < request.Head.Length;
            long left = isHead ? request.Head.Length - _writeAt : request.RequestLength - _writeAt;
            if (isHead && _piece < request.HeadPieces.Length - 1) left = Math.Min(left, request.HeadPieces[_piece]);
            int n = (int)Math.Min(Math.Min(left, chunk.Length), tcp.Sender.Room);
            if (n <= 0 && left > 0) return;
            request.FillRequest(chunk[..n], _writeAt);
            n = tcp.Write(chunk[..n]);
            if (n <= 0 && left > 0) return;
            _writeAt += n;
            _piece++;
            if (_writeAt == request.RequestLength) NextRequest(tcp);
            else if (_writeAt < request.Head.Length && request.PieceGapNs > 0) Later(CodeWrite, request.PieceGapNs);
        }
    }

    private void NextRequest(ModelTcp tcp)
    {
        _writing++;
        _writeAt = 0;
        _piece = 0;
        LastProgress = world.Now;
        if (_writing < plan.Requests.Length)
        {
            if (plan.IsPipelined) Later(CodeWrite, plan.Requests[_writing].ThinkNs);
        }
        else if (plan.Close == CloseKind.HalfClose)
        {
            tcp.CloseSend();
        }
    }

    private void ReadAll(ModelTcp tcp, int most)
    {
        Span<byte> chunk = stackalloc byte[4096], expected = stackalloc byte[4096];
        while (most > 0 && !_abortedByPlan)
        {
            bool last = plan.Close == CloseKind.ClientAborts && _reading == plan.Requests.Length - 1;
            long stop = last ? Math.Max(1, plan.AbortAt - _readAt) : most;
            int n = tcp.Read(chunk[..(int)Math.Min(Math.Min(most, stop), chunk.Length)]);
            if (n <= 0) break;
            most -= n;
            Check(tcp, chunk[..n], expected);
            // A chunk may reach from the response before over the whole last one.
            if (plan.Close == CloseKind.ClientAborts && (_reading == plan.Requests.Length || (last && _readAt >= plan.AbortAt)))
            {
                _abortedByPlan = true;
                tcp.Abort();
                return;
            }
        }
        if (tcp.Available > 0 && !_readPending && !IsOver) Later(CodeRead, plan.ReadPauseNs);
        if (tcp.IsEof) OnEof(tcp);
    }

    private void Check(ModelTcp tcp, ReadOnlySpan<byte> bytes, Span<byte> expected)
    {
        LongestGap = Math.Max(LongestGap, world.Now - LastProgress);
        LastProgress = world.Now;
        BytesRead += bytes.Length;
        while (!bytes.IsEmpty)
        {
            if (_reading >= _writing + 1 || _reading >= plan.Requests.Length)
            {
                world.Violate($"{tcp}: bytes behind the last response; {plan}");
                return;
            }
            RequestPlan request = plan.Requests[_reading];
            int n = (int)Math.Min(bytes.Length, request.TotalResponse - _readAt);
            request.FillResponse(expected[..n], _readAt);
            if (!expected[..n].SequenceEqual(bytes[..n])) world.Violate($"{tcp}: response {request.Id}: wrong byte behind offset {_readAt}; {plan}");
            _readAt += n;
            bytes = bytes[n..];
            if (_readAt == request.TotalResponse) ResponseDone(tcp);
        }
    }

    private void ResponseDone(ModelTcp tcp)
    {
        _readAt = 0;
        _reading++;
        if (_reading < plan.Requests.Length)
        {
            if (!plan.IsPipelined) Later(CodeWrite, plan.Requests[_reading].ThinkNs);
        }
        else if (plan.Close is CloseKind.ClientCloses or CloseKind.Both)
        {
            Close(tcp);
        }
    }

    private void OnEof(ModelTcp tcp)
    {
        _gotEof = true;
        Close(tcp);
    }

    private void Close(ModelTcp tcp)
    {
        if (_closing) return;
        _closing = true;
        tcp.CloseSend();
    }

    private sealed class Ticker : SimActor
    {
        public ClientApp? Target { get; set; }

        protected internal override void OnEvent(int code, SimFrame? frame) => Target!.OnTick(code);
    }
}
