using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// The bounded pool of buffers in which request heads are collected, with a share per source so
/// that one client cannot take all. A buffer is <see cref="Room"/> bytes behind <see cref="Front"/>
/// bytes that a PROXY header may take. The memory is reserved, not touched: a buffer costs pages
/// only once bytes arrive.
/// </summary>
public sealed class HeadBuffers : IDisposable
{
    /// <summary>Bytes in front of the request (PROXY v2 takes at most 52).</summary>
    public const int Front = 64;

    /// <summary>Request bytes that a buffer holds: as many as the largest first window, which we advertise, may bring.</summary>
    public const int Room = 65536;

    private const int Stride = Front + Room;
    private const int SourceSlots = 4096;

    private readonly nint _memory;
    private readonly int[] _free;
    private readonly ushort[] _bySource = new ushort[SourceSlots];
    private readonly int _share;
    private int _freeCount;

    /// <summary>Reserves <paramref name="count"/> buffers, of which one source may hold <paramref name="share"/>.</summary>
    public HeadBuffers(int count, int share)
    {
        _memory = MemoryNative.Reserve((nuint)count * Stride);
        _free = new int[count];
        for (int i = 0; i < count; i++) _free[i] = count - 1 - i;
        _freeCount = count;
        _share = share;
    }

    /// <summary>Buffers in use.</summary>
    public int InUse => _free.Length - _freeCount;

    /// <summary>True if none is free.</summary>
    public bool IsExhausted => _freeCount == 0;

    /// <summary>True if <paramref name="source"/> (or one that shares its hash) holds its share.</summary>
    public bool IsShareUsed(IpAddr source) => _bySource[SourceSlot(source)] >= _share;

    /// <summary>Takes a buffer; -1 if none is free or the source's share is used.</summary>
    public int Take(IpAddr source)
    {
        int slot = SourceSlot(source);
        if (_freeCount == 0 || _bySource[slot] >= _share) return -1;
        _bySource[slot]++;
        return _free[--_freeCount];
    }

    /// <summary>Gives a buffer back.</summary>
    public void Give(int buffer, IpAddr source)
    {
        _bySource[SourceSlot(source)]--;
        _free[_freeCount++] = buffer;
    }

    /// <summary>The request bytes of a buffer.</summary>
    public Span<byte> Bytes(int buffer) => MemoryNative.Span(Address(buffer), Room);

    /// <summary>Where the request bytes start.</summary>
    public nint Address(int buffer) => _memory + (nint)buffer * Stride + Front;

    /// <summary>The bytes from <paramref name="prefix"/> bytes in front of the request to its byte <paramref name="length"/>.</summary>
    public Span<byte> WithPrefix(int buffer, int prefix, int length) => MemoryNative.Span(Address(buffer) - prefix, prefix + length);

    /// <inheritdoc/>
    public void Dispose() => MemoryNative.Unreserve(_memory, (nuint)_free.Length * Stride);

    private static int SourceSlot(IpAddr source) => (int)Flow.FlowKey.HashEndpoint(source, 0, 0x5eed) & (SourceSlots - 1);
}
