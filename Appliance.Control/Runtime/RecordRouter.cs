using System.Buffers.Binary;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// One replicator's sight of several workers: what peers say goes to the worker whose client it is about
/// (<see cref="ClientShare"/>), or to all where only an id is known, of whom one holds it; a full transfer walks one table
/// after the other. As the bridges, on the replication thread.
/// </summary>
public sealed class RecordRouter(RecordBridge[] bridges) : IRecordSink, IRecordSource
{
    private const int CursorBits = 32;

    private long _at;

    /// <inheritdoc/>
    public void Import(byte from, in SpliceRecord record, in SpliceProgress progress) => Of(record.Client, record.ClientPort).Import(from, record, progress);

    /// <inheritdoc/>
    public void Progress(byte from, ulong id, in SpliceProgress progress)
    {
        foreach (RecordBridge bridge in bridges) bridge.Progress(from, id, progress);
    }

    /// <inheritdoc/>
    public void Remove(byte from, ulong id, uint version)
    {
        foreach (RecordBridge bridge in bridges) bridge.Remove(from, id, version);
    }

    /// <inheritdoc/>
    public void Choice(byte from, in ChoiceRecord choice) => Of(choice.Client, choice.ClientPort).Choice(from, choice);

    /// <inheritdoc/>
    public void OwnedBytes(byte from, ulong id, uint sequence, ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < RecordBridge.OwnedHeader) return;
        Of(IpAddr.ReadV6(bytes), BinaryPrimitives.ReadUInt16BigEndian(bytes[RecordBridge.OwnedClientPort..])).OwnedBytes(from, id, sequence, bytes);
    }

    /// <inheritdoc/>
    public AnswerKind Query(byte from, in OwnerQuery query, ref SpliceRecord record, ref SpliceProgress progress, ref ChoiceRecord choice) =>
        Of(query.Client, query.ClientPort).Query(from, query, ref record, ref progress, ref choice);

    /// <inheritdoc/>
    public void Answered(byte from, ulong id, AnswerKind answer)
    {
        foreach (RecordBridge bridge in bridges) bridge.Answered(from, id, answer);
    }

    /// <inheritdoc/>
    public void Confirmed(RecordKind kind, ulong id, uint version)
    {
        foreach (RecordBridge bridge in bridges) bridge.Confirmed(kind, id, version);
    }

    /// <inheritdoc/>
    public void Filling(byte to)
    {
        foreach (RecordBridge bridge in bridges) bridge.Filling(to);
    }

    /// <inheritdoc/>
    public void ResyncEnded(byte from, ResyncCause cause)
    {
        foreach (RecordBridge bridge in bridges) bridge.ResyncEnded(from, cause);
    }

    /// <inheritdoc/>
    public SourceResult Next(ref long cursor, ref SpliceRecord record, ref SpliceProgress progress, out uint ownedSequence, out ReadOnlySpan<byte> owned)
    {
        ownedSequence = 0;
        owned = default;
        // The table's number above the place in it; a bridge says "end" with its last record or after it.
        if (cursor >= (long)bridges.Length << CursorBits) return SourceResult.End;
        long worker = cursor >> CursorBits;
        _at = cursor & ((1L << CursorBits) - 1);
        SourceResult result = bridges[worker].Next(ref _at, ref record, ref progress, out ownedSequence, out owned);
        bool end = result == SourceResult.End || _at == long.MaxValue;
        cursor = end ? (worker + 1) << CursorBits : worker << CursorBits | _at;
        return result == SourceResult.End && worker + 1 < bridges.Length ? SourceResult.Pause : result;
    }

    private RecordBridge Of(IpAddr client, ushort port) => bridges[ClientShare.Of(client, port, bridges.Length)];
}
