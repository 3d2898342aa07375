using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Demo;

/// <summary>What the demo shows: a topology of which one proxy is killed, another loses its manager, and the first comes back.</summary>
public interface IDemoCluster
{
    string Name { get; }

    /// <summary>How the clients' traffic comes to the proxies, in words.</summary>
    string Mode { get; }

    ClusterTopology Topology { get; }

    /// <summary>The boxes that carry connections, with a bar each.</summary>
    IReadOnlyList<Host> Proxies { get; }

    /// <summary>Starts whatever runs in the boxes and waits until the service answers.</summary>
    void Start();

    /// <summary>Asks what runs in the boxes to leave; the lab ends what does not.</summary>
    void End();

    /// <summary>kill -9 of the first proxy; what was done, in words.</summary>
    string KillProxy();

    /// <summary>kill -9 of the second proxy's manager; what was done, in words.</summary>
    string KillManager();

    /// <summary>Starts the first proxy again, without waiting for more; what was done, in words.</summary>
    string Revive();

    /// <summary>After <see cref="Revive"/>: whether the first proxy gets packets again, in words; null while it does not.</summary>
    string? UsedAgain();

    /// <summary>Packets that survivors were given again after a death; null where there is no such thing.</summary>
    long? PacketsReplayed();

    /// <summary>Files of configuration used.</summary>
    IReadOnlyList<string> Configurations { get; }
}
