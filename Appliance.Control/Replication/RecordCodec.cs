using Appliance.DataPath.State;

namespace Appliance.Control.Replication;

/// <summary>
/// Contents of the record kinds other than whole splices (see <see cref="SpliceRecordCodec"/>).
/// In the datagram each stands behind its kind (1 byte) and length (2 bytes). Reading refuses, never throws.
/// </summary>
public static class RecordCodec
{
    /// <summary>Most request bytes in one record; bytes in front of them.</summary>
    public const int MaxOwnedBytes = 256, OwnedHeaderBytes = 12;

    /// <summary>Longest contents of any kind.</summary>
    public const int MaxBytes = RecordCache.MaxPayload;

    public static int WriteProgress(ulong id, in SpliceProgress progress, Span<byte> target)
    {
        var w = new WireWriter(target);
        w.U64(id);
        SpliceRecordCodec.Write(progress, ref w);
        return w.Overflowed ? 0 : w.Length;
    }

    public static bool TryReadProgress(ReadOnlySpan<byte> source, out ulong id, out SpliceProgress progress)
    {
        var reader = new WireReader(source);
        id = reader.U64();
        return SpliceRecordCodec.TryRead(ref reader, out progress) && reader.Complete && id != 0;
    }

    public static int WriteRemove(ulong id, uint version, Span<byte> target)
    {
        var w = new WireWriter(target);
        w.U64(id);
        w.U32(version);
        return w.Overflowed ? 0 : w.Length;
    }

    public static bool TryReadRemove(ReadOnlySpan<byte> source, out ulong id, out uint version)
    {
        var reader = new WireReader(source);
        (id, version) = (reader.U64(), reader.U32());
        return reader.Complete && id != 0;
    }

    public static int WriteOwnedBytes(ulong id, uint sequence, ReadOnlySpan<byte> bytes, Span<byte> target)
    {
        var w = new WireWriter(target);
        w.U64(id);
        w.U32(sequence);
        w.Bytes(bytes);
        return w.Overflowed ? 0 : w.Length;
    }

    public static bool TryReadOwnedBytes(ReadOnlySpan<byte> source, out ulong id, out uint sequence, out ReadOnlySpan<byte> bytes)
    {
        var reader = new WireReader(source);
        (id, sequence) = (reader.U64(), reader.U32());
        bytes = reader.Rest();
        return reader.Complete && id != 0 && bytes.Length is > 0 and <= MaxOwnedBytes;
    }

    public static int WriteChoice(in ChoiceRecord c, Span<byte> target)
    {
        var w = new WireWriter(target);
        Write(c, ref w);
        return w.Overflowed ? 0 : w.Length;
    }

    public static bool TryReadChoice(ReadOnlySpan<byte> source, out ChoiceRecord choice)
    {
        var reader = new WireReader(source);
        choice = Read(ref reader);
        return reader.Complete && choice.Id != 0;
    }

    public static int WriteQuery(in OwnerQuery q, Span<byte> target)
    {
        bool v6 = !(q.Client.IsV4 && q.Virtual.IsV4);
        var w = new WireWriter(target);
        w.U8(v6 ? (byte)1 : (byte)0);
        w.U64(q.Id);
        w.U32(q.A);
        w.U32(q.B);
        w.U16(q.ClientPort);
        w.U16(q.VirtualPort);
        w.Address(q.Client, v6);
        w.Address(q.Virtual, v6);
        return w.Overflowed ? 0 : w.Length;
    }

    public static bool TryReadQuery(ReadOnlySpan<byte> source, out OwnerQuery query)
    {
        var reader = new WireReader(source);
        byte flags = reader.U8();
        if (flags > 1) reader.Fail();
        bool v6 = flags == 1;
        query = new OwnerQuery
        {
            Id = reader.U64(),
            A = reader.U32(),
            B = reader.U32(),
            ClientPort = reader.U16(),
            VirtualPort = reader.U16(),
            Client = reader.Address(v6),
            Virtual = reader.Address(v6),
        };
        return reader.Complete && query.Id != 0;
    }

    /// <summary>An answer: the query's id, its kind, then the record or the choice that it names.</summary>
    public static int WriteAnswer(ulong id, AnswerKind kind, in SpliceRecord record, in SpliceProgress progress, in ChoiceRecord choice, Span<byte> target)
    {
        var w = new WireWriter(target);
        w.U64(id);
        w.U8((byte)kind);
        if (kind == AnswerKind.Choice) Write(choice, ref w);
        if (w.Overflowed) return 0;
        if (kind != AnswerKind.Splice) return w.Length;
        int length = SpliceRecordCodec.Write(record, progress, target[w.Length..]);
        return length == 0 ? 0 : w.Length + length;
    }

    public static bool TryReadAnswer(ReadOnlySpan<byte> source, out ulong id, out AnswerKind kind, ref SpliceRecord record, ref SpliceProgress progress, ref ChoiceRecord choice)
    {
        var reader = new WireReader(source);
        id = reader.U64();
        kind = (AnswerKind)reader.U8();
        switch (kind)
        {
            case AnswerKind.Nothing:
                return reader.Complete && id != 0;
            case AnswerKind.Choice:
                choice = Read(ref reader);
                return reader.Complete && id != 0 && choice.Id != 0;
            case AnswerKind.Splice:
                ReadOnlySpan<byte> rest = reader.Rest();
                return reader.Complete && id != 0 && SpliceRecordCodec.TryRead(rest, ref record, ref progress);
            default:
                return false;
        }
    }

    public static bool TryReadMark(ReadOnlySpan<byte> source, out ResyncCause cause, out uint number)
    {
        var reader = new WireReader(source);
        cause = (ResyncCause)reader.U8();
        number = reader.U32();
        return reader.Complete && cause is >= ResyncCause.Join and <= ResyncCause.Return;
    }

    private static void Write(in ChoiceRecord c, ref WireWriter w)
    {
        bool v6 = !(c.Client.IsV4 && c.Virtual.IsV4 && c.Source.IsV4 && c.Real.IsV4);
        w.U8(v6 ? (byte)1 : (byte)0);
        w.U8(c.Attempt);
        w.U64(c.Id);
        w.U32(c.A);
        w.U32(c.B);
        w.U32(c.Pool);
        w.U32(c.PoolVersion);
        w.U16(c.ClientPort);
        w.U16(c.VirtualPort);
        w.U16(c.SourcePort);
        w.U16(c.RealPort);
        w.Address(c.Client, v6);
        w.Address(c.Virtual, v6);
        w.Address(c.Source, v6);
        w.Address(c.Real, v6);
    }

    private static ChoiceRecord Read(ref WireReader reader)
    {
        byte flags = reader.U8();
        if (flags > 1) reader.Fail();
        bool v6 = flags == 1;
        return new ChoiceRecord
        {
            Attempt = reader.U8(),
            Id = reader.U64(),
            A = reader.U32(),
            B = reader.U32(),
            Pool = reader.U32(),
            PoolVersion = reader.U32(),
            ClientPort = reader.U16(),
            VirtualPort = reader.U16(),
            SourcePort = reader.U16(),
            RealPort = reader.U16(),
            Client = reader.Address(v6),
            Virtual = reader.Address(v6),
            Source = reader.Address(v6),
            Real = reader.Address(v6),
        };
    }
}
