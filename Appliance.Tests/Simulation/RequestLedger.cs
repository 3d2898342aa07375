using System.Globalization;

namespace Appliance.Tests.Simulation;

/// <summary>Which server got which request: one that is not idempotent must not be run twice, anywhere.</summary>
internal sealed class RequestLedger(SimWorld world)
{
    private readonly Dictionary<int, (int Server, object Connection)> _seen = [];

    /// <summary>Requests whose head reached a server; idempotent ones that did so more than once.</summary>
    public int Requests { get; private set; }

    public int Repeats { get; private set; }

    /// <summary>A server has read a whole head.</summary>
    public void Enter(RequestPlan request, int server, object connection)
    {
        Requests++;
        if (_seen.TryAdd(request.Id, (server, connection))) return;
        Repeats++;
        if (request.IsIdempotent) return;
        (int Server, object Connection) first = _seen[request.Id];
        world.Violate(string.Create(CultureInfo.InvariantCulture, $"{request.Method} {request.Id} ran twice: at server {first.Server}, then at server {server}{(first.Connection == connection ? " on the same connection" : "")}"));
    }
}
