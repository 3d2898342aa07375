using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Appliance.Control.Runtime;

/// <summary>What `show` asks for: one line of JSON. Page counts from 1; All: also what is zero.</summary>
public sealed record ShowQuery(string Show, string? Filter = null, int Page = 1, bool All = false);

/// <summary>
/// Answers `show` on a Unix socket: a line with a <see cref="ShowQuery"/> in, a line of JSON out, {"document": ...}
/// or {"error": sentence}; then the connection ends. Bounded: clients at once, length
/// of a line, time that a client may take. What is not understood is answered with an error.
/// </summary>
public sealed class ShowServer : IDisposable
{
    private const int MostClients = 16, LongestLine = 4096;
    private const UnixFileMode SocketMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly Socket _socket;
    private readonly string _path;
    private readonly Func<ShowQuery, JsonObject> _answer;
    private readonly SemaphoreSlim _room = new(MostClients);
    private readonly CancellationTokenSource _end = new();

    /// <summary>Listens at <paramref name="path"/>, in the place of whatever stood there.</summary>
    /// <exception cref="IOException">That cannot be.</exception>
    public ShowServer(string path, Func<ShowQuery, JsonObject> answer)
    {
        _path = path;
        _answer = answer;
        _socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            File.Delete(path);
            _socket.Bind(new UnixDomainSocketEndPoint(path));
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, SocketMode);
            _socket.Listen(MostClients);
        }
        catch (Exception e) when (e is SocketException or ArgumentException or UnauthorizedAccessException)
        {
            _socket.Dispose();
            throw new IOException($"the socket {path} cannot be made: {e.Message}", e);
        }
        _ = AcceptAsync();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _end.Cancel();
        _socket.Dispose();
        RunDirectory.TryDelete(_path);
    }

    private async Task AcceptAsync()
    {
        while (!_end.IsCancellationRequested)
        {
            try
            {
                await _room.WaitAsync(_end.Token).ConfigureAwait(false);
                Socket client = await _socket.AcceptAsync(_end.Token).ConfigureAwait(false);
                _ = ServeAsync(client);
            }
            catch (Exception e) when (e is SocketException)
            {
                _room.Release();
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task ServeAsync(Socket client)
    {
        using Socket owned = client;
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(_end.Token);
        patience.CancelAfter(Patience);
        try
        {
            string? line = await ReadLineAsync(client, patience.Token).ConfigureAwait(false);
            byte[] reply = Encoding.UTF8.GetBytes(Reply(line) + "\n");
            for (int sent = 0; sent < reply.Length;) sent += await client.SendAsync(reply.AsMemory(sent), patience.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // The client is gone or too slow, or we end: nobody is left to be told.
        }
        finally
        {
            _room.Release();
        }
    }

    private static async Task<string?> ReadLineAsync(Socket client, CancellationToken cancel)
    {
        var buffer = new byte[LongestLine];
        for (int length = 0; length < buffer.Length;)
        {
            int got = await client.ReceiveAsync(buffer.AsMemory(length), cancel).ConfigureAwait(false);
            int end = buffer.AsSpan(length, got).IndexOf((byte)'\n');
            if (end >= 0) return Encoding.UTF8.GetString(buffer, 0, length + end);
            if (got == 0) return null;
            length += got;
        }
        return null;
    }

    private string Reply(string? line)
    {
        try
        {
            ShowQuery? query = line is null ? null : JsonSerializer.Deserialize<ShowQuery>(line, JsonSerializerOptions.Web);
            if (query is { Show: not null }) return new JsonObject { ["document"] = _answer(query) }.ToJsonString();
        }
        catch (ShowException e)
        {
            return Error(e.Message);
        }
        catch (Exception e) when (e is JsonException or NotSupportedException)
        {
            // Said below.
        }
        return Error("the request is not one line of JSON such as {\"show\":\"counters\"}");
    }

    private static string Error(string sentence) => new JsonObject { ["error"] = sentence }.ToJsonString();
}
