namespace Appliance.DataPath.State;

/// <summary>
/// A splice record and its progress as bytes: what one box tells another (SPLICE 3). Fields that
/// follow from others in the common case (transparent source, X = 0, c = a - P, Dc = 0) cost a flag
/// bit. An IPv4 splice takes 84 bytes, with both directions' progress about 116; the longest
/// possible is <see cref="MaxBytes"/>. Local fields (guard, indices, clocks) are not carried.
/// Reading never throws and refuses what no box would write.
/// </summary>
public static class SpliceRecordCodec
{
    /// <summary>Upper bound of what <see cref="Write(in SpliceRecord, in SpliceProgress, Span{byte})"/> gives.</summary>
    public const int MaxBytes = 256;

    /// <summary>The layout that this code writes; others are refused.</summary>
    public const byte Format = 1;

    private const byte V6 = 1, Transparent = 2, FloorOpen = 4, XZero = 8, DcZero = 16, CDerived = 32;
    private const byte Seen = 1, FinSeen = 2, HasMtu = 4, HasTs = 8, FinLast = 16;

    /// <summary>Writes record and progress; returns the length, or 0 if <paramref name="target"/> is too short.</summary>
    public static int Write(in SpliceRecord r, in SpliceProgress progress, Span<byte> target)
    {
        bool v6 = !(r.Client.IsV4 && r.Virtual.IsV4 && r.Source.IsV4 && r.Real.IsV4);
        bool transparent = r.Source == r.Client && r.SourcePort == r.ClientPort;
        byte flags = (byte)((v6 ? V6 : 0) | (transparent ? Transparent : 0) | (r.FloorOpen != 0 ? FloorOpen : 0)
            | (r.X == 0 ? XZero : 0) | (r.Dc == 0 ? DcZero : 0) | (r.C == r.A - r.P ? CDerived : 0));
        var w = new WireWriter(target);
        w.U8(Format);
        w.U8(flags);
        w.U8((byte)r.State);
        w.U8((byte)r.Options);
        w.U8(r.Origin);
        w.U8(r.Generation);
        w.U8((byte)((r.ScaleClient << 4) | (r.ScaleServer & 15)));
        w.U8((byte)((r.ScaleOursClient << 4) | (r.ScaleOursServer & 15)));
        w.U64(r.Id);
        w.U32(r.Version);
        w.U32(r.Service);
        w.U32(r.Pool);
        w.U32(r.PoolVersion);
        w.U32(r.A);
        w.U32(r.B);
        w.U32(r.D);
        w.U32(r.Y);
        w.U32(r.Ds);
        w.U32(r.TsFirst);
        w.U32(r.AckFloor);
        w.U16(r.P);
        w.U16(r.MssClient);
        w.U16(r.MssServer);
        w.Address(r.Client, v6);
        w.Address(r.Virtual, v6);
        w.Address(r.Real, v6);
        w.U16(r.ClientPort);
        w.U16(r.VirtualPort);
        w.U16(r.RealPort);
        if (!transparent)
        {
            w.Address(r.Source, v6);
            w.U16(r.SourcePort);
        }
        if (r.X != 0) w.U32(r.X);
        if (r.Dc != 0) w.U32(r.Dc);
        if ((flags & CDerived) == 0) w.U32(r.C);
        Write(progress, ref w);
        return w.Overflowed ? 0 : w.Length;
    }

    /// <summary>Reads what <see cref="Write(in SpliceRecord, in SpliceProgress, Span{byte})"/> wrote; false if it is anything else.</summary>
    public static bool TryRead(ReadOnlySpan<byte> source, ref SpliceRecord r, ref SpliceProgress progress)
    {
        var reader = new WireReader(source);
        if (reader.U8() != Format) return false;
        byte flags = reader.U8();
        bool v6 = (flags & V6) != 0;
        r = default;
        r.State = (SpliceState)reader.U8();
        r.Options = (SpliceOptions)reader.U8();
        r.Origin = reader.U8();
        r.Generation = reader.U8();
        byte theirs = reader.U8(), ours = reader.U8();
        (r.ScaleClient, r.ScaleServer) = ((byte)(theirs >> 4), (byte)(theirs & 15));
        (r.ScaleOursClient, r.ScaleOursServer) = ((byte)(ours >> 4), (byte)(ours & 15));
        r.Id = reader.U64();
        r.Version = reader.U32();
        (r.Service, r.Pool, r.PoolVersion) = (reader.U32(), reader.U32(), reader.U32());
        (r.A, r.B, r.D, r.Y) = (reader.U32(), reader.U32(), reader.U32(), reader.U32());
        (r.Ds, r.TsFirst, r.AckFloor) = (reader.U32(), reader.U32(), reader.U32());
        (r.P, r.MssClient, r.MssServer) = (reader.U16(), reader.U16(), reader.U16());
        (r.Client, r.Virtual, r.Real) = (reader.Address(v6), reader.Address(v6), reader.Address(v6));
        (r.ClientPort, r.VirtualPort, r.RealPort) = (reader.U16(), reader.U16(), reader.U16());
        bool transparent = (flags & Transparent) != 0;
        r.Source = transparent ? r.Client : reader.Address(v6);
        r.SourcePort = transparent ? r.ClientPort : reader.U16();
        r.FloorOpen = (flags & FloorOpen) != 0 ? (byte)1 : (byte)0;
        r.X = (flags & XZero) != 0 ? 0 : reader.U32();
        r.Dc = (flags & DcZero) != 0 ? 0 : reader.U32();
        r.C = (flags & CDerived) != 0 ? r.A - r.P : reader.U32();
        r.Imported = 1;
        return TryRead(ref reader, out progress) && reader.Complete && IsPlausible(r, flags);
    }

    /// <summary>Writes progress; at most 46 bytes.</summary>
    public static void Write(in SpliceProgress progress, ref WireWriter w)
    {
        Write(progress.ToServer, ref w);
        Write(progress.ToClient, ref w);
    }

    /// <summary>Reads progress.</summary>
    public static bool TryRead(ref WireReader reader, out SpliceProgress progress)
    {
        progress = default;
        Read(ref reader, ref progress.ToServer);
        Read(ref reader, ref progress.ToClient);
        return !reader.Failed;
    }

    private static void Write(in DirectionProgress p, ref WireWriter w)
    {
        bool finLast = p.FinSeen != 0 && p.FinSeq + 1 == p.SeqNext;
        w.U8((byte)((p.Seen != 0 ? Seen : 0) | (p.FinSeen != 0 ? FinSeen : 0) | (p.PathMtu != 0 ? HasMtu : 0) | (p.TsVal != 0 ? HasTs : 0) | (finLast ? FinLast : 0)));
        if (p.PathMtu != 0) w.U16(p.PathMtu);
        if (p.Seen == 0) return;
        w.U32(p.SeqNext);
        w.U32(p.AckSeen);
        w.Var32(p.RightEdge - p.AckSeen);
        if (p.TsVal != 0) w.U32(p.TsVal);
        if (p.FinSeen != 0 && !finLast) w.U32(p.FinSeq);
    }

    private static void Read(ref WireReader reader, ref DirectionProgress p)
    {
        byte flags = reader.U8();
        if (flags >= 32) reader.Fail();
        if ((flags & HasMtu) != 0) p.PathMtu = reader.U16();
        if ((flags & Seen) == 0) return;
        p.Seen = 1;
        p.SeqNext = reader.U32();
        p.AckSeen = reader.U32();
        p.RightEdge = p.AckSeen + reader.Var32();
        if ((flags & HasTs) != 0) p.TsVal = reader.U32();
        if ((flags & FinSeen) == 0) return;
        p.FinSeen = 1;
        p.FinSeq = (flags & FinLast) != 0 ? p.SeqNext - 1 : reader.U32();
    }

    private static bool IsPlausible(in SpliceRecord r, byte flags) =>
        flags < 64 && r.Id != 0 && r.Version != 0 && r.Origin < NodeIds.Max && r.State is >= SpliceState.Established and <= SpliceState.Reset
        && r.ScaleClient <= 14 && r.ScaleServer <= 14 && r.ScaleOursClient <= 14 && r.ScaleOursServer <= 14;
}
