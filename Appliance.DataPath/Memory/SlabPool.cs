namespace Appliance.DataPath.Memory;

/// <summary>
/// Buffers of one size, known by a small index, that live longer than a cycle (request heads, held
/// segments, frames to be replayed). Taking and giving back is constant time and never
/// allocates; memory is committed when a buffer is first used, and the buffer last given back
/// goes out first. Contents are not cleared. Giving back twice is refused. Used by one thread.
/// </summary>
public sealed class SlabPool : IDisposable
{
    private const int InUse = -2, End = -1;

    private readonly SharedRegion _memory;
    private readonly int[] _next;
    private int _free = End, _fresh;

    /// <summary>Reserves <paramref name="count"/> buffers of <paramref name="bufferSize"/> bytes (rounded up to a multiple of 64).</summary>
    public SlabPool(int count, int bufferSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(bufferSize, 1);
        _next = new int[count];
        BufferSize = (bufferSize + 63) & ~63;
        _memory = SharedRegion.Anonymous((long)count * BufferSize);
    }

    /// <summary>Number of buffers.</summary>
    public int Count => _next.Length;

    /// <summary>Bytes of each.</summary>
    public int BufferSize { get; }

    /// <summary>Buffers in use.</summary>
    public int Used { get; private set; }

    /// <summary>Takes a buffer; false if all are in use.</summary>
    public bool TryTake(out int index)
    {
        if (_free != End)
        {
            index = _free;
            _free = _next[index];
        }
        else if (_fresh < _next.Length)
        {
            index = _fresh++;
        }
        else
        {
            index = End;
            return false;
        }
        _next[index] = InUse;
        Used++;
        return true;
    }

    /// <summary>Gives a buffer back; false, without effect, if it is not in use.</summary>
    public bool Return(int index)
    {
        if ((uint)index >= (uint)_fresh || _next[index] != InUse) return false;
        _next[index] = _free;
        _free = index;
        Used--;
        return true;
    }

    /// <summary>First byte of a buffer, aligned to 64.</summary>
    public nint AddressOf(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)_next.Length, nameof(index));
        return _memory.Address + ((nint)index * BufferSize);
    }

    /// <summary>The bytes of a buffer.</summary>
    public Span<byte> Bytes(int index) => MemoryNative.Span(AddressOf(index), BufferSize);

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
