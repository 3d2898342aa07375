using System.Buffers.Binary;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Finds the server name in the ClientHello that opens a TLS connection (RFC 5246, 8446 4.1.2; server_name RFC 6066 3;
/// with ECH the outer one). The message may span records and segments. Call <see cref="Parse"/> with all bytes so far
/// whenever some came; whole records are not walked again. Blittable; zero is the start. Reads no more than 16 KB of
/// message and checks only what leads to the name; the server judges the rest.
/// </summary>
public struct ClientHello
{
    /// <summary>Longest handshake message that is read, and longest record (RFC 8446 5.1), in bytes.</summary>
    public const int MaxLength = 16384;

    /// <summary>Longest server name, in bytes.</summary>
    public const int MaxName = 255;

    private const int RecordHeader = 5, MessageHeader = 4;

    private int _record, _collected;

    /// <summary>Why it is malformed.</summary>
    public HeadError Error { get; private set; }

    /// <summary>When complete: bytes up to the end of the message.</summary>
    public int HeadLength { get; private set; }

    /// <summary>Length of the server name, 0 if there is none.</summary>
    public int NameLength { get; private set; }

    /// <summary>True if the client announces early data: a request may follow at once, and must not run twice (RFC 8446 8).</summary>
    public bool HasEarlyData { get; private set; }

    private int _nameAt;

    /// <summary>Goes on with <paramref name="bytes"/>: those of the last call, unchanged, and what came since.</summary>
    public HeadResult Parse(ReadOnlySpan<byte> bytes)
    {
        if (Error != HeadError.None) return HeadResult.Malformed;
        if (HeadLength != 0) return HeadResult.Complete;
        int needed = 0, have = _collected;
        // Walk records until the message is whole. At most one record is looked at again by the next call.
        for (int at = _record; at < bytes.Length;)
        {
            ReadOnlySpan<byte> header = bytes[at..Math.Min(at + RecordHeader, bytes.Length)];
            if (header[0] != 22 || (header.Length > 1 && header[1] != 3)) return Fail(HeadError.NotTls);
            if (header.Length < RecordHeader) break;
            int length = BinaryPrimitives.ReadUInt16BigEndian(header[3..]);
            if (length is 0 or > MaxLength) return Fail(HeadError.RecordLength);
            int end = at + RecordHeader + length;
            have += Math.Min(end, bytes.Length) - at - RecordHeader;
            if (needed == 0 && !TryNeeded(bytes, have, out needed)) return HeadResult.Malformed;
            if (needed != 0 && have >= needed) return Finish(bytes, needed);
            if (end > bytes.Length) break;
            at = _record = end;
            _collected = have;
        }
        return HeadResult.Incomplete;
    }

    /// <summary>Copies the name, in the case it stands in and without final dot, to <paramref name="destination"/> (at least <see cref="MaxName"/> bytes); only when complete, with the same bytes.</summary>
    public readonly ReadOnlySpan<byte> CopyName(ReadOnlySpan<byte> bytes, Span<byte> destination)
    {
        if (NameLength == 0) return default;
        var reader = new HandshakeReader(bytes);
        Span<byte> name = destination[..NameLength];
        return reader.TrySkip(_nameAt) && reader.TryRead(name) ? name : default;
    }

    private HeadResult Fail(HeadError error)
    {
        Error = error;
        return HeadResult.Malformed;
    }

    // Message header: type client_hello and a length of three bytes; needed stays 0 until it is there.
    private bool TryNeeded(ReadOnlySpan<byte> bytes, int have, out int needed)
    {
        needed = 0;
        Span<byte> header = stackalloc byte[MessageHeader];
        header = header[..Math.Min(have, MessageHeader)];
        var reader = new HandshakeReader(bytes);
        if (!reader.TryRead(header)) return true;
        if (header.Length > 0 && header[0] != 1) Error = HeadError.NotClientHello;
        else if (header.Length == MessageHeader)
        {
            needed = MessageHeader + (int)(BinaryPrimitives.ReadUInt32BigEndian(header) & 0xff_ffff);
            if (needed > MaxLength) Error = HeadError.HelloTooLong;
        }
        return Error == HeadError.None;
    }

    private HeadResult Finish(ReadOnlySpan<byte> bytes, int needed)
    {
        var reader = new HandshakeReader(bytes);
        HeadError error = Body(ref reader, needed);
        if (error != HeadError.None) return Fail(error);
        HeadLength = reader.At;
        return HeadResult.Complete;
    }

    // Every length must fill the one around it exactly.
    private HeadError Body(ref HandshakeReader reader, int end)
    {
        // Message header, version and random; session id, cipher suites, compression methods.
        if (!reader.TrySkip(MessageHeader + 2 + 32) || !reader.TrySkipVector(1, out _) || !reader.TrySkipVector(2, out _) || !reader.TrySkipVector(1, out _)) return HeadError.HelloLengths;
        if (reader.Taken == end) return HeadError.None;
        if (!reader.TryNumber(2, out int extensions) || reader.Taken + extensions != end) return HeadError.HelloLengths;
        bool named = false;
        while (reader.Taken < end)
        {
            if (!reader.TryNumber(2, out int type) || !reader.TryNumber(2, out int length) || reader.Taken + length > end) return HeadError.HelloLengths;
            int next = reader.Taken + length;
            if (type == 0)
            {
                if (named || !TryServerName(ref reader, next)) return HeadError.ServerName;
                named = true;
            }
            else if (type == 42) HasEarlyData = true;
            if (!reader.TrySkip(next - reader.Taken)) return HeadError.HelloLengths;
        }
        return HeadError.None;
    }

    private bool TryServerName(ref HandshakeReader reader, int end)
    {
        if (!reader.TryNumber(2, out int list) || reader.Taken + list != end) return false;
        Span<byte> name = stackalloc byte[MaxName];
        while (reader.Taken < end)
        {
            if (!reader.TryNumber(1, out int type) || !reader.TryNumber(2, out int length) || reader.Taken + length > end) return false;
            if (type != 0)
            {
                if (!reader.TrySkip(length)) return false;
                continue;
            }
            if (NameLength != 0 || length is 0 or > MaxName) return false;
            _nameAt = reader.Taken;
            if (!reader.TryRead(name[..length]) || !HeadCharacters.IsName(name[..length])) return false;
            NameLength = length > 1 && name[length - 1] == (byte)'.' ? length - 1 : length;
        }
        return NameLength != 0;
    }
}

/// <summary>
/// Reads the handshake bytes of a run of TLS records, stepping over record headers. Records in
/// front of the position were checked by <see cref="ClientHello"/>; every step is bounded by the bytes that exist.
/// </summary>
internal ref struct HandshakeReader(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _left;

    /// <summary>Position in the raw bytes.</summary>
    public int At { get; private set; }

    /// <summary>Handshake bytes read or skipped.</summary>
    public int Taken { get; private set; }

    /// <summary>Fills <paramref name="destination"/>.</summary>
    public bool TryRead(scoped Span<byte> destination)
    {
        while (destination.Length != 0)
        {
            int n = Next(destination.Length);
            if (n == 0) return false;
            _bytes.Slice(At - n, n).CopyTo(destination);
            destination = destination[n..];
        }
        return true;
    }

    /// <summary>Skips <paramref name="count"/> bytes.</summary>
    public bool TrySkip(int count)
    {
        while (count > 0)
        {
            int n = Next(count);
            if (n == 0) return false;
            count -= n;
        }
        return true;
    }

    /// <summary>Reads a number of one or two bytes.</summary>
    public bool TryNumber(int size, out int value)
    {
        Span<byte> raw = stackalloc byte[2];
        raw.Clear();
        bool ok = TryRead(raw[(2 - size)..]);
        value = BinaryPrimitives.ReadUInt16BigEndian(raw);
        return ok;
    }

    /// <summary>Skips a vector with a length of <paramref name="size"/> bytes in front.</summary>
    public bool TrySkipVector(int size, out int length) => TryNumber(size, out length) && TrySkip(length);

    // Takes up to count bytes from the current record; 0 if there are none.
    private int Next(int count)
    {
        while (_left == 0)
        {
            if (_bytes.Length - At < 6) return 0;
            _left = BinaryPrimitives.ReadUInt16BigEndian(_bytes[(At + 3)..]);
            At += 5;
        }
        int n = Math.Min(count, Math.Min(_left, _bytes.Length - At));
        At += n;
        _left -= n;
        Taken += n;
        return n;
    }
}
