using Appliance.DataPath.Paths;
using Appliance.DataPath.State;

namespace Appliance.Tests.Paths;

/// <summary>What an end puts into its SYN or SYN-ACK; null leaves an option out.</summary>
public sealed record Offer
{
    public ushort? Mss { get; init; } = 1460;

    public byte? Scale { get; init; } = 7;

    public bool Sack { get; init; } = true;

    public bool Timestamps { get; init; } = true;

    public bool Ecn { get; init; }

    public ushort Window { get; init; } = 29200;

    /// <summary>Raw options instead of those above.</summary>
    public byte[]? Raw { get; init; }

    public static Offer Plain => new() { Mss = null, Scale = null, Sack = false, Timestamps = false };
}

/// <summary>How the box under test is set up.</summary>
internal sealed record BoxOptions
{
    public bool V6 { get; init; }

    public int Mtu { get; init; } = 1500;

    /// <summary>Whether the client's address is one of the external link's, so that no gateway is between.</summary>
    public bool ClientOnLink { get; init; }

    public int Reals { get; init; } = 1;

    public bool SendsProxyHeader { get; init; }

    public bool Acked { get; init; }

    public ShareMode Share { get; init; }

    public int Nodes { get; init; } = 1;

    public BoxRoles Roles { get; init; } = BoxRoles.Sharer | BoxRoles.Proxy;

    /// <summary>What probes of the reals are answered with; null: the reals are silent.</summary>
    public Offer? Backend { get; init; } = new();

    public int Splices { get; init; } = 1024;

    public int Handshakes { get; init; } = 64;

    public int HandshakesPerSource { get; init; } = 64;

    /// <summary>Workers of the box; frames land where the kernel's program puts them.</summary>
    public int Workers { get; init; } = BoxTests.Workers;

    /// <summary>Every frame lands one worker further than it should.</summary>
    public bool Astray { get; init; } = BoxTests.Astray;

    /// <summary>Nodes that live at first, beside this one (0); null: all.</summary>
    public ulong? Live { get; init; }
}
