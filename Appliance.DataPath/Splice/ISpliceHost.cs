using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// What the splice cores need of the box around them: a clock that was read once per cycle,
/// a way to send segments and messages, and what is known of the peers.
/// </summary>
public interface ISpliceHost
{
    /// <summary>Worker's clock, nanoseconds, read once per cycle.</summary>
    long Now { get; }

    /// <summary>Wall time in milliseconds: cookies and our own timestamps, which must agree between boxes.</summary>
    long WallMs { get; }

    /// <summary>True if any other box lives, so that a confirmation can come.</summary>
    bool HasLivePeers { get; }

    /// <summary>True if flows of this client are this box's to begin, as far as it knows now.</summary>
    bool Owns(in FlowKey client);

    /// <summary>When anything at all was last received from the link on which packets of <paramref name="direction"/> leave, ns.</summary>
    long HeardAt(FlowDirection direction);

    /// <summary>True while the box has just joined others, and may know less than they do: it refuses nobody.</summary>
    bool IsYoung { get; }

    /// <summary>True while the box has just started and some backend has not said yet what it offers: what a client were promised now might not be kept.</summary>
    bool IsUnsureOfBackends { get; }

    /// <summary>True while the box takes no new connections.</summary>
    bool IsDraining { get; }

    /// <summary>True if another splice would find no room: new SYNs are dropped, so that no client gets further than that.</summary>
    bool IsTableFull { get; }

    /// <summary>This box's node number.</summary>
    byte Node { get; }

    /// <summary>Counters.</summary>
    Statistics Statistics { get; }

    /// <summary>
    /// Sends a segment (or a run of segments of <paramref name="segmentSize"/> payload bytes) towards
    /// one end; addresses and ports come from <paramref name="spec"/>, MACs are filled in. False if it could not be sent.
    /// </summary>
    bool Send(FlowDirection direction, ref TcpSegmentSpec spec, ReadOnlySpan<byte> payload, int segmentSize);

    /// <summary>Tells replication; false if its queue is full (counted; what is lost comes with the next full transfer).</summary>
    bool Publish(in SpliceEvent message);

    /// <summary>Index of the next hop towards <paramref name="destination"/> on the link of <paramref name="direction"/>; -1 if there is no route or the table is full.</summary>
    int NextHop(FlowDirection direction, IpAddr destination);

    /// <summary>The profile that all reals of a service keep.</summary>
    PoolProfile ProfileOf(Service service);

    /// <summary>What one real was seen to offer; false if it was never probed.</summary>
    bool TryGetProfile(IpAddr real, ushort port, out PoolProfile profile);
}

/// <summary>What backends support, as far as a client may be promised it (SPLICE 4.1).</summary>
public struct PoolProfile
{
    /// <summary>Largest segment in bytes of payload that all take.</summary>
    public ushort Mss;

    /// <summary>Smallest window scale, or 255 if one of them does not scale.</summary>
    public byte WindowScale;

    /// <summary>Options that all have.</summary>
    public bool Sack, Timestamps, Ecn;

    /// <summary>Smallest first window, bytes.</summary>
    public ushort FirstWindow;

    /// <summary>No window scale.</summary>
    public const byte NoScale = 255;

    /// <summary>What can be promised when nothing is known.</summary>
    public static PoolProfile Unknown => new() { Mss = 536, WindowScale = NoScale, FirstWindow = 14600 };

    /// <summary>What both keep.</summary>
    public static PoolProfile And(in PoolProfile x, in PoolProfile y) => new()
    {
        Mss = Math.Min(x.Mss, y.Mss),
        WindowScale = x.WindowScale == NoScale || y.WindowScale == NoScale ? NoScale : Math.Min(x.WindowScale, y.WindowScale),
        Sack = x.Sack && y.Sack,
        Timestamps = x.Timestamps && y.Timestamps,
        Ecn = x.Ecn && y.Ecn,
        FirstWindow = Math.Min(x.FirstWindow, y.FirstWindow),
    };
}
