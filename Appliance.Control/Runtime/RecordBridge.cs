using System.Buffers.Binary;
using Appliance.Control.Replication;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// Carries words between one worker and the replicator: the worker's messages become published
/// records and questions, peers' records and answers become commands. I/O-free; runs on the replication thread
/// (in a simulation: in the box's step). Allocates nothing once questions and confirmations have found
/// their steady number. What finds no room in the worker's queue is counted; a resync repairs it.
/// </summary>
public sealed class RecordBridge : IRecordSink, IRecordSource, IDisposable
{
    /// <summary>Handshake identity in front of each chunk of owned bytes: addresses, ports, a, b, cookie options.</summary>
    internal const int OwnedHeader = 16 + 16 + 2 + 2 + 4 + 4 + 1, OwnedClientPort = 32;

    private const int OwnedChunk = RecordCodec.MaxOwnedBytes - OwnedHeader;
    private const int OwnedSlots = 1024, MaxQuestions = 4096, LookSlots = 256;

    /// <summary>More commands than one datagram can become.</summary>
    private const int MostPerDatagram = 192;

    private readonly SpliceTable _splices;
    private readonly HandshakeTable _handshakes;
    private readonly SpscQueue<SpliceCommand> _toWorker;
    private readonly SpscQueue<SpliceEvent> _fromWorker;
    private readonly Action _drainWorker;
    private readonly Dictionary<ulong, ulong> _recordTickets = new(MaxQuestions);
    private readonly Dictionary<ulong, Offer> _offers = new(MaxQuestions);
    private readonly Dictionary<ulong, (ulong Ticket, ulong Asked)> _questions = new(MaxQuestions);
    private readonly ulong[] _settled = new ulong[64];
    private readonly (ulong Id, ChoiceRecord Choice)[] _choices = new (ulong, ChoiceRecord)[4096];
    private readonly byte[] _chunk = new byte[RecordCodec.MaxOwnedBytes];
    private readonly int[] _found = new int[1];
    private readonly nint _owned = MemoryNative.Allocate((nuint)(OwnedSlots * RecordCodec.MaxOwnedBytes));
    private int _nextOwned;
    private Replicator? _replicator;

    /// <summary>
    /// A bridge for one worker. <paramref name="drainWorker"/> makes the worker carry out what is queued for it, and
    /// returns when it has (or a bounded time has passed): a peer's question must see what was imported before it.
    /// </summary>
    public RecordBridge(SpliceTable splices, HandshakeTable handshakes, SpscQueue<SpliceCommand> toWorker, SpscQueue<SpliceEvent> fromWorker, Action drainWorker)
    {
        _splices = splices;
        _handshakes = handshakes;
        _toWorker = toWorker;
        _fromWorker = fromWorker;
        _drainWorker = drainWorker;
    }

    /// <summary>Set when a command waits that the worker must not sleep on (a confirmation or an answer); the caller clears it.</summary>
    public bool MustWake { get; set; }

    /// <summary>
    /// False while the worker has no room for what another datagram may bring: it is better left to the socket, and in the end to
    /// its sender's repetition, than acknowledged and lost.
    /// </summary>
    public bool HasRoom => _toWorker.Room >= MostPerDatagram && _toWorker.Count < OwnedSlots - MostPerDatagram;

    /// <summary>Full transfers received so far.</summary>
    public long ResyncsReceived { get; private set; }

    /// <summary>Sets the replicator; once, before the first call.</summary>
    public void Connect(Replicator replicator) => _replicator = replicator;

    /// <summary>Publishes what the worker has said; returns how much it was.</summary>
    public int Pump(long now)
    {
        int done = 0;
        for (; done < 4096 && _fromWorker.TryDequeue(out SpliceEvent message); done++) Publish(message, now);
        if (_offers.Count > 0) ConfirmOffers();
        return done;
    }

    /// <summary>Only these nodes live: the others' answers are not waited for any more.</summary>
    public void OnLive(ulong live)
    {
        int count;
        do
        {
            count = 0;
            foreach ((ulong id, (ulong ticket, ulong asked)) in _questions)
            {
                if ((asked & live) == 0 && count < _settled.Length) _settled[count++] = id;
            }
            for (int i = 0; i < count; i++) Settle(_settled[i]);
        }
        while (count == _settled.Length);
    }

    /// <inheritdoc/>
    public void Import(byte from, in SpliceRecord record, in SpliceProgress progress)
    {
        // The same client joined to another backend: our record goes back with the acknowledgment, so that it confirms nothing.
        int entry = _splices.Find(SpliceTable.KeyToServer(record));
        if (entry >= 0 && _splices.TryRead(_splices.Entry(entry).Record, out SpliceRecord held, out SpliceProgress heldProgress) && held.Id == record.Id && !held.IsSameJoin(record))
        {
            _replicator!.Object(from, held, heldProgress);
            MustWake = true;
        }
        Post(new SpliceCommand { Kind = SpliceCommandKind.Import, Node = from, Record = record, Progress = progress });
    }

    /// <inheritdoc/>
    public void Progress(byte from, ulong id, in SpliceProgress progress)
    {
        SpliceCommand command = new() { Kind = SpliceCommandKind.Progress, Node = from, Progress = progress };
        command.Record.Id = id;
        Post(command);
    }

    /// <inheritdoc/>
    public void Remove(byte from, ulong id, uint version)
    {
        SpliceCommand command = new() { Kind = SpliceCommandKind.Remove, Node = from };
        command.Record.Id = id;
        command.Record.Version = version;
        Post(command);
    }

    /// <inheritdoc/>
    public void Choice(byte from, in ChoiceRecord choice)
    {
        _choices[choice.Id % (ulong)_choices.Length] = (choice.Id, choice);
        SpliceCommand command = new() { Kind = SpliceCommandKind.Choice, Node = from, Attempt = choice.Attempt };
        command.Record.Id = choice.Id;
        Post(command);
    }

    /// <inheritdoc/>
    public void OwnedBytes(byte from, ulong id, uint sequence, ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < OwnedHeader) return;
        SpliceCommand command = new() { Kind = SpliceCommandKind.OwnedBytes, Node = from, CookieOptions = bytes[44], Length = bytes.Length - OwnedHeader };
        ref SpliceRecord record = ref command.Record;
        record.Id = id;
        record.Client = IpAddr.ReadV6(bytes);
        record.Virtual = IpAddr.ReadV6(bytes[16..]);
        record.ClientPort = BinaryPrimitives.ReadUInt16BigEndian(bytes[32..]);
        record.VirtualPort = BinaryPrimitives.ReadUInt16BigEndian(bytes[34..]);
        record.A = BinaryPrimitives.ReadUInt32BigEndian(bytes[36..]);
        record.B = BinaryPrimitives.ReadUInt32BigEndian(bytes[40..]);
        command.Offset = (int)(sequence - (record.A + 1));
        // A slot is written again only after more commands than wait: HasRoom was asked.
        command.Bytes = _owned + (_nextOwned++ % OwnedSlots) * RecordCodec.MaxOwnedBytes;
        bytes[OwnedHeader..].CopyTo(MemoryNative.Span(command.Bytes, command.Length));
        Post(command);
    }

    /// <inheritdoc/>
    public AnswerKind Query(byte from, in OwnerQuery query, ref SpliceRecord record, ref SpliceProgress progress, ref ChoiceRecord choice)
    {
        _drainWorker();
        FlowKey key = new(query.Client, query.Virtual, query.ClientPort, query.VirtualPort, Packet.ProtocolTcp);
        int entry = _splices.Find(key);
        if (entry >= 0 && _splices.TryRead(_splices.Entry(entry).Record, out record, out progress) && record.Id == query.Id) return AnswerKind.Splice;
        (ulong id, ChoiceRecord held) = _choices[query.Id % (ulong)_choices.Length];
        if (id != query.Id) return AnswerKind.Nothing;
        choice = held;
        return AnswerKind.Choice;
    }

    /// <inheritdoc/>
    public void Answered(byte from, ulong id, AnswerKind answer)
    {
        if (!_questions.TryGetValue(id, out (ulong Ticket, ulong Asked) question)) return;
        question.Asked &= ~(1ul << from);
        _questions[id] = question;
        if (question.Asked == 0 || answer != AnswerKind.Nothing) Settle(id);
    }

    /// <inheritdoc/>
    public void Confirmed(RecordKind kind, ulong id, uint version)
    {
        // Bytes offered before carry the same id.
        if (kind != RecordKind.OwnedBytes && _recordTickets.Remove(id, out ulong ticket)) PostUrgent(new SpliceCommand { Kind = SpliceCommandKind.Confirmed, Ticket = ticket });
    }

    /// <inheritdoc/>
    public void Filling(byte to) => Post(new SpliceCommand { Kind = SpliceCommandKind.NodeJoins, Node = to });

    /// <inheritdoc/>
    public void ResyncEnded(byte from, ResyncCause cause) => ResyncsReceived++;

    /// <inheritdoc/>
    public SourceResult Next(ref long cursor, ref SpliceRecord record, ref SpliceProgress progress, out uint ownedSequence, out ReadOnlySpan<byte> owned)
    {
        ownedSequence = 0;
        owned = default;
        // The last record stood in the last slot.
        if (cursor == long.MaxValue) return SourceResult.End;
        int at = (int)cursor;
        int count = _splices.Walk(ref at, _found, LookSlots);
        bool end = at == 0;
        cursor = end ? long.MaxValue : at;
        if (count > 0 && _splices.TryRead(_found[0], out record, out progress)) return SourceResult.Record;
        return end ? SourceResult.End : SourceResult.Pause;
    }

    /// <inheritdoc/>
    public void Dispose() => MemoryNative.Free(_owned);

    private void Publish(in SpliceEvent message, long now)
    {
        Replicator replicator = _replicator!;
        switch (message.Kind)
        {
            case SpliceEventKind.Changed:
                if (message.WantsConfirm) _recordTickets[message.Record.Id] = message.Ticket;
                replicator.Publish(message.Record, message.Progress, message.WantsConfirm, now);
                break;
            case SpliceEventKind.Removed:
                replicator.PublishRemove(message.Record.Id, message.Record.Version + 1, now);
                break;
            case SpliceEventKind.Progress:
                replicator.PublishProgress(message.Record.Id, message.Progress, now);
                break;
            case SpliceEventKind.Choice:
                replicator.PublishChoice(ToChoice(message), wantsConfirm: false, now);
                break;
            case SpliceEventKind.Query:
                Ask(message, now);
                break;
            case SpliceEventKind.OwnedBytes:
                PublishOwned(message, now);
                break;
        }
    }

    private void Ask(in SpliceEvent message, long now)
    {
        OwnerQuery query = new()
        {
            Id = message.Record.Id,
            Client = message.Record.Client,
            Virtual = message.Record.Virtual,
            ClientPort = message.Record.ClientPort,
            VirtualPort = message.Record.VirtualPort,
            A = message.Record.A,
            B = message.Record.B,
        };
        ulong asked = _replicator!.Ask(query, now);
        _questions[query.Id] = (message.Ticket, asked);
        if (asked == 0) Settle(query.Id);
    }

    private void Settle(ulong id)
    {
        if (_questions.Remove(id, out (ulong Ticket, ulong Asked) question)) PostUrgent(new SpliceCommand { Kind = SpliceCommandKind.QueryDone, Ticket = question.Ticket });
    }

    private void PublishOwned(in SpliceEvent message, long now)
    {
        Span<byte> chunk = _chunk;
        message.Record.Client.WriteV6(chunk);
        message.Record.Virtual.WriteV6(chunk[16..]);
        BinaryPrimitives.WriteUInt16BigEndian(chunk[32..], message.Record.ClientPort);
        BinaryPrimitives.WriteUInt16BigEndian(chunk[34..], message.Record.VirtualPort);
        BinaryPrimitives.WriteUInt32BigEndian(chunk[36..], message.Record.A);
        BinaryPrimitives.WriteUInt32BigEndian(chunk[40..], message.Record.B);
        chunk[44] = message.CookieOptions;
        uint sequence = message.Record.A + 1 + (uint)message.Offset;
        if (message.Length == 0)
        {
            _offers.Remove(message.Record.Id);
            _replicator!.PublishOwnedBytes(message.Record.Id, sequence, chunk[..OwnedHeader], now);
            return;
        }
        ReadOnlySpan<byte> bytes = MemoryNative.Span(message.Bytes, message.Length);
        long first = _replicator!.LastStamp + 1, last = first;
        while (!bytes.IsEmpty)
        {
            int take = Math.Min(bytes.Length, OwnedChunk);
            bytes[..take].CopyTo(chunk[OwnedHeader..]);
            // The handshake may end at any time, and its buffer be another's: what was copied counts only if it is still there.
            if (!_handshakes.IsCurrent(message.Ticket)) return;
            last = _replicator.PublishOwnedBytes(message.Record.Id, sequence, chunk[..(OwnedHeader + take)], now);
            sequence += (uint)take;
            bytes = bytes[take..];
        }
        if (message.WantsConfirm) _offers[message.Record.Id] = new Offer(message.Ticket, first, last, message.Offset + message.Length);
    }

    // An offer stands once one and the same peer holds all of it.
    private void ConfirmOffers()
    {
        bool alone = _replicator!.Live == 0;
        int count = 0;
        foreach ((ulong id, Offer offer) in _offers)
        {
            if (count == _settled.Length) break;
            if (!alone && !_replicator.HeldByAny(offer.First, offer.Last)) continue;
            _settled[count++] = id;
            if (!alone) PostUrgent(new SpliceCommand { Kind = SpliceCommandKind.Confirmed, Ticket = offer.Ticket, Offset = offer.End });
        }
        for (int i = 0; i < count; i++) _offers.Remove(_settled[i]);
    }

    /// <summary>Bytes up to <see cref="End"/> that a worker offered, and the stamps of the changes that carry them.</summary>
    private readonly record struct Offer(ulong Ticket, long First, long Last, int End);

    private static ChoiceRecord ToChoice(in SpliceEvent message) => new()
    {
        Id = message.Record.Id,
        Client = message.Record.Client,
        Virtual = message.Record.Virtual,
        Source = message.Record.Client,
        Real = message.Record.Real,
        ClientPort = message.Record.ClientPort,
        VirtualPort = message.Record.VirtualPort,
        SourcePort = message.Record.ClientPort,
        RealPort = message.Record.RealPort,
        A = message.Record.A,
        B = message.Record.B,
        PoolVersion = message.Record.PoolVersion,
        Attempt = message.Attempt,
    };

    private void Post(in SpliceCommand command)
    {
        if (_toWorker.Room == 0) _drainWorker();
        _toWorker.TryEnqueue(command);
    }

    private void PostUrgent(in SpliceCommand command)
    {
        Post(command);
        MustWake = true;
    }
}
