using System.Runtime.CompilerServices;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Failover;

/// <summary>Links of a box, as index and as bit of a mask.</summary>
public static class Links
{
    public const byte External = 0, Internal = 1, Sync = 2;

    /// <summary>Number of links.</summary>
    public const int Count = 3;
}

/// <summary>What a box does, and in which condition it is.</summary>
[Flags]
public enum NodeFlags : byte
{
    None = 0,

    /// <summary>It carries splices.</summary>
    Proxy = 1,

    /// <summary>It may share load.</summary>
    Sharer = 2,

    /// <summary>It is the sharer that acts: its membership counts.</summary>
    ActiveSharer = 4,

    /// <summary>It holds every live peer's records.</summary>
    Refilled = 8,

    /// <summary>Its paths are warm and its ports open.</summary>
    Ready = 16,

    /// <summary>It is about to stop: no new flows.</summary>
    Leaving = 32,

    /// <summary>It is dead: its last beat, sealed while it lived, sent by its supervisor.</summary>
    Ended = 64,
}

/// <summary>The four addresses of a box on each traffic link: [link * 4 + kind].</summary>
[InlineArray(8)]
public struct BeatMacs
{
    private MacAddress _first;
}

/// <summary>
/// What a box says of itself every few milliseconds on every link. Sender and incarnation stand in
/// the seal, not here. The last three fields mean something only in beats for one receiver.
/// </summary>
public struct Beat
{
    /// <summary>Link on which it was sent.</summary>
    public byte Link;

    /// <summary>Roles and condition.</summary>
    public NodeFlags Flags;

    /// <summary>Bit per link: the sender's own port there is up.</summary>
    public byte LinksUp;

    /// <summary>Bit per link: the sender's port is up, others say the same of theirs, and the sender hears none of them there: what is sent to it on that link is lost.</summary>
    public byte LinksDeaf;

    /// <summary>Hash of the sorted list of all names: boxes that differ number nodes differently.</summary>
    public ulong NodeListHash;

    /// <summary>What must be the same on all boxes of the sender's configuration, as a number.</summary>
    public ulong Configuration;

    /// <summary>The table of proxies that the sender goes by; from the active sharer it is the law.</summary>
    public ulong MembershipVersion, Membership;

    /// <summary>Workload factor: the share of time in which its worker was not kept waiting for a processor, 65535 = all.</summary>
    public ushort Workload;

    /// <summary>How far its replication is behind with the slowest live peer, microseconds.</summary>
    public uint LagMicros;

    /// <summary>Time between its beats, microseconds.</summary>
    public uint IntervalMicros;

    /// <summary>Its wall clock, milliseconds since 1970: cookies need clocks that agree (SPLICE 4).</summary>
    public long WallMs;

    /// <summary>Its addresses.</summary>
    public BeatMacs Macs;

    /// <summary>Not 0: the sender was away and asks for a beat that carries this number.</summary>
    public uint AskId;

    /// <summary>Not 0: the number that the receiver asked with.</summary>
    public uint AnswerId;

    /// <summary>How often the sender has counted this incarnation of the receiver dead.</summary>
    public ushort DeathsOfYou;
}

/// <summary>Beats as bytes. Reading refuses what no box would write; it never throws.</summary>
public static class BeatCodec
{
    /// <summary>Length of a beat.</summary>
    public const int Bytes = 112;

    private const byte Format = 1;

    /// <summary>Writes a beat; returns <see cref="Bytes"/>, or 0 if there is no room.</summary>
    public static int Write(in Beat beat, Span<byte> target)
    {
        var w = new WireWriter(target);
        w.U8(Format);
        w.U8(beat.Link);
        w.U8((byte)beat.Flags);
        w.U8((byte)(beat.LinksUp | beat.LinksDeaf << 4));
        w.U64(beat.NodeListHash);
        w.U64(beat.Configuration);
        w.U64(beat.MembershipVersion);
        w.U64(beat.Membership);
        w.U16(beat.Workload);
        w.U32(beat.LagMicros);
        w.U32(beat.IntervalMicros);
        w.U64((ulong)beat.WallMs);
        for (int i = 0; i < 8; i++)
        {
            w.U16((ushort)(beat.Macs[i].Value >> 32));
            w.U32((uint)beat.Macs[i].Value);
        }
        w.U32(beat.AskId);
        w.U32(beat.AnswerId);
        w.U16(beat.DeathsOfYou);
        return w.Overflowed ? 0 : w.Length;
    }

    /// <summary>Reads a beat.</summary>
    public static bool TryRead(ReadOnlySpan<byte> source, ref Beat beat)
    {
        var r = new WireReader(source);
        if (r.U8() != Format) return false;
        beat.Link = r.U8();
        beat.Flags = (NodeFlags)r.U8();
        byte links = r.U8();
        (beat.LinksUp, beat.LinksDeaf) = ((byte)(links & 15), (byte)(links >> 4));
        beat.NodeListHash = r.U64();
        beat.Configuration = r.U64();
        beat.MembershipVersion = r.U64();
        beat.Membership = r.U64();
        beat.Workload = r.U16();
        beat.LagMicros = r.U32();
        beat.IntervalMicros = r.U32();
        beat.WallMs = (long)r.U64();
        for (int i = 0; i < 8; i++) beat.Macs[i] = new MacAddress(((ulong)r.U16() << 32) | r.U32());
        beat.AskId = r.U32();
        beat.AnswerId = r.U32();
        beat.DeathsOfYou = r.U16();
        return r.Complete && beat.Link < Links.Count && (byte)beat.Flags < 128 && beat is { LinksUp: < 8, LinksDeaf: < 8 } && beat.IntervalMicros is > 0 and <= 10_000_000;
    }
}
