namespace Appliance.Tests.Fuzz;

/// <summary>
/// Memory between two guard pages: one byte read or written outside kills the process, whatever
/// code did it. Content put at the end catches accesses behind it, at the start those before it.
/// </summary>
public sealed class GuardedBuffer : IDisposable
{
    private readonly nuint _bytes, _page = (nuint)Environment.SystemPageSize;
    private nint _address;

    /// <summary>Maps room for at least <paramref name="capacity"/> bytes.</summary>
    public GuardedBuffer(int capacity)
    {
        _bytes = ((nuint)capacity + _page - 1) / _page * _page;
        _address = GuardedBufferNative.Map(_bytes, _page);
    }

    /// <summary>Bytes of room.</summary>
    public int Capacity => (int)_bytes;

    /// <summary>Room for <paramref name="length"/> bytes whose end touches the guard page behind; content is what was there.</summary>
    public Span<byte> AtEnd(int length) => GuardedBufferNative.Span(_address + (nint)_bytes - length, length);

    /// <summary>Room for <paramref name="length"/> bytes whose start touches the guard page in front.</summary>
    public Span<byte> AtStart(int length) => GuardedBufferNative.Span(_address, length);

    /// <summary>A copy of <paramref name="content"/> at the end.</summary>
    public Span<byte> PutAtEnd(ReadOnlySpan<byte> content)
    {
        Span<byte> span = AtEnd(content.Length);
        content.CopyTo(span);
        return span;
    }

    /// <summary>A copy of <paramref name="content"/> at the start.</summary>
    public Span<byte> PutAtStart(ReadOnlySpan<byte> content)
    {
        Span<byte> span = AtStart(content.Length);
        content.CopyTo(span);
        return span;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_address != 0) GuardedBufferNative.Unmap(_address, _bytes, _page);
        _address = 0;
    }
}
