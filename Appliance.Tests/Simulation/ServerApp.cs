using System.Buffers.Binary;
using System.Buffers.Text;
using System.Globalization;

namespace Appliance.Tests.Simulation;

/// <summary>
/// One connection at a backend: takes the requests that the plan knows, byte by byte, and answers each when it is whole.
/// A PROXY v2 header may come first; it must name the client. Closes when its peer has, or as the plan says.
/// </summary>
internal sealed class ServerApp(TrafficPlan plan, RequestLedger ledger, int server, SimWorld world) : SimApp
{
    private static readonly byte[] ProxySignature = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10];

    private readonly byte[] _head = new byte[8192];
    private readonly Queue<RequestPlan> _answers = new();
    private int _headLength;
    private RequestPlan? _request;
    private long _requestAt, _answerAt;
    private bool _first = true, _done;

    public ModelTcp? Tcp { get; private set; }

    public TcpEnd End { get; private set; }

    /// <summary>The client's plan, once a request has told it.</summary>
    public ConnectionPlan? Connection { get; private set; }

    /// <summary>Bytes of the PROXY header, 0 if there was none.</summary>
    public int ProxyLength { get; private set; }

    public override void OnConnected(ModelTcp tcp) => Tcp = tcp;

    public override void OnEnd(ModelTcp tcp, TcpEnd end)
    {
        Tcp = tcp;
        End = end;
    }

    public override void OnReadable(ModelTcp tcp)
    {
        Span<byte> chunk = stackalloc byte[4096];
        int n;
        while (!_done && (n = tcp.Read(chunk)) > 0) Take(tcp, chunk[..n]);
        Answer(tcp);
        if (tcp.IsEof && _answers.Count == 0) tcp.CloseSend();
    }

    public override void OnWritable(ModelTcp tcp)
    {
        Answer(tcp);
        if (tcp.IsEof && _answers.Count == 0) tcp.CloseSend();
    }

    private void Take(ModelTcp tcp, Span<byte> bytes)
    {
        while (!bytes.IsEmpty && !_done)
        {
            int used = _request is null ? TakeHead(tcp, bytes) : TakeBody(tcp, bytes);
            if (_request is not null && _requestAt == _request.RequestLength)
            {
                _answers.Enqueue(_request);
                _request = null;
            }
            bytes = bytes[used..];
        }
    }

    private int TakeHead(ModelTcp tcp, Span<byte> bytes)
    {
        int before = _headLength;
        int n = Math.Min(bytes.Length, _head.Length - _headLength);
        bytes[..n].CopyTo(_head.AsSpan(_headLength));
        _headLength += n;
        if (_first && !SkipProxy(tcp)) return n;
        int end = _head.AsSpan(0, _headLength).IndexOf("\r\n\r\n"u8);
        if (end < 0)
        {
            if (_headLength == _head.Length) Wrong(tcp, "head without an end");
            return n;
        }
        // A PROXY header was cut from the front of what is kept.
        int used = n - (_headLength - (end + 4));
        Span<byte> head = _head.AsSpan(0, end + 4);
        _request = plan.Find(IdOf(head));
        if (_request is null || !head.SequenceEqual(_request.Head))
        {
            Wrong(tcp, string.Create(CultureInfo.InvariantCulture, $"request head of {end + 4} B is not the one that was sent (at {before})"));
            return n;
        }
        _requestAt = end + 4;
        _headLength = 0;
        Connection = plan.Connections[_request.Id / 1000];
        ledger.Enter(_request, server, this);
        return used;
    }

    private bool SkipProxy(ModelTcp tcp)
    {
        int compared = Math.Min(_headLength, 12);
        if (!_head.AsSpan(0, compared).SequenceEqual(ProxySignature.AsSpan(0, compared)))
        {
            _first = false;
            return true;
        }
        if (_headLength < 16) return false;
        int length = 16 + BinaryPrimitives.ReadUInt16BigEndian(_head.AsSpan(14));
        if (_headLength < length) return false;
        if (_head[12] != 0x21 || _head[13] is not (0x11 or 0x21)) Wrong(tcp, "PROXY header of an unknown kind");
        _head.AsSpan(length, _headLength - length).CopyTo(_head);
        _headLength -= length;
        ProxyLength = length;
        _first = false;
        return _headLength > 0;
    }

    private static int IdOf(ReadOnlySpan<byte> head)
    {
        int at = head.IndexOf("/r/"u8);
        return at >= 0 && Utf8Parser.TryParse(head[(at + 3)..], out int id, out _) ? id : -1;
    }

    private int TakeBody(ModelTcp tcp, Span<byte> bytes)
    {
        int n = (int)Math.Min(bytes.Length, _request!.RequestLength - _requestAt);
        Span<byte> expected = stackalloc byte[n];
        _request.FillRequest(expected, _requestAt);
        if (!expected.SequenceEqual(bytes[..n])) Wrong(tcp, string.Create(CultureInfo.InvariantCulture, $"request {_request.Id}: wrong byte behind offset {_requestAt}"));
        _requestAt += n;
        return n;
    }

    private void Answer(ModelTcp tcp)
    {
        Span<byte> chunk = stackalloc byte[4096];
        while (!_done && _answers.TryPeek(out RequestPlan? request))
        {
            long total = request.ServerAbortAt >= 0 ? request.ServerAbortAt : request.TotalResponse;
            while (_answerAt < total)
            {
                int n = (int)Math.Min(Math.Min(chunk.Length, tcp.Sender.Room), total - _answerAt);
                if (n <= 0) return;
                request.FillResponse(chunk[..n], _answerAt);
                n = tcp.Write(chunk[..n]);
                if (n <= 0) return;
                _answerAt += n;
            }
            _answers.Dequeue();
            _answerAt = 0;
            if (request.ServerAbortAt >= 0) Stop(tcp, abort: true);
            else if (request.ServerCloses) Stop(tcp, abort: false);
        }
    }

    private void Stop(ModelTcp tcp, bool abort)
    {
        _done = true;
        _answers.Clear();
        if (abort) tcp.Abort();
        else tcp.CloseSend();
    }

    private void Wrong(ModelTcp tcp, string what)
    {
        world.Violate($"{tcp}: {what}");
        Stop(tcp, abort: true);
    }
}
