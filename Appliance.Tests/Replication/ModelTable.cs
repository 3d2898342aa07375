using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Replication;

/// <summary>The tables of a box as a dictionary: the simplest thing that meets the contract of sink and source.</summary>
internal sealed class ModelTable : IRecordSink, IRecordSource
{
    private readonly List<ulong> _places = [];

    public Dictionary<ulong, (SpliceRecord Record, SpliceProgress Progress)> Records { get; } = [];

    public Dictionary<ulong, SortedDictionary<uint, byte[]>> Owned { get; } = [];

    public Dictionary<ulong, ChoiceRecord> Choices { get; } = [];

    public List<(RecordKind Kind, ulong Id, uint Version)> Confirmations { get; } = [];

    public List<(byte From, ulong Id, AnswerKind Answer)> Answers { get; } = [];

    public int Ended { get; private set; }

    public void Set(in SpliceRecord record, in SpliceProgress progress)
    {
        if (!Records.ContainsKey(record.Id)) _places.Add(record.Id);
        Records[record.Id] = (record, progress);
    }

    public void Drop(ulong id)
    {
        if (!Records.Remove(id)) return;
        _places[_places.IndexOf(id)] = 0;
        Owned.Remove(id);
    }

    public void Import(byte from, in SpliceRecord record, in SpliceProgress progress)
    {
        SpliceProgress merged = progress;
        if (!Records.TryGetValue(record.Id, out (SpliceRecord Record, SpliceProgress Progress) held))
        {
            Set(record, progress);
            return;
        }
        merged.Merge(held.Progress);
        bool newer = record.Version > held.Record.Version || (record.Version == held.Record.Version && record.State > held.Record.State);
        Set(newer ? record : held.Record, merged);
    }

    public void Progress(byte from, ulong id, in SpliceProgress progress)
    {
        if (!Records.TryGetValue(id, out (SpliceRecord Record, SpliceProgress Progress) held)) return;
        held.Progress.Merge(progress);
        Records[id] = held;
    }

    public void Remove(byte from, ulong id, uint version) => Drop(id);

    public void Choice(byte from, in ChoiceRecord choice) => Choices[choice.Id] = choice;

    public void OwnedBytes(byte from, ulong id, uint sequence, ReadOnlySpan<byte> bytes)
    {
        if (!Owned.TryGetValue(id, out SortedDictionary<uint, byte[]>? chunks)) Owned[id] = chunks = [];
        chunks[sequence] = bytes.ToArray();
    }

    public AnswerKind Query(byte from, in OwnerQuery query, ref SpliceRecord record, ref SpliceProgress progress, ref ChoiceRecord choice)
    {
        if (Records.TryGetValue(query.Id, out (SpliceRecord Record, SpliceProgress Progress) held))
        {
            (record, progress) = held;
            return AnswerKind.Splice;
        }
        return Choices.TryGetValue(query.Id, out choice) ? AnswerKind.Choice : AnswerKind.Nothing;
    }

    public void Answered(byte from, ulong id, AnswerKind answer) => Answers.Add((from, id, answer));

    public void Confirmed(RecordKind kind, ulong id, uint version) => Confirmations.Add((kind, id, version));

    public void Filling(byte to)
    {
    }

    public void ResyncEnded(byte from, ResyncCause cause) => Ended++;

    public SourceResult Next(ref long cursor, ref SpliceRecord record, ref SpliceProgress progress, out uint ownedSequence, out ReadOnlySpan<byte> owned)
    {
        ownedSequence = 0;
        owned = default;
        for (int looked = 0; looked < 16; looked++)
        {
            if (cursor >= _places.Count) return SourceResult.End;
            ulong id = _places[(int)cursor++];
            if (id == 0) continue;
            (record, progress) = Records[id];
            if (Owned.TryGetValue(id, out SortedDictionary<uint, byte[]>? chunks))
            {
                ownedSequence = chunks.Keys.First();
                owned = chunks.Values.SelectMany(c => c).ToArray();
            }
            return SourceResult.Record;
        }
        return SourceResult.Pause;
    }

    /// <summary>A record with random contents that the codec can carry.</summary>
    public static SpliceRecord RandomRecord(Random random, byte origin, ulong id, bool v6 = false)
    {
        IpAddr Address() => v6 ? new IpAddr((ulong)random.NextInt64(), (ulong)random.NextInt64()) : IpAddr.FromV4((uint)random.NextInt64());
        uint a = (uint)random.NextInt64();
        ushort p = (ushort)(random.Next(2) * 28);
        bool transparent = random.Next(4) != 0;
        IpAddr client = Address();
        ushort port = (ushort)random.Next(65536);
        return new SpliceRecord
        {
            Id = id,
            Version = 1,
            Client = client,
            Virtual = Address(),
            Source = transparent ? client : Address(),
            Real = Address(),
            ClientPort = port,
            VirtualPort = 80,
            SourcePort = transparent ? port : (ushort)random.Next(65536),
            RealPort = 8080,
            Service = (uint)random.Next(),
            Pool = (uint)random.Next(),
            PoolVersion = (uint)random.Next(),
            Origin = origin,
            State = (SpliceState)random.Next(1, 5),
            Options = (SpliceOptions)random.Next(128),
            Generation = (byte)random.Next(256),
            A = a,
            B = (uint)random.NextInt64(),
            C = random.Next(4) == 0 ? (uint)random.NextInt64() : a - p,
            D = (uint)random.NextInt64(),
            X = random.Next(4) == 0 ? (uint)random.NextInt64() : 0,
            Y = (uint)random.NextInt64(),
            Ds = (uint)random.NextInt64(),
            Dc = random.Next(4) == 0 ? (uint)random.NextInt64() : 0,
            TsFirst = (uint)random.NextInt64(),
            AckFloor = a + 1,
            P = p,
            MssClient = 1460,
            MssServer = 8960,
            ScaleClient = (byte)random.Next(15),
            ScaleServer = (byte)random.Next(15),
            ScaleOursClient = (byte)random.Next(15),
            ScaleOursServer = (byte)random.Next(15),
            FloorOpen = (byte)random.Next(2),
            Imported = 1,
        };
    }

    /// <summary>Progress with random contents.</summary>
    public static SpliceProgress RandomProgress(Random random) => new() { ToServer = RandomDirection(random), ToClient = RandomDirection(random) };

    private static DirectionProgress RandomDirection(Random random)
    {
        var p = new DirectionProgress { PathMtu = (ushort)(random.Next(3) == 0 ? 1400 : 0) };
        if (random.Next(4) == 0) return p;
        p.Seen = 1;
        p.SeqNext = (uint)random.NextInt64();
        p.AckSeen = (uint)random.NextInt64();
        p.RightEdge = p.AckSeen + (uint)random.Next(1 << 24);
        p.TsVal = random.Next(2) == 0 ? 0 : (uint)random.NextInt64();
        if (random.Next(3) != 0) return p;
        p.FinSeen = 1;
        p.FinSeq = random.Next(2) == 0 ? p.SeqNext - 1 : (uint)random.NextInt64();
        return p;
    }
}
