namespace Appliance.Tests.Simulation;

/// <summary>What one end's TCP offers and how it behaves; drawn per connection from the seed.</summary>
internal sealed record TcpProfile
{
    /// <summary>Announced MSS in bytes; also the limit for what it sends.</summary>
    public int Mss { get; init; } = 1460;

    /// <summary>Window scale 0..14, or -1 for no option.</summary>
    public int WindowScale { get; init; } = 7;

    public bool Timestamps { get; init; } = true;

    public bool Sack { get; init; } = true;

    /// <summary>Nanoseconds per tick of the timestamp clock.</summary>
    public long TimestampTickNs { get; init; } = 1_000_000;

    public uint TimestampOffset { get; init; }

    public uint InitialSequence { get; init; }

    /// <summary>Receive buffer in bytes; at least four units of the window scale, so that a window can be told at all.</summary>
    public int ReceiveBuffer { get; init; } = 65_536;

    public int SendBuffer { get; init; } = 131_072;

    public bool DelayedAcks { get; init; } = true;

    /// <summary>Probes a closed window with a byte of data (BSD) instead of an empty old segment (Linux).</summary>
    public bool ProbesWithData { get; init; }

    /// <summary>Bytes sent as one super-frame at most, 0 for none; only on ports that take them.</summary>
    public int SuperFrameBytes { get; init; }

    public long TimeWaitNs { get; init; } = 60 * SimWorld.Second;

    public int MaxRetries { get; init; } = 12;

    /// <summary>Draws one; <paramref name="hostSeed"/> keeps the timestamp clock the same for all of a host's connections.</summary>
    public static TcpProfile Draw(SimRandom random, ulong hostSeed, int mtu, bool v6)
    {
        int scale = random.Below(6) switch { 0 => -1, 1 => 0, 2 => 14, _ => random.Between(1, 10) };
        int mss = mtu - (v6 ? 60 : 40);
        if (random.Below(4) == 0) mss = random.Between(v6 ? 1220 : 536, mss);
        int buffer = 1 << random.Between(12, 18);
        uint sequence = random.Below(6) switch
        {
            0 => uint.MaxValue,
            1 => uint.MaxValue - (uint)random.Below(20_000),
            2 => int.MaxValue - (uint)random.Below(20_000),
            3 => 0,
            _ => (uint)random.Next(),
        };
        return new TcpProfile
        {
            Mss = mss,
            WindowScale = scale,
            Timestamps = random.Below(5) != 0,
            Sack = random.Below(5) != 0,
            TimestampTickNs = (hostSeed % 4) switch { 0 => 1000, 1 => 4_000_000, 2 => 10_000_000, _ => 1_000_000 },
            TimestampOffset = (hostSeed % 3) == 0 ? uint.MaxValue - (uint)(hostSeed % 100) : (uint)(hostSeed >> 32),
            InitialSequence = sequence,
            ReceiveBuffer = Math.Max(Math.Max(buffer, 2 * mss), scale > 0 ? 4 << scale : 0),
            DelayedAcks = random.Below(4) != 0,
            ProbesWithData = random.Below(3) == 0,
        };
    }
}
