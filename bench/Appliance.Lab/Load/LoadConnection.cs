using System.Buffers;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Appliance.Lab.Net;
using Appliance.Lab.Servers;

namespace Appliance.Lab.Load;

/// <summary>
/// One connection of a load run (in mode Short: one worker, which makes many). Its errors are named "reset",
/// "refused", "unreachable", "closed", "stalled", "time limit", "status NNN", "mismatch", or the socket error's name.
/// </summary>
internal sealed class LoadConnection(int index, LoadOptions options, IPEndPoint target, LoadTotals totals, Action<SlowRequest>? slow = null)
{
    private const int BulkBuffer = 256 * 1024;
    private const int SmallBuffer = 16 * 1024;
    private const int UploadPiece = 128 * 1024;
    private const int TcpLevel = 6;
    private const int TcpNotSentLowat = 25;

    private readonly ulong _seed = options.Seed + (ulong)index;
    private readonly string _host = options.HostHeader ?? (options.Address.Contains(':', StringComparison.Ordinal) ? $"[{options.Address}]" : options.Address);
    private readonly long _started = Stopwatch.GetTimestamp();
    private Socket? _socket;
    private long _lastProgress = Stopwatch.GetTimestamp();
    private long _longestSilence;
    private long _bytes;
    private bool _done;
    private string? _closedBecause;
    private byte[]? _request;

    public LatencyHistogram Latency { get; } = new();

    public Dictionary<string, int> Errors { get; } = new(StringComparer.Ordinal);

    public Dictionary<string, int> Servers { get; } = new(StringComparer.Ordinal);

    public long Mismatched { get; private set; }

    public long ShaVerified { get; private set; }

    public long LongestSilenceNs => (long)(_longestSilence * 1e9 / Stopwatch.Frequency);

    private bool Bulk => options.Mode is LoadMode.Get or LoadMode.Put or LoadMode.Both;

    public ConnectionResult Result() => new(index, options.Mode.ToString().ToLowerInvariant(), _bytes, Mismatched, ShaVerified > 0,
        Stopwatch.GetElapsedTime(_started).TotalSeconds, LongestSilenceNs / 1e6, Errors.Keys.FirstOrDefault(), Servers.Keys.FirstOrDefault());

    /// <summary>Called by the watch: closes the socket when nothing moved for too long, or when the run's time is over.</summary>
    public void CloseIfStalled(bool over)
    {
        bool stalled = Stopwatch.GetElapsedTime(Volatile.Read(ref _lastProgress)).TotalSeconds > options.StallSeconds;
        if (!_done && (over || stalled))
        {
            _closedBecause = over ? "time limit" : "stalled";
            _socket?.Dispose();
        }
    }

    public async Task Run()
    {
        Touch(0);
        bool again = true;
        while (again)
        {
            bool good = await Guarded(Bulk ? Transfer : RequestLoop).ConfigureAwait(false);
            bool mayGoOn = options.Mode == LoadMode.Short || (options.Reconnect && !Bulk);
            again = mayGoOn && !good && _closedBecause is not "time limit" && Stopwatch.GetTimestamp() < totals.Deadline;
        }
        _done = true;
    }

    private async Task<bool> Guarded(Func<Task> work)
    {
        try
        {
            await work().ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is SocketException or IOException or ObjectDisposedException or InvalidDataException or OperationCanceledException)
        {
            string error = Name(e);
            Errors[error] = Errors.GetValueOrDefault(error) + 1;
            totals.AddBroken();
            Touch(0);
            return false;
        }
        finally
        {
            _socket?.Dispose();
        }
    }

    private string Name(Exception e) => _closedBecause ?? e switch
    {
        SocketException { SocketErrorCode: SocketError.ConnectionReset or SocketError.Shutdown or SocketError.ConnectionAborted } => "reset",
        SocketException { SocketErrorCode: SocketError.ConnectionRefused } => "refused",
        SocketException { SocketErrorCode: SocketError.HostUnreachable or SocketError.NetworkUnreachable } => "unreachable",
        SocketException s => s.SocketErrorCode.ToString(),
        EndOfStreamException => "closed",
        InvalidDataException d => d.Message,
        _ => e.GetType().Name,
    };

    private async Task<HttpConnection> Connect()
    {
        var socket = new Socket(target.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        _socket = socket;
        if (options.Bind is not null)
        {
            socket.Bind(new IPEndPoint(IPAddress.Parse(options.Bind), 0));
        }
        if (options.UnsentBytes > 0)
        {
            socket.SetRawSocketOption(TcpLevel, TcpNotSentLowat, BitConverter.GetBytes(options.UnsentBytes));
        }
        await socket.ConnectAsync(target).ConfigureAwait(false);
        Touch(0);
        var connection = new HttpConnection(socket, Bulk ? BulkBuffer : SmallBuffer) { OnProgress = Bulk ? TouchBulk : Touch };
        if (options.PaceMbit > 0)
        {
            connection.Pace(options.PaceMbit);
        }
        return connection;
    }

    /// <summary>Notes progress, and how long there was none.</summary>
    private void Touch(int _)
    {
        long now = Stopwatch.GetTimestamp();
        if (now >= totals.MeasureFrom)
        {
            _longestSilence = Math.Max(_longestSilence, now - _lastProgress);
        }
        Volatile.Write(ref _lastProgress, now);
    }

    private void TouchBulk(int bytes)
    {
        Touch(bytes);
        _bytes += bytes;
        totals.AddBytes(bytes);
    }

    private async Task Transfer()
    {
        using var connection = await Connect().ConfigureAwait(false);
        if (options.Mode != LoadMode.Get)
        {
            await Upload(connection, close: options.Mode == LoadMode.Put).ConfigureAwait(false);
        }
        if (options.Mode != LoadMode.Put)
        {
            await Download(connection).ConfigureAwait(false);
        }
        totals.AddRequest();
    }

    private async Task Download(HttpConnection connection)
    {
        await connection.Send(Head("GET", options.PaceMbit > 0 ? "/bytes/{bytes}/{pace}?seed={seed}" : "/bytes/{bytes}?seed={seed}", 0, close: true)).ConfigureAwait(false);
        var head = await GoodHead(connection).ConfigureAwait(false);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await connection.ReadBody(head.ContentLength, (data, offset) =>
        {
            if (options.Verify && options.Sha256 is not null)
            {
                hash.AppendData(data.Span);
            }
            else if (options.Verify)
            {
                Mismatched += Pattern.Differences(data.Span, _seed, offset);
                hash.AppendData(data.Span);
            }
        }).ConfigureAwait(false);
        if (options.Verify)
        {
            bool same = options.Sha256 is null
                ? Mismatched == 0 && head.ContentLength == options.Bytes
                : Convert.ToHexStringLower(hash.GetHashAndReset()) == options.Sha256;
            Verified(same);
        }
    }

    private async Task Upload(HttpConnection connection, bool close)
    {
        string path = options.Verify ? "/sink?seed={seed}" : "/discard";
        await connection.Send(Head("PUT", path, options.Bytes, close)).ConfigureAwait(false);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] piece = ArrayPool<byte>.Shared.Rent(UploadPiece);
        try
        {
            Pattern.Fill(piece.AsSpan(0, UploadPiece), _seed, 0);
            for (long sent = 0; sent < options.Bytes;)
            {
                int take = (int)Math.Min(UploadPiece, options.Bytes - sent);
                if (options.Verify)
                {
                    Pattern.Fill(piece.AsSpan(0, take), _seed, sent);
                    hash.AppendData(piece, 0, take);
                }
                await connection.Send(piece.AsMemory(0, take)).ConfigureAwait(false);
                sent += take;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(piece);
        }
        var head = await GoodHead(connection).ConfigureAwait(false);
        string answer = await Text(connection, head).ConfigureAwait(false);
        if (options.Verify && options.Path is null)
        {
            string sha = Convert.ToHexStringLower(hash.GetHashAndReset());
            Mismatched += Field(answer, "mismatched");
            Verified(Field(answer, "length") == options.Bytes && answer.Contains(sha, StringComparison.Ordinal));
        }
    }

    private void Verified(bool same)
    {
        if (!same)
        {
            throw new InvalidDataException("mismatch");
        }
        ShaVerified++;
    }

    private async Task RequestLoop()
    {
        bool once = options.Mode == LoadMode.Once;
        bool shortLived = options.Mode == LoadMode.Short;
        HttpConnection? connection = null;
        try
        {
            for (long n = 0; MoreToDo(n); n++)
            {
                long start = Stopwatch.GetTimestamp();
                connection ??= await Connect().ConfigureAwait(false);
                var request = once ? OnceRequest(totals.NextRequest()) : _request ??= Encoding.Latin1.GetBytes(Head("GET", "/rr/{bytes}", 0, shortLived));
                await connection.Send(request).ConfigureAwait(false);
                var head = await GoodHead(connection).ConfigureAwait(false);
                if (once)
                {
                    Once(await Text(connection, head).ConfigureAwait(false));
                }
                else
                {
                    await connection.ReadBody(head.ContentLength, (_, _) => { }).ConfigureAwait(false);
                }
                if (shortLived)
                {
                    connection.Dispose();
                    connection = null;
                }
                Touch(0);
                _bytes += head.ContentLength;
                totals.AddBytes(head.ContentLength);
                long end = Stopwatch.GetTimestamp();
                if (end >= totals.MeasureFrom)
                {
                    Latency.Add((long)(Stopwatch.GetElapsedTime(start, end).Ticks * 100.0));
                    totals.AddRequest();
                }
                double ms = Stopwatch.GetElapsedTime(start, end).TotalMilliseconds;
                if (options.SlowMs > 0 && ms > options.SlowMs)
                {
                    slow?.Invoke(new SlowRequest(index, LabNative.MonotonicNs() - (long)Stopwatch.GetElapsedTime(start).TotalNanoseconds, ms));
                }
                if (options.IntervalMs > 0)
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(options.IntervalMs)).ConfigureAwait(false);
                    Volatile.Write(ref _lastProgress, Stopwatch.GetTimestamp());
                }
            }
        }
        finally
        {
            connection?.Dispose();
        }
    }

    private bool MoreToDo(long done) => options.Count switch
    {
        0 => Stopwatch.GetTimestamp() < totals.Deadline,
        _ when options.Mode == LoadMode.Short => totals.NextRequest() <= options.Count,
        _ => done < options.Count,
    };

    private byte[] OnceRequest(long number) => Encoding.Latin1.GetBytes(
        string.Create(CultureInfo.InvariantCulture, $"POST /once/{options.Seed}-{index}-{number} HTTP/1.1\r\nHost: {_host}\r\nContent-Length: 0\r\n\r\n"));

    private void Once(string answer)
    {
        if (Field(answer, "count") != 1)
        {
            throw new InvalidDataException("mismatch");
        }
    }

    private string Head(string method, string defaultPath, long length, bool close)
    {
        string path = (options.Path ?? defaultPath)
            .Replace("{bytes}", options.Bytes.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{pace}", options.PaceMbit.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{seed}", _seed.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
        string body = method == "PUT" ? string.Create(CultureInfo.InvariantCulture, $"Content-Length: {length}\r\n") : string.Empty;
        return $"{method} {path} HTTP/1.1\r\nHost: {_host}\r\n{body}{(close ? "Connection: close\r\n" : string.Empty)}\r\n";
    }

    private async ValueTask<HttpHead> GoodHead(HttpConnection connection)
    {
        var head = await connection.ReadHead().ConfigureAwait(false) ?? throw new EndOfStreamException("closed before the response");
        return head.SecondWord.StartsWith('2') ? head : throw new InvalidDataException("status " + head.SecondWord);
    }

    private async ValueTask<string> Text(HttpConnection connection, HttpHead head)
    {
        var text = new StringBuilder();
        await connection.ReadBody(head.ContentLength, (data, _) => text.Append(Encoding.Latin1.GetString(data.Span))).ConfigureAwait(false);
        string answer = text.ToString();
        int name = answer.IndexOf("\"server\":\"", StringComparison.Ordinal);
        if (name >= 0)
        {
            string server = answer[(name + 10)..].Split('"')[0];
            Servers[server] = Servers.GetValueOrDefault(server) + 1;
        }
        return answer;
    }

    /// <summary>A number of the server's flat JSON answer; -1 when it is not there.</summary>
    private static long Field(string answer, string name)
    {
        int at = answer.IndexOf($"\"{name}\":", StringComparison.Ordinal);
        if (at < 0)
        {
            return -1;
        }
        var rest = answer.AsSpan(at + name.Length + 3);
        int end = rest.IndexOfAny(',', '}');
        return long.Parse(rest[..end], CultureInfo.InvariantCulture);
    }
}
