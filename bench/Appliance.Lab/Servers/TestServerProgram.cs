using System.Buffers;
using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Appliance.Lab.Servers;

/// <summary>
/// The lab's own HTTP server ("appliance-lab server"), whose answers can be verified byte by byte:
/// GET /bytes/N?seed=S, GET /bytes/N/P?seed=S (the connection paced to P Mb/s), PUT /sink?seed=S (length, SHA-256, differing bytes), PUT /discard, GET /rr/B (B bytes, 200 by
/// default), POST /once/ID (counts how often a non-idempotent request arrived), GET /once, GET /health.
/// Keep-alive and "Connection: close". Not for hostile input.
/// </summary>
public sealed class TestServerProgram(string name)
{
    private const int Piece = 128 * 1024;

    private readonly ConcurrentDictionary<string, int> _once = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<(int Length, bool Close), byte[]> _small = new();

    /// <summary>Serves until the token is cancelled.</summary>
    public async Task Run(int port, CancellationToken cancel)
    {
        using var listener = new Socket(AddressFamily.InterNetworkV6, SocketType.Stream, ProtocolType.Tcp);
        listener.DualMode = true;
        listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, optionValue: true);
        listener.Bind(new IPEndPoint(IPAddress.IPv6Any, port));
        listener.Listen(4096);
        Console.WriteLine($"{name} listens on {port}");
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                var socket = await listener.AcceptAsync(cancel).ConfigureAwait(false);
                socket.NoDelay = true;
                _ = Serve(socket);
            }
            catch (SocketException)
            {
                // The client reset it before it was accepted.
            }
        }
    }

    private async Task Serve(Socket socket)
    {
        using var connection = new HttpConnection(socket, 64 * 1024);
        try
        {
            while (await connection.ReadHead().ConfigureAwait(false) is { } head)
            {
                await Answer(connection, head).ConfigureAwait(false);
                if (head.Close)
                {
                    socket.Shutdown(SocketShutdown.Send);
                    break;
                }
            }
        }
        catch (Exception e) when (e is SocketException or IOException or InvalidDataException or ObjectDisposedException)
        {
            // The peer is gone; it is the client's part to call that broken.
        }
    }

    private async ValueTask Answer(HttpConnection connection, HttpHead head)
    {
        var (path, seed) = Target(head.SecondWord);
        string[] parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        string first = parts.Length > 0 ? parts[0] : string.Empty;
        string second = parts.Length > 1 ? parts[1] : string.Empty;
        switch (first)
        {
            case "bytes":
                if (parts.Length > 2)
                {
                    connection.Pace(double.Parse(parts[2], CultureInfo.InvariantCulture));
                }
                await SendBytes(connection, head, long.Parse(second, CultureInfo.InvariantCulture), seed).ConfigureAwait(false);
                return;
            case "rr":
                await SendSmall(connection, head, second.Length == 0 ? 200 : int.Parse(second, CultureInfo.InvariantCulture)).ConfigureAwait(false);
                return;
            case "sink":
                await Sink(connection, head, seed).ConfigureAwait(false);
                return;
            case "once" when second.Length > 0:
                await Discard(connection, head).ConfigureAwait(false);
                int count = _once.AddOrUpdate(second, 1, (_, n) => n + 1);
                await SendText(connection, head, $"{{\"id\":\"{second}\",\"count\":{count},\"server\":\"{name}\"}}").ConfigureAwait(false);
                return;
            case "once":
                await SendText(connection, head, "{" + string.Join(',', _once.Select(o => $"\"{o.Key}\":{o.Value}")) + "}").ConfigureAwait(false);
                return;
            case "discard" or "health":
                await Discard(connection, head).ConfigureAwait(false);
                await SendText(connection, head, $"{{\"length\":{head.ContentLength},\"server\":\"{name}\"}}").ConfigureAwait(false);
                return;
            default:
                await Discard(connection, head).ConfigureAwait(false);
                await connection.Send($"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{Closing(head)}\r\n").ConfigureAwait(false);
                return;
        }
    }

    private static (string Path, ulong? Seed) Target(string target)
    {
        int query = target.IndexOf("?seed=", StringComparison.Ordinal);
        return query < 0
            ? (target, null)
            : (target[..query], ulong.Parse(target.AsSpan(query + 6), CultureInfo.InvariantCulture));
    }

    private async ValueTask SendBytes(HttpConnection connection, HttpHead head, long length, ulong? seed)
    {
        await connection.Send(Head(head, length)).ConfigureAwait(false);
        byte[] piece = ArrayPool<byte>.Shared.Rent((int)Math.Min(Piece, length));
        if (seed is null)
        {
            Pattern.Fill(piece, 0, 0);
        }
        try
        {
            for (long sent = 0; sent < length;)
            {
                int take = (int)Math.Min(piece.Length, length - sent);
                if (seed is { } s)
                {
                    Pattern.Fill(piece.AsSpan(0, take), s, sent);
                }
                await connection.Send(piece.AsMemory(0, take)).ConfigureAwait(false);
                sent += take;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(piece);
        }
    }

    private ValueTask SendSmall(HttpConnection connection, HttpHead head, int length)
    {
        byte[] answer = _small.GetOrAdd((length, head.Close), k => Encoding.Latin1.GetBytes(Head(head, k.Length) + new string('r', k.Length)));
        return connection.Send(answer);
    }

    private async ValueTask Sink(HttpConnection connection, HttpHead head, ulong? seed)
    {
        if (head.Continue)
        {
            await connection.Send("HTTP/1.1 100 Continue\r\n\r\n").ConfigureAwait(false);
        }
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        long differing = 0;
        await connection.ReadBody(head.ContentLength, (data, offset) =>
        {
            hash.AppendData(data.Span);
            differing += seed is { } s ? Pattern.Differences(data.Span, s, offset) : 0;
        }).ConfigureAwait(false);
        string sha = Convert.ToHexStringLower(hash.GetHashAndReset());
        await SendText(connection, head, $"{{\"server\":\"{name}\",\"length\":{head.ContentLength},\"sha256\":\"{sha}\",\"mismatched\":{differing}}}").ConfigureAwait(false);
    }

    private static ValueTask Discard(HttpConnection connection, HttpHead head) => connection.ReadBody(head.ContentLength, (_, _) => { });

    private ValueTask SendText(HttpConnection connection, HttpHead head, string text) => connection.Send(Head(head, text.Length) + text);

    private string Head(HttpHead request, long length) =>
        $"HTTP/1.1 200 OK\r\nServer: {name}\r\nContent-Length: {length}\r\n{Closing(request)}\r\n";

    private static string Closing(HttpHead request) => request.Close ? "Connection: close\r\n" : string.Empty;
}
