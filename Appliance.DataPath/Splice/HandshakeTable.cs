using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// All handshakes of one worker: preallocated slots, found by the client's tuple and, once a
/// backend is being tried, by the backend's. Used by its worker only.
/// </summary>
public sealed class HandshakeTable
{
    private const int NoTimer = 0, MaxTimersPerAdvance = 256;

    private readonly Handshake[] _slots;
    private readonly int[] _free;
    private readonly Dictionary<FlowKey, int> _index;
    private readonly TimerWheel _timers;
    private readonly int[] _timerOf;
    private int _freeCount;

    /// <summary>Room for <paramref name="capacity"/> handshakes; <paramref name="seed"/> keeps collisions unpredictable.</summary>
    public HandshakeTable(int capacity, HeadBuffers buffers, ulong seed, long now)
    {
        Buffers = buffers;
        _slots = new Handshake[capacity];
        _free = new int[capacity];
        _timerOf = new int[capacity];
        for (int i = 0; i < capacity; i++)
        {
            _slots[i] = new Handshake(i);
            _free[i] = capacity - 1 - i;
            _timerOf[i] = NoTimer;
        }
        _freeCount = capacity;
        _index = new Dictionary<FlowKey, int>(capacity * 2, new SeededKeys(seed));
        _timers = new TimerWheel(capacity, now);
    }

    /// <summary>Where heads are collected.</summary>
    public HeadBuffers Buffers { get; }

    /// <summary>Handshakes in progress.</summary>
    public int Count => _slots.Length - _freeCount;

    /// <summary>When the next timer is due, ns; <see cref="long.MaxValue"/> if none.</summary>
    public long NextDeadline => _timers.NextDeadline();

    /// <summary>The handshake in a slot.</summary>
    public Handshake this[int index] => _slots[index];

    /// <summary>The handshake whose client or backend sends packets with <paramref name="key"/>, or null.</summary>
    public Handshake? Find(in FlowKey key) => _index.TryGetValue(key, out int slot) ? _slots[slot] : null;

    /// <summary>The handshake that a ticket names, or null if it ended.</summary>
    public Handshake? Find(ulong ticket)
    {
        uint slot = (uint)ticket;
        if (slot >= _slots.Length) return null;
        Handshake handshake = _slots[slot];
        return handshake.State != HandshakeState.Free && handshake.Ticket == ticket ? handshake : null;
    }

    /// <summary>For any thread: true if the handshake that a ticket names had not ended, so that what was read of its buffer before is its own.</summary>
    public bool IsCurrent(ulong ticket)
    {
        Thread.MemoryBarrier();
        return Find(ticket) is not null;
    }

    /// <summary>Starts a handshake with a head buffer; null with the reason if there is no room.</summary>
    public Handshake? Begin(in FlowKey key, Service service, CookieOptions agreed, TcpSeq a, TcpSeq b, long now, out DropReason reason)
    {
        reason = _freeCount == 0 || Buffers.IsExhausted ? DropReason.HeadBuffersExhausted : DropReason.SourceShareExceeded;
        if (_freeCount == 0) return null;
        int buffer = Buffers.Take(key.Source);
        if (buffer < 0) return null;
        Handshake handshake = _slots[_free[--_freeCount]];
        handshake.Begin(key, service, agreed, a, b, now);
        handshake.Buffer = buffer;
        _index[key] = handshake.Index;
        reason = DropReason.None;
        return handshake;
    }

    /// <summary>Puts the bytes that come in front of the request (PROXY header) in front of it.</summary>
    public void WritePrefix(Handshake handshake)
    {
        if (handshake.Prefix > 0) ProxyV2.Write(Buffers.WithPrefix(handshake.Buffer, handshake.Prefix, 0), handshake.ClientKey, default);
    }

    /// <summary>Makes the handshake known by its backend's tuple too.</summary>
    public void SetServerKey(Handshake handshake, in FlowKey key)
    {
        RemoveServerKey(handshake);
        handshake.ServerKey = key;
        _index[key] = handshake.Index;
    }

    /// <summary>Forgets the backend's tuple.</summary>
    public void RemoveServerKey(Handshake handshake)
    {
        if (handshake.ServerKey.Protocol != 0 && _index.TryGetValue(handshake.ServerKey, out int owner) && owner == handshake.Index) _index.Remove(handshake.ServerKey);
        handshake.ServerKey = default;
    }

    /// <summary>Ends a handshake: slot, keys, timer and buffer are free again.</summary>
    public void End(Handshake handshake)
    {
        RemoveServerKey(handshake);
        if (_index.TryGetValue(handshake.ClientKey, out int owner) && owner == handshake.Index) _index.Remove(handshake.ClientKey);
        Cancel(handshake);
        Buffers.Give(handshake.Buffer, handshake.ClientKey.Source);
        handshake.State = HandshakeState.Free;
        _free[_freeCount++] = handshake.Index;
    }

    /// <summary>Sets the handshake's only timer.</summary>
    public void Schedule(Handshake handshake, long when)
    {
        Cancel(handshake);
        handshake.Next = when;
        _timerOf[handshake.Index] = _timers.Schedule(when, 0, handshake.Index);
    }

    /// <summary>Runs what is due.</summary>
    public void Advance<THandler>(long now, ref THandler handler)
        where THandler : struct, ITimerHandler => _timers.Advance(now, ref handler, MaxTimersPerAdvance);

    /// <summary>The slot whose timer fired; its timer is no longer set.</summary>
    public Handshake Fired(int slot)
    {
        _timerOf[slot] = NoTimer;
        return _slots[slot];
    }

    private void Cancel(Handshake handshake)
    {
        ref int timer = ref _timerOf[handshake.Index];
        if (timer == NoTimer) return;
        _timers.Cancel(timer);
        timer = NoTimer;
    }

    private sealed class SeededKeys(ulong seed) : IEqualityComparer<FlowKey>
    {
        public bool Equals(FlowKey x, FlowKey y) => x == y;

        public int GetHashCode(FlowKey key) => (int)key.Hash(seed);
    }
}
