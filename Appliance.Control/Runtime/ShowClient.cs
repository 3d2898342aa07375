using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Appliance.Control.Runtime;

/// <summary>What came of asking a running appliance: a document, or one sentence.</summary>
public sealed record ShowAnswer(JsonObject? Document, string? Error, bool Unreachable = false);

/// <summary>Asks the manager of a run directory, with patience while it is being started again.</summary>
public static class ShowClient
{
    private const int LongestReply = 64 << 20, RetryMs = 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    /// <summary>Asks; never throws.</summary>
    public static ShowAnswer Ask(string directory, ShowQuery query)
    {
        if (RunDirectory.FileInTheWay(directory) is { } file) return new ShowAnswer(null, $"{file} is a file, not the run directory of an appliance: name that with --run-dir", Unreachable: true);
        long giveUp = Clock.Now + (long)Patience.TotalNanoseconds;
        while (true)
        {
            try
            {
                return Parse(Exchange(RunDirectory.SocketPath(Path.GetFullPath(directory)), query));
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AccessDenied)
            {
                return new ShowAnswer(null, $"the appliance in {directory} belongs to another user: run this as that user or as root", Unreachable: true);
            }
            catch (Exception e) when (e is IOException or SocketException or ArgumentException)
            {
                bool runs = RunState.Read(directory) is { } state && ProcessNative.Exists(state.Supervisor);
                if (runs && Clock.Now < giveUp)
                {
                    Thread.Sleep(RetryMs);
                    continue;
                }
                return new ShowAnswer(null, runs
                    ? $"the manager of the appliance in {directory} does not answer; its log says why"
                    : $"no appliance runs in {directory}: start one with `appliance run`, or name its directory with --run-dir", Unreachable: true);
            }
        }
    }

    private static string Exchange(string path, ShowQuery query)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 10_000, SendTimeout = 10_000 };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send(Encoding.UTF8.GetBytes(JsonSerializer.Serialize(query, JsonSerializerOptions.Web) + "\n"));
        using var reply = new MemoryStream();
        var buffer = new byte[65536];
        while (reply.Length < LongestReply && socket.Receive(buffer) is var got and > 0) reply.Write(buffer, 0, got);
        if (reply.Length == 0) throw new IOException("no answer");
        return Encoding.UTF8.GetString(reply.GetBuffer(), 0, (int)reply.Length);
    }

    private static ShowAnswer Parse(string reply)
    {
        try
        {
            var parsed = JsonNode.Parse(reply) as JsonObject;
            if (parsed?["document"] is JsonObject document) return new ShowAnswer((JsonObject)document.DeepClone(), null);
            return new ShowAnswer(null, parsed?["error"]?.GetValue<string>() ?? "the manager's answer makes no sense");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return new ShowAnswer(null, "the manager's answer makes no sense");
        }
    }
}
