using System.Buffers;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Appliance.Lab.Servers;

/// <summary>The head of a request or response: first line and the two headers that the lab needs.</summary>
public readonly record struct HttpHead(string FirstLine, long ContentLength, bool Close, bool Continue)
{
    /// <summary>Second word of the first line: a request's target, a response's status.</summary>
    public string SecondWord => FirstLine.Split(' ') is { Length: >= 2 } words ? words[1] : string.Empty;

    internal static HttpHead Parse(ReadOnlySpan<byte> bytes)
    {
        string[] lines = Encoding.Latin1.GetString(bytes).Split("\r\n");
        var head = new HttpHead(lines[0], 0, Close: false, Continue: false);
        foreach (string line in lines.Skip(1))
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon < 0)
            {
                continue;
            }
            var name = line.AsSpan(0, colon);
            var value = line.AsSpan(colon + 1).Trim();
            if (name.Equals("content-length", StringComparison.OrdinalIgnoreCase))
            {
                head = head with { ContentLength = long.Parse(value, CultureInfo.InvariantCulture) };
            }
            else if (name.Equals("connection", StringComparison.OrdinalIgnoreCase))
            {
                head = head with { Close = value.Equals("close", StringComparison.OrdinalIgnoreCase) };
            }
            else if (name.Equals("expect", StringComparison.OrdinalIgnoreCase))
            {
                head = head with { Continue = true };
            }
        }
        return head;
    }
}

/// <summary>
/// One side of an HTTP/1.1 connection over a socket: heads with Content-Length, bodies as plain bytes. Only what the
/// lab's own client and server say to each other, to nginx and through proxies; no chunked coding.
/// </summary>
public sealed class HttpConnection : IDisposable
{
    private const int SocketLevel = 1, MaxPacingRate = 47;

    private readonly Socket _socket;
    private readonly byte[] _buffer;
    private int _start;
    private int _end;
    private bool _disposed;

    public HttpConnection(Socket socket, int bufferBytes)
    {
        _socket = socket;
        _buffer = ArrayPool<byte>.Shared.Rent(bufferBytes);
    }

    public Socket Socket => _socket;

    /// <summary>Lets the kernel spread what is sent over time (SO_MAX_PACING_RATE); Mb/s.</summary>
    public void Pace(double mbit) => _socket.SetRawSocketOption(SocketLevel, MaxPacingRate, BitConverter.GetBytes((ulong)(mbit * 1e6 / 8)));

    /// <summary>Called after every transfer with the number of bytes.</summary>
    public Action<int>? OnProgress { get; set; }

    /// <summary>Reads a head; null when the peer closed before its first byte. A close inside it is an <see cref="EndOfStreamException"/>.</summary>
    public async ValueTask<HttpHead?> ReadHead()
    {
        while (true)
        {
            int length = _buffer.AsSpan(_start, _end - _start).IndexOf("\r\n\r\n"u8);
            if (length >= 0)
            {
                var head = HttpHead.Parse(_buffer.AsSpan(_start, length));
                _start += length + 4;
                return head;
            }
            Compact();
            int read = await _socket.ReceiveAsync(_buffer.AsMemory(_end)).ConfigureAwait(false);
            if (read == 0)
            {
                return _end == 0 ? null : throw new EndOfStreamException("closed inside a head");
            }
            _end += read;
            OnProgress?.Invoke(read);
        }
    }

    /// <summary>Reads a body of <paramref name="length"/> bytes and hands each piece, with its offset, to <paramref name="sink"/>.</summary>
    public async ValueTask ReadBody(long length, Action<ReadOnlyMemory<byte>, long> sink)
    {
        long done = 0;
        while (done < length)
        {
            if (_start == _end)
            {
                _start = 0;
                _end = await _socket.ReceiveAsync(_buffer.AsMemory()).ConfigureAwait(false);
                if (_end == 0)
                {
                    throw new EndOfStreamException("closed inside a body");
                }
                OnProgress?.Invoke(_end);
            }
            int take = (int)Math.Min(_end - _start, length - done);
            sink(_buffer.AsMemory(_start, take), done);
            _start += take;
            done += take;
        }
    }

    /// <summary>Sends all bytes.</summary>
    public async ValueTask Send(ReadOnlyMemory<byte> data)
    {
        while (data.Length > 0)
        {
            int sent = await _socket.SendAsync(data).ConfigureAwait(false);
            OnProgress?.Invoke(sent);
            data = data[sent..];
        }
    }

    /// <summary>Sends text as Latin-1.</summary>
    public ValueTask Send(string text) => Send(Encoding.Latin1.GetBytes(text));

    public void Dispose()
    {
        _socket.Dispose();
        if (!_disposed)
        {
            _disposed = true;
            ArrayPool<byte>.Shared.Return(_buffer);
        }
    }

    private void Compact()
    {
        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _start = 0;
        }
        if (_end == _buffer.Length)
        {
            throw new InvalidDataException("head longer than the buffer");
        }
    }
}
