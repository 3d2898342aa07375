namespace Appliance.DataPath.Memory;

/// <summary>
/// Frame buffers for what a worker makes itself during a cycle (answers, retransmissions,
/// split super-frames): handed out one after the other and all taken back at once after the
/// flush. Contents are not cleared. Used by one thread.
/// </summary>
public sealed class ScratchPool : IDisposable
{
    private readonly SharedRegion _memory;

    /// <summary>Reserves <paramref name="count"/> buffers of <paramref name="bufferSize"/> bytes; memory is committed when first used.</summary>
    public ScratchPool(int count, int bufferSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(bufferSize, 1);
        Count = count;
        BufferSize = (bufferSize + 63) & ~63;
        _memory = SharedRegion.Anonymous((long)Count * BufferSize);
    }

    /// <summary>Number of buffers.</summary>
    public int Count { get; }

    /// <summary>Bytes of each, a multiple of 64 and at least what was asked for.</summary>
    public int BufferSize { get; }

    /// <summary>Buffers handed out in this cycle.</summary>
    public int Used { get; private set; }

    /// <summary>Takes a buffer, aligned to 64 bytes; false if none is left in this cycle.</summary>
    public bool TryTake(out nint address)
    {
        address = 0;
        if (Used == Count) return false;
        address = _memory.Address + ((nint)Used++ * BufferSize);
        return true;
    }

    /// <summary>Takes all buffers back; whoever still uses one has a bug.</summary>
    public void Reset() => Used = 0;

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
