using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Appliance.Tests.Splice;

namespace Appliance.Tests.Simulation;

/// <summary>Bytes that anybody can compute from (key, offset), so that each can be checked wherever it arrives.</summary>
internal static class SimContent
{
    public static void Fill(Span<byte> destination, ulong key, long offset)
    {
        Span<byte> word = stackalloc byte[8];
        while (!destination.IsEmpty)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(word, SimRandom.Hash(key + (ulong)(offset >> 3)));
            ReadOnlySpan<byte> rest = word[(int)(offset & 7)..];
            int n = Math.Min(rest.Length, destination.Length);
            rest[..n].CopyTo(destination);
            destination = destination[n..];
            offset += n;
        }
    }
}

/// <summary>One request with its response, known in advance to both ends.</summary>
internal sealed class RequestPlan
{
    /// <summary>Connection number * 1000 + index: unique in a run.</summary>
    public required int Id { get; init; }

    public required string Method { get; init; }

    public required int BodyLength { get; init; }

    public required int ResponseLength { get; init; }

    /// <summary>Write sizes of the head, in order; the last piece takes the rest.</summary>
    public required int[] HeadPieces { get; init; }

    /// <summary>Time between the pieces, and before the first.</summary>
    public required long PieceGapNs { get; init; }

    public required long ThinkNs { get; init; }

    public required byte[] Head { get; init; }

    public required byte[] ResponseHead { get; init; }

    /// <summary>The server aborts after this many response bytes; -1: it does not.</summary>
    public int ServerAbortAt { get; init; } = -1;

    /// <summary>The server closes after this response.</summary>
    public bool ServerCloses { get; init; }

    public bool IsIdempotent => Method is "GET" or "PUT";

    public long RequestLength => Head.Length + BodyLength;

    public long TotalResponse => ResponseHead.Length + ResponseLength;

    /// <summary>Fills bytes of the request stream, head and body.</summary>
    public void FillRequest(Span<byte> destination, long offset) => Compose(destination, offset, Head, (ulong)Id << 20);

    /// <summary>Fills bytes of the response stream, head and body.</summary>
    public void FillResponse(Span<byte> destination, long offset) => Compose(destination, offset, ResponseHead, ((ulong)Id << 20) | (1UL << 62));

    public static byte[] MakeHead(int id, string method, int bodyLength, int padding) => Encoding.ASCII.GetBytes(
        string.Create(CultureInfo.InvariantCulture, $"{method} /r/{id} HTTP/1.1\r\nHost: sim.example\r\n") +
        (padding > 0 ? $"X-Padding: {new string('p', padding)}\r\n" : "") +
        (bodyLength > 0 ? string.Create(CultureInfo.InvariantCulture, $"Content-Length: {bodyLength}\r\n") : "") + "\r\n");

    /// <summary>A ClientHello over records of <paramref name="recordSize"/> bytes; what follows it at once, if that may not run twice, is early data.</summary>
    public static byte[] MakeHello(string name, int keyShare, int recordSize, bool earlyData)
    {
        byte[][] extensions = [ClientHelloTests.Extension(0x0a0a), ClientHelloTests.Extension(51, new byte[keyShare]), ClientHelloTests.Sni(name), ClientHelloTests.Extension(43, 2, 3, 4)];
        return ClientHelloTests.Records(ClientHelloTests.Message(earlyData ? [.. extensions, ClientHelloTests.Extension(42)] : extensions), recordSize);
    }

    public static byte[] MakeResponseHead(int id, int length) => Encoding.ASCII.GetBytes(
        string.Create(CultureInfo.InvariantCulture, $"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Id: {id}\r\n\r\n"));

    private static void Compose(Span<byte> destination, long offset, byte[] head, ulong key)
    {
        if (offset < head.Length)
        {
            int n = (int)Math.Min(destination.Length, head.Length - offset);
            head.AsSpan((int)offset, n).CopyTo(destination);
            destination = destination[n..];
            offset += n;
        }
        SimContent.Fill(destination, key, offset - head.Length);
    }
}

/// <summary>How a client's connection ends.</summary>
internal enum CloseKind
{
    /// <summary>The client closes after the last response.</summary>
    ClientCloses,

    /// <summary>The server closes after its last response.</summary>
    ServerCloses,

    /// <summary>Both at once.</summary>
    Both,

    /// <summary>The client closes its direction after the last request and reads on.</summary>
    HalfClose,

    /// <summary>The client aborts in the middle of the last response.</summary>
    ClientAborts,

    /// <summary>The server aborts in the middle of the last response.</summary>
    ServerAborts,

    /// <summary>No request at all: connect, wait, close.</summary>
    Idle,
}

/// <summary>One client connection.</summary>
internal sealed class ConnectionPlan
{
    public required int Index { get; init; }

    public required long StartNs { get; init; }

    public required bool IsV6 { get; init; }

    public required TcpProfile Profile { get; init; }

    public required RequestPlan[] Requests { get; init; }

    public required CloseKind Close { get; init; }

    /// <summary>All requests are written without waiting for responses.</summary>
    public required bool IsPipelined { get; init; }

    /// <summary>The client reads this many bytes per <see cref="ReadPauseNs"/>; 0: all at once.</summary>
    public required int ReadChunk { get; init; }

    public required long ReadPauseNs { get; init; }

    public required long IdleNs { get; init; }

    /// <summary>The client aborts after this many bytes of the last response.</summary>
    public required long AbortAt { get; init; }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"connection {Index}{(IsV6 ? " v6" : "")} {Close}{(IsPipelined ? " pipelined" : "")} requests {Requests.Length}: {string.Join(", ", Requests.Select(r => $"{r.Method} {r.Head.Length}+{r.BodyLength} in {r.HeadPieces.Length} -> {r.ResponseLength}"))}");
}

/// <summary>All connections of a run, from the seed.</summary>
internal sealed class TrafficPlan
{
    public required ConnectionPlan[] Connections { get; init; }

    /// <summary>Finds a request by its id.</summary>
    public RequestPlan? Find(int id)
    {
        int connection = id / 1000, index = id % 1000;
        if (id < 0 || connection >= Connections.Length || index >= Connections[connection].Requests.Length) return null;
        return Connections[connection].Requests[index];
    }

    public static TrafficPlan Draw(ulong seed, ScenarioOptions options)
    {
        SimRandom random = SimRandom.For(seed, 2);
        var connections = new ConnectionPlan[options.Connections];
        for (int i = 0; i < connections.Length; i++) connections[i] = DrawConnection(random, seed, i, options);
        return new TrafficPlan { Connections = connections };
    }

    /// <summary>True if the clients of an address family speak TLS in this seed: every fourth seed those of IPv4, every fourth those of IPv6.</summary>
    public static bool IsTls(ulong seed, ScenarioOptions options, bool v6) => options.Tls && SimRandom.Hash(seed ^ 0x715) % 4 == (v6 ? 1ul : 0ul);

    private static ConnectionPlan DrawConnection(SimRandom random, ulong seed, int index, ScenarioOptions options)
    {
        bool v6 = random.Below(100) < options.Ipv6Percent;
        var close = (CloseKind)random.Below(7);
        if (!options.Aborts && close is CloseKind.ClientAborts or CloseKind.ServerAborts) close = CloseKind.ClientCloses;
        var requests = new RequestPlan[close == CloseKind.Idle ? 0 : random.Below(3) == 0 ? random.Between(2, 4) : 1];
        bool tls = IsTls(seed, options, v6);
        for (int i = 0; i < requests.Length; i++) requests[i] = DrawRequest(random, (index * 1000) + i, i == requests.Length - 1 ? close : CloseKind.Idle, options, tls && i == 0);
        bool slow = random.Below(8) == 0;
        return new ConnectionPlan
        {
            Index = index,
            StartNs = random.Between(0, options.StartSpreadNs),
            IsV6 = v6,
            Profile = options.Adjust(TcpProfile.Draw(random, SimRandom.Hash(seed + (ulong)(index / 3)), options.Mtu, v6)),
            Requests = requests,
            Close = close,
            IsPipelined = random.Below(6) == 0,
            ReadChunk = slow ? random.Between(1000, 30_000) : 0,
            ReadPauseNs = random.Between(1, 50) * SimWorld.Millisecond,
            IdleNs = random.Between(0, 2000) * SimWorld.Millisecond,
            AbortAt = requests.Length == 0 ? 0 : random.Between(0L, requests[^1].TotalResponse - 1),
        };
    }

    private static RequestPlan DrawRequest(SimRandom random, int id, CloseKind close, ScenarioOptions options, bool hello)
    {
        string method = random.Below(4) switch { 0 => "POST", 1 => "PUT", _ => "GET" };
        int body = method == "GET" ? 0 : DrawSize(random, options.MaxBody);
        int response = DrawSize(random, options.MaxResponse);
        byte[] head = RequestPlan.MakeHead(id, method, body, random.Below(4) == 0 ? random.Between(1, 3000) : random.Between(0, 60));
        if (hello) head = [.. RequestPlan.MakeHello(random.Below(2) == 0 ? "sim.example" : "other.example", random.Between(32, 1216), random.Below(3) switch { 0 => 40, 1 => 500, _ => 16384 }, method == "POST"), .. head];
        byte[] responseHead = RequestPlan.MakeResponseHead(id, response);
        int pieces = random.Below(3) switch { 0 => 1, 1 => random.Between(2, 5), _ => random.Between(2, 30) };
        var sizes = new int[pieces];
        for (int i = 0; i < pieces; i++) sizes[i] = random.Below(3) == 0 ? 1 : random.Between(1, Math.Max(1, 2 * head.Length / pieces));
        return new RequestPlan
        {
            Id = id,
            Method = method,
            BodyLength = body,
            ResponseLength = response,
            HeadPieces = sizes,
            PieceGapNs = random.Below(3) switch { 0 => 0, 1 => random.Between(1L, 3_000_000), _ => random.Between(1L, 60_000_000) },
            ThinkNs = random.Below(2) == 0 ? 0 : random.Between(0L, options.MaxThinkNs),
            Head = head,
            ResponseHead = responseHead,
            ServerAbortAt = close == CloseKind.ServerAborts ? random.Below(responseHead.Length + response) : -1,
            ServerCloses = close is CloseKind.ServerCloses or CloseKind.Both,
        };
    }

    private static int DrawSize(SimRandom random, int max) => random.Below(10) switch
    {
        0 => 0,
        1 or 2 or 3 or 4 => random.Below(Math.Min(max, 1000) + 1),
        5 or 6 or 7 or 8 => random.Below(Math.Min(max, 20_000) + 1),
        _ => random.Below(max + 1),
    };
}
