using Appliance.DataPath.State;

namespace Appliance.Control.Replication;

/// <summary>
/// What stands in front of the records of a replication datagram. Sequence numbers count the
/// datagrams that carry records, per pair of incarnations, and are never used twice: what was
/// lost is sent again under a new one. The acknowledgment says that everything up to
/// <see cref="AckHighest"/> has been applied except the missing ranges, which never will be.
/// </summary>
public ref struct SyncHeader
{
    /// <summary>Most missing ranges in one header.</summary>
    public const int MaxRanges = 16;

    /// <summary>Length without ranges; bytes of one range.</summary>
    public const int FixedBytes = 44, RangeBytes = 4;

    /// <summary>The layout of header and records that this code speaks.</summary>
    public const byte Format = 1;

    /// <summary>Incarnation of the receiver as the sender knows it; 0 if it does not.</summary>
    public ulong Target;

    /// <summary>Number of this datagram; 0 if it carries no records.</summary>
    public ulong Sequence;

    /// <summary>Lowest number that the sender still waits for; nothing below matters any more.</summary>
    public ulong Floor;

    /// <summary>Highest number of the receiver's that this acknowledgment is about; 0 if none.</summary>
    public ulong AckHighest;

    /// <summary>How far the sender is behind with this receiver: age in microseconds of the oldest change not acknowledged, and number of changes.</summary>
    public uint LagMicros, LagRecords;

    /// <summary>1: the sender does not know yet whether the receiver knows it; please answer.</summary>
    public ushort Flags;

    /// <summary>Missing ranges: distance of the first missing number below AckHighest, and how many.</summary>
    public ReadOnlySpan<uint> Missing;

    /// <summary>Writes the header; returns its length.</summary>
    public readonly int Write(Span<byte> target)
    {
        var w = new WireWriter(target);
        w.U8(Format);
        w.U8((byte)Missing.Length);
        w.U16(Flags);
        w.U64(Target);
        w.U64(Sequence);
        w.U64(Floor);
        w.U64(AckHighest);
        w.U32(LagMicros);
        w.U32(LagRecords);
        foreach (uint range in Missing) w.U32(range);
        return w.Overflowed ? 0 : w.Length;
    }

    /// <summary>Reads a header; ranges are copied into <paramref name="ranges"/> (room for <see cref="MaxRanges"/>).</summary>
    public static bool TryRead(ref WireReader reader, Span<uint> ranges, out SyncHeader header)
    {
        header = default;
        if (reader.U8() != Format) return false;
        int count = reader.U8();
        header.Flags = reader.U16();
        header.Target = reader.U64();
        header.Sequence = reader.U64();
        header.Floor = reader.U64();
        header.AckHighest = reader.U64();
        header.LagMicros = reader.U32();
        header.LagRecords = reader.U32();
        if (count > MaxRanges || count > ranges.Length) return false;
        for (int i = 0; i < count; i++) ranges[i] = reader.U32();
        header.Missing = ranges[..count];
        return !reader.Failed;
    }

    /// <summary>Packs a range.</summary>
    public static uint Range(ulong distance, ulong length) => ((uint)distance << 16) | (uint)length;
}
