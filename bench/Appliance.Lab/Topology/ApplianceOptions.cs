namespace Appliance.Lab.Topology;

/// <summary>What the appliances of a lab are configured to do.</summary>
public sealed record ApplianceOptions
{
    /// <summary>Proxies. One: it is sharer as well. More: box 1 shares and the boxes after it are the proxies.</summary>
    public int Proxies { get; init; } = 2;

    /// <summary>In the language's words: "by flow", "by packet 40".</summary>
    public string Share { get; init; } = "by flow";

    /// <summary>"acked" or "async".</summary>
    public string Durability { get; init; } = "acked";

    /// <summary>Interval and misses. The default is the product's; a test that wants no false death on a busy machine takes more.</summary>
    public string Heartbeat { get; init; } = "5ms misses 3";

    /// <summary>Workers of every box.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>Statements of all services, in the place of the plain ones (WWW and WWW6 with all backends).</summary>
    public IReadOnlyList<string>? Services { get; init; }

    /// <summary>Boxes that get a key of their own: strangers to the others.</summary>
    public IReadOnlyList<int> Strangers { get; init; } = [];

    /// <summary>Boxes in all.</summary>
    public int Boxes => Proxies == 1 ? 1 : Proxies + 1;
}
