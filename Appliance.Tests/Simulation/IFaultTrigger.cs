namespace Appliance.Tests.Simulation;

/// <summary>
/// Where a box reports the named state that a connection has entered at it: "cookie sent", "head half read", "backend SYN
/// sent", "request sent unacked", "established", "suspended", "installing", "closing". Null means that the connection is over.
/// </summary>
internal interface IFaultTrigger
{
    void Entered(SimNode node, string? state, long connection);
}
