namespace Appliance.Lab.Net;

/// <summary>How the two ends of a link treat super-frames and checksums.</summary>
public enum Offloads
{
    /// <summary>As the kernel makes a veth: TSO and checksum offload on, GRO off.</summary>
    Default,

    /// <summary>Default, and GRO on, as a network card would have it.</summary>
    Gro,

    /// <summary>No offload at all: every frame is at most MTU-sized and carries a complete checksum.</summary>
    Off,
}

/// <summary>What a link is to be. Addresses are written "203.0.113.100/24"; IPv6 ones skip duplicate detection.</summary>
public sealed record LinkOptions(string Interface)
{
    public IReadOnlyList<string> Addresses { get; init; } = [];

    /// <summary>Rate of both directions in tc's spelling ("1gbit"), null for unshaped.</summary>
    public string? Rate { get; init; }

    /// <summary>Queue of a shaped direction, bytes.</summary>
    public int QueueBytes { get; init; } = 512 * 1024;

    public int Mtu { get; init; } = 1500;

    public Offloads Offloads { get; init; } = Offloads.Default;

    /// <summary>
    /// Keeps the frames of a flow in order whichever processor sends them. A veth hands a frame over on the sender's processor: one sent
    /// next by another processor (by a thread that was moved, by a softirq beside it) may overtake it, which no wire does.
    /// </summary>
    public bool InOrder { get; init; }

    /// <summary>MAC address of the host's end; null lets the kernel choose.</summary>
    public string? Mac { get; init; }
}

/// <summary>
/// A veth pair from a host's interface to a port of a switch. The port is named "host.interface". Faults act on it
/// through <see cref="Faults.LinkFaults"/>.
/// </summary>
public sealed class Link
{
    private const int LongestInterfaceName = 15;

    internal Link(Host host, Switch to, LinkOptions options)
    {
        Host = host;
        Switch = to;
        Options = options;
        Port = $"{host.Name}.{options.Interface}";
        if (Port.Length > LongestInterfaceName)
        {
            throw new ArgumentException($"port name {Port} is longer than {LongestInterfaceName} characters");
        }
    }

    public Host Host { get; }

    public Switch Switch { get; }

    public LinkOptions Options { get; }

    public string Interface => Options.Interface;

    /// <summary>Name of the switch's end, in the switches' namespace.</summary>
    public string Port { get; }

    /// <summary>The first address without its prefix length, of the family asked for.</summary>
    public string Address(bool ipv6 = false) =>
        Options.Addresses.First(a => a.Contains(':', StringComparison.Ordinal) == ipv6).Split('/')[0];

    /// <summary>MAC address of the host's end, as the kernel has it now.</summary>
    public string MacAddress() => Host.Run("ip", "-br", "link", "show", "dev", Interface)
        .Split(' ', StringSplitOptions.RemoveEmptyEntries)[2];
}

/// <summary>A bridge. All switches of a lab stand in one namespace of their own and forward only between their ports.</summary>
public sealed class Switch
{
    internal Switch(string name) => Name = name;

    public string Name { get; }
}
