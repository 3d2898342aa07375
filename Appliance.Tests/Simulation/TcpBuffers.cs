using System.Numerics;

namespace Appliance.Tests.Simulation;

/// <summary>A ring over stream offsets; the offset's low bits are the index. Memory is pooled per thread: return it with <see cref="Free"/>.</summary>
internal sealed class StreamRing
{
    [ThreadStatic]
    private static Stack<byte[]>?[]? _pool;

    private readonly int _mask;
    private byte[]? _bytes;

    public StreamRing(int atLeast)
    {
        int log = BitOperations.Log2(BitOperations.RoundUpToPowerOf2((uint)atLeast));
        _mask = (1 << log) - 1;
        _bytes = PoolOf(log).TryPop(out byte[]? free) ? free : new byte[1 << log];
    }

    public int Size => _mask + 1;

    public void Write(long at, ReadOnlySpan<byte> data)
    {
        int i = (int)at & _mask;
        int first = Math.Min(data.Length, Size - i);
        data[..first].CopyTo(_bytes.AsSpan(i));
        data[first..].CopyTo(_bytes);
    }

    public void Read(long at, Span<byte> data)
    {
        int i = (int)at & _mask;
        int first = Math.Min(data.Length, Size - i);
        _bytes.AsSpan(i, first).CopyTo(data);
        _bytes.AsSpan(0, data.Length - first).CopyTo(data[first..]);
    }

    public bool Matches(long at, ReadOnlySpan<byte> data)
    {
        int i = (int)at & _mask;
        int first = Math.Min(data.Length, Size - i);
        return data[..first].SequenceEqual(_bytes.AsSpan(i, first)) && data[first..].SequenceEqual(_bytes.AsSpan(0, data.Length - first));
    }

    public void Free()
    {
        if (_bytes is not null) PoolOf(BitOperations.Log2((uint)_bytes.Length)).Push(_bytes);
        _bytes = null;
    }

    private static Stack<byte[]> PoolOf(int log) => (_pool ??= new Stack<byte[]>[31])[log] ??= new Stack<byte[]>();
}

/// <summary>
/// The receiving side's bytes, by offset from the peer's ISN (the SYN is 0, data starts at 1). Every byte that comes
/// again, acknowledged or not, is compared with what came first. The advertised right edge never moves left (RFC 9293
/// 3.8.6): a smaller window is rounded up to the scale's unit, as Linux does.
/// </summary>
internal sealed class TcpReceiver(int buffer, int scaleUnit)
{
    private readonly StreamRing _ring = new((2 * buffer) + (2 * scaleUnit));
    private long _high = 1;

    /// <summary>Next offset expected; 0 before the peer's SYN.</summary>
    public long Next { get; set; }

    /// <summary>First offset that the application has not read.</summary>
    public long ReadAt { get; private set; } = 1;

    /// <summary>One past the last offset that the peer was ever allowed to send.</summary>
    public long Advertised { get; set; }

    /// <summary>What came out of order.</summary>
    public RangeList Ahead { get; } = new();

    /// <summary>The range that the newest segment fell in: first SACK block (RFC 2018 4); or a duplicate (RFC 2883).</summary>
    public (long Start, long End) Newest { get; private set; }

    public int Available(long finAt) => (int)(Math.Min(Next, finAt) - ReadAt);

    /// <summary>False if a byte that was received before, and is remembered, differs from what comes now.</summary>
    public bool Matches(long at, ReadOnlySpan<byte> data)
    {
        long end = at + data.Length;
        for (long p = Math.Max(Math.Max(at, 1), _high - _ring.Size); p < end;)
        {
            int known = p < Next ? -1 : Ahead.IndexOf(p);
            long stop = Math.Min(end, p < Next ? Math.Min(Next, _high) : known >= 0 ? Ahead.End(known) : Ahead.NextStart(p));
            if ((p < Next || known >= 0) && stop > p && !_ring.Matches(p, data[(int)(p - at)..(int)(stop - at)])) return false;
            // Behind the highest byte there is only the FIN.
            if (stop <= p) break;
            p = stop;
        }
        return true;
    }

    /// <summary>Takes bytes at <paramref name="at"/>, as far as window and memory allow; what was there stays.</summary>
    public void Store(long at, ReadOnlySpan<byte> data)
    {
        long limit = Math.Min(Advertised, ReadAt + _ring.Size);
        if (at < 1)
        {
            int skip = (int)Math.Min(data.Length, 1 - at);
            data = data[skip..];
            at += skip;
        }
        if (at + data.Length > limit) data = data[..(int)Math.Clamp(limit - at, 0, data.Length)];
        if (data.IsEmpty) return;
        long end = at + data.Length;
        for (long p = Math.Max(at, Next); p < end;)
        {
            int known = Ahead.IndexOf(p);
            long stop = Math.Min(end, known >= 0 ? Ahead.End(known) : Ahead.NextStart(p));
            if (known < 0) _ring.Write(p, data[(int)(p - at)..(int)(stop - at)]);
            p = stop;
        }
        _high = Math.Max(_high, end);
        Accept(at, end);
    }

    /// <summary>Window to announce, in units of 2^<paramref name="scale"/>; moves <see cref="Advertised"/>.</summary>
    public ushort Announce(int scale, int mss)
    {
        long now = Math.Max(0, Advertised - Next);
        long window = Math.Max(0, buffer - (Next - ReadAt));
        if (window < Math.Min(buffer / 2, mss)) window = 0;
        window = Math.Min(window, 65535L << scale) >> scale << scale;
        if (window < now) window = (now + (1L << scale) - 1) >> scale << scale;
        Advertised = Math.Max(Advertised, Next + window);
        return (ushort)(window >> scale);
    }

    /// <summary>How far the right edge could move if it were announced now.</summary>
    public long Growth(int scale) => (Math.Min(buffer - (Next - ReadAt), 65535L << scale) >> scale << scale) + Next - Advertised;

    public int Read(Span<byte> destination, long finAt)
    {
        int n = Math.Min(destination.Length, Available(finAt));
        if (n <= 0) return 0;
        _ring.Read(ReadAt, destination[..n]);
        ReadAt += n;
        return n;
    }

    public void Free() => _ring.Free();

    private void Accept(long at, long end)
    {
        if (end <= Next)
        {
            Newest = (at, end);
            return;
        }
        int range = Ahead.Add(Math.Max(at, Next), end);
        Newest = (Ahead.Start(range), Ahead.End(range));
        if (Ahead.Start(0) > Next) return;
        Next = Ahead.End(0);
        Ahead.RemoveBelow(Next);
    }
}

/// <summary>The sending side's bytes, by offset from our ISN, with what the peer has acknowledged selectively.</summary>
internal sealed class TcpSender(int buffer)
{
    private readonly StreamRing _ring = new(buffer);

    /// <summary>First offset not acknowledged, next to send (goes back on a timeout), one past the highest ever sent.</summary>
    public long Una { get; set; }

    public long Next { get; set; }

    public long Max { get; set; }

    /// <summary>One past the last byte written by the application.</summary>
    public long End { get; private set; } = 1;

    public RangeList Sacked { get; } = new();

    public int Room => (int)(_ring.Size - (End - Math.Max(Una, 1)));

    public int Write(ReadOnlySpan<byte> data)
    {
        int n = Math.Min(data.Length, Room);
        if (n <= 0) return 0;
        _ring.Write(End, data[..n]);
        End += n;
        return n;
    }

    public void Read(long at, Span<byte> destination) => _ring.Read(at, destination);

    public void Free() => _ring.Free();
}
