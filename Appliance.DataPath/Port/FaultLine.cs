using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// One direction of a <see cref="FaultPort"/>: takes frames in, applies the plan to their wire
/// segments, gives them out when they are due, in order of due time. The same seed, frames and times give the same
/// outcome.
/// </summary>
internal sealed class FaultLine : IDisposable
{
    private readonly FaultPlan _plan;
    private readonly SlabPool _slots;
    private readonly PriorityQueue<FrameRef, (long Due, long Order)> _held;
    private readonly Queue<nint> _borrowed;
    private readonly nint _base;
    private ulong _random;
    private long _order;
    private int _burstLeft;

    internal FaultLine(FaultPlan plan, ulong seed, int capacity, int slotSize)
    {
        _plan = plan;
        _random = seed;
        _slots = new SlabPool(capacity, slotSize);
        _held = new PriorityQueue<FrameRef, (long, long)>(capacity);
        _borrowed = new Queue<nint>(capacity);
        _base = _slots.AddressOf(0);
    }

    internal FaultCounters Counters { get; } = new();

    /// <summary>Due time of the next segment; <see cref="long.MaxValue"/> if none is held.</summary>
    internal long NextDue => _held.TryPeek(out _, out (long Due, long Order) first) ? first.Due : long.MaxValue;

    /// <summary>Takes a frame in (copied).</summary>
    internal void Push(in FrameRef frame, long now)
    {
        if (!Segmenter.TryCreate(frame.Bytes, frame.Vnet, out Segmenter segments, out _) || segments.MaxLength > _slots.BufferSize)
        {
            Counters.Unsplittable++;
            return;
        }
        for (int i = 0; i < segments.Count; i++)
        {
            if (!_slots.TryTake(out int slot))
            {
                Counters.Segments += segments.Count - i;
                Counters.Overflowed += segments.Count - i;
                return;
            }
            Counters.Segments++;
            // Written even if it is to be lost: the segmenter counts by what it has written.
            int length = segments.Next(_slots.Bytes(slot));
            if (IsLost())
            {
                Counters.Lost++;
                _slots.Return(slot);
                continue;
            }
            Damage(_slots.Bytes(slot), ref length);
            if (Chance(_plan.Duplicate)) Copy(slot, length, now);
            Hold(slot, length, now);
        }
    }

    /// <summary>Gives out the next segment that is due, until <see cref="Release"/>.</summary>
    internal bool TryPop(long now, out FrameRef frame)
    {
        frame = default;
        if (NextDue > now) return false;
        frame = _held.Dequeue();
        _borrowed.Enqueue(frame.Address);
        return true;
    }

    /// <summary>Takes back what was given out.</summary>
    internal void Release()
    {
        while (_borrowed.TryDequeue(out nint address)) _slots.Return((int)((address - _base) / _slots.BufferSize));
    }

    public void Dispose() => _slots.Dispose();

    private bool IsLost()
    {
        if (_burstLeft == 0 && Chance(_plan.Burst)) _burstLeft = _plan.BurstLength;
        if (_burstLeft == 0) return Chance(_plan.Loss);
        _burstLeft--;
        return true;
    }

    private void Damage(Span<byte> buffer, ref int length)
    {
        if (length > PacketParser.EthernetLength && Chance(_plan.Corrupt))
        {
            int at = PacketParser.EthernetLength + (int)(Next() % (ulong)(length - PacketParser.EthernetLength));
            buffer[at] ^= (byte)(1 << (int)(Next() & 7));
            Counters.Corrupted++;
        }
        if (length > PacketParser.EthernetLength && Chance(_plan.Truncate))
        {
            length = PacketParser.EthernetLength + (int)(Next() % (ulong)(length - PacketParser.EthernetLength));
            Counters.Truncated++;
        }
    }

    private void Copy(int slot, int length, long now)
    {
        if (!_slots.TryTake(out int copy))
        {
            Counters.Overflowed++;
            return;
        }
        _slots.Bytes(slot)[..length].CopyTo(_slots.Bytes(copy));
        Counters.Duplicated++;
        Hold(copy, length, now);
    }

    private void Hold(int slot, int length, long now)
    {
        long due = now + _plan.DelayNs;
        if (_plan.JitterNs > 0) due += (long)(Next() % (ulong)_plan.JitterNs);
        if (Chance(_plan.Reorder))
        {
            due += _plan.ReorderNs;
            Counters.Reordered++;
        }
        _held.Enqueue(new FrameRef { Address = _slots.AddressOf(slot), Length = length }, (due, _order++));
    }

    private bool Chance(double probability) => probability > 0 && (Next() >> 11) * (1.0 / (1UL << 53)) < probability;

    // SplitMix64: small, and the same on every machine.
    private ulong Next()
    {
        ulong z = _random += 0x9e37_79b9_7f4a_7c15;
        z = (z ^ (z >> 30)) * 0xbf58_476d_1ce4_e5b9;
        z = (z ^ (z >> 27)) * 0x94d0_49bb_1331_11eb;
        return z ^ (z >> 31);
    }
}
