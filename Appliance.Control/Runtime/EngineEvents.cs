using System.Runtime.InteropServices;
using Appliance.DataPath.Memory;

namespace Appliance.Control.Runtime;

/// <summary>What an engine reports to its manager; the manager makes log lines of it. Numbers are never reused.</summary>
public enum EngineEventKind
{
    None = 0,
    Started = 1,
    Running = 2,
    Leaving = 3,
    PeerUp = 4,
    PeerDied = 5,
    LinkUsable = 6,
    LinkUnusable = 7,
    MembershipChanged = 8,
    OwnPause = 9,
    PauseResolved = 10,
    CountedDead = 11,
    ClockSkew = 12,
    ClockAgrees = 13,
    NodeListDiffers = 14,
    NodeListAgrees = 15,
    CarrierUp = 16,
    CarrierDown = 17,
    ResyncBegan = 18,
    ResyncEnded = 19,
    Refilled = 20,
    WrongKey = 21,
    LinkGone = 22,
    LinkReopened = 23,
    ConfigurationDiffers = 24,
    ConfigurationAgrees = 25,
    NameTaken = 26,
    BackendRests = 27,
    BackendReturned = 28,
}

/// <summary>One event: what, when, about which node and link, why, and a number.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct EngineEvent
{
    /// <summary>Wall time in milliseconds.</summary>
    public long WallMs;

    /// <summary>What.</summary>
    public EngineEventKind Kind;

    /// <summary>Node, link (or 255), and cause, as the kind defines them.</summary>
    public byte Node, Link, Cause;

    private readonly byte _pad;

    /// <summary>A number, as the kind defines it.</summary>
    public ulong Value;
}

/// <summary>
/// The event ring of the channel between engine and manager, in shared memory. The engine writes
/// and never waits: a full ring is counted, and the manager says how many events were lost; tables and counters
/// do not depend on them. Any thread of the engine may write: rare events, so one lock.
/// </summary>
public sealed class EngineEventRing
{
    /// <summary>Bytes of the region.</summary>
    public const int Bytes = SpscRing.HeaderSize + (1 << 16);

    private readonly SpscRing _ring;
    private readonly Lock _gate = new();

    private EngineEventRing(SpscRing ring) => _ring = ring;

    /// <summary>Events that found no room.</summary>
    public ulong Lost => _ring.Overflows;

    /// <summary>Engine: a new ring in a fresh region.</summary>
    public static EngineEventRing Create(SharedRegion region, uint generation) =>
        new(SpscRing.Create(region.Address, region.Length, generation));

    /// <summary>Manager: attaches; null if the region holds no ring.</summary>
    public static EngineEventRing? Attach(SharedRegion region) =>
        SpscRing.TryAttachReader(region.Address, region.Length, out SpscRing? ring) ? new EngineEventRing(ring) : null;

    /// <summary>Engine: reports.</summary>
    public void Report(EngineEventKind kind, byte node = 255, byte link = 255, byte cause = 0, ulong value = 0)
    {
        EngineEvent e = new() { WallMs = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), Kind = kind, Node = node, Link = link, Cause = cause, Value = value };
        lock (_gate)
        {
            _ = _ring.TryWrite(MemoryMarshal.AsBytes(new ReadOnlySpan<EngineEvent>(in e)));
        }
    }

    /// <summary>Manager: the next event; false if there is none now.</summary>
    public bool TryRead(out EngineEvent e)
    {
        Span<byte> bytes = stackalloc byte[Marshal.SizeOf<EngineEvent>()];
        e = default;
        if (_ring.TryRead(bytes, out int length) != RingRead.Record || length != bytes.Length) return false;
        e = MemoryMarshal.Read<EngineEvent>(bytes);
        return true;
    }
}
