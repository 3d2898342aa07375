using System.Text;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Reads the head of the first HTTP/1.x request of a connection (RFC 9112) for routing. Call
/// <see cref="Parse"/> with all bytes so far whenever some came: finished lines are not read again, so the
/// whole costs one pass even for one-byte segments. Blittable: it may lie in unmanaged memory; zero is the start.
/// Lenient where no server can understand the routing fields otherwise (LF alone ends a line, empty
/// lines in front), strict where it can (RFC 9112 11.2): repeated or odd Host, folded lines, bare CR, NUL,
/// space before a colon. The authority of an absolute target wins over Host. Paths are compared as
/// they stand: neither decoded nor normalised. Says nothing about the body, or about later requests.
/// </summary>
public struct RequestHead
{
    // Longer than any registered method; a first line without a space by then is no request.
    private const int MaxMethodLength = 32;
    private const byte Cr = (byte)'\r', Lf = (byte)'\n', Space = (byte)' ', Tab = (byte)'\t';

    private int _lineStart, _scanned;
    private bool _hasRequestLine, _hasHostField, _hasAuthority, _hostRequired;

    /// <summary>Why it is malformed.</summary>
    public HeadError Error { get; private set; }

    /// <summary>When complete: bytes up to and with the empty line.</summary>
    public int HeadLength { get; private set; }

    /// <summary>The method.</summary>
    public RequestMethod Method { get; private set; }

    /// <summary>Host without port and final dot; an IPv6 literal with its brackets; empty if none is named.</summary>
    public ByteRange Host { get; private set; }

    /// <summary>Path of the target up to '?' or '#'; empty for an absolute target without one, CONNECT and "*".</summary>
    public ByteRange Path { get; private set; }

    /// <summary>True if running it twice does no harm (SPLICE 4.6).</summary>
    public readonly bool IsIdempotent => Method is RequestMethod.Get or RequestMethod.Head or RequestMethod.Options or RequestMethod.Put or RequestMethod.Delete;

    /// <summary>Reads a head in one call.</summary>
    public static HeadResult TryParseHead(ReadOnlySpan<byte> bytes, out RequestHead head)
    {
        head = default;
        return head.Parse(bytes);
    }

    /// <summary>Goes on with <paramref name="bytes"/>: those of the last call, unchanged, and what came since.</summary>
    public HeadResult Parse(ReadOnlySpan<byte> bytes)
    {
        if (Error != HeadError.None) return HeadResult.Malformed;
        if (HeadLength != 0) return HeadResult.Complete;
        while (true)
        {
            // A NUL or a CR that does not end its line is fatal wherever it stands: names and values are compared byte by byte.
            int stop = bytes[_scanned..].IndexOfAny(Lf, Cr, (byte)0);
            if (stop < 0)
            {
                _scanned = bytes.Length;
                return Unfinished(bytes[_lineStart..]);
            }
            int at = _scanned + stop, next = at + 1;
            if (bytes[at] == Cr)
            {
                _scanned = at;
                if (next == bytes.Length) return Unfinished(bytes[_lineStart..at]);
                if (bytes[next++] != Lf) return Fail(HeadError.ControlCharacter);
            }
            else if (bytes[at] == 0) return Fail(HeadError.ControlCharacter);

            int start = _lineStart;
            _lineStart = _scanned = next;
            if (start != at)
            {
                if (!Line(bytes, start, at)) return HeadResult.Malformed;
            }
            else if (_hasRequestLine) return Finish(next);
        }
    }

    private HeadResult Fail(HeadError error)
    {
        Error = error;
        return HeadResult.Malformed;
    }

    private HeadResult Finish(int length)
    {
        if (_hostRequired && !_hasHostField) return Fail(HeadError.HostMissing);
        HeadLength = length;
        return HeadResult.Complete;
    }

    // Tells early that this will never be a request, for example TLS on a plain port.
    private HeadResult Unfinished(ReadOnlySpan<byte> line)
    {
        if (_hasRequestLine || line.Length == 0) return HeadResult.Incomplete;
        ReadOnlySpan<byte> start = line[..Math.Min(line.Length, MaxMethodLength + 1)];
        int space = start.IndexOf(Space);
        if (space < 0 && line.Length > MaxMethodLength) return Fail(HeadError.Method);
        return HeadCharacters.IsToken(space < 0 ? start : start[..space]) ? HeadResult.Incomplete : Fail(HeadError.Method);
    }

    private bool Line(ReadOnlySpan<byte> bytes, int start, int end)
    {
        HeadError error = _hasRequestLine ? Field(bytes, start, end) : RequestLine(bytes, start, end);
        _hasRequestLine = true;
        Error = error;
        return error == HeadError.None;
    }

    private HeadError RequestLine(ReadOnlySpan<byte> bytes, int start, int end)
    {
        ReadOnlySpan<byte> line = bytes[start..end];
        int space = line.IndexOf(Space);
        if (space is < 1 or > MaxMethodLength || !HeadCharacters.IsToken(line[..space])) return HeadError.Method;
        Method = MethodOf(line[..space]);
        int last = line.LastIndexOf(Space);
        if (last == space) return HeadError.Version;
        ReadOnlySpan<byte> version = line[(last + 1)..], target = line[(space + 1)..last];
        if (Method == RequestMethod.Pri) return target.SequenceEqual("*"u8) && version.SequenceEqual("HTTP/2.0"u8) ? HeadError.None : HeadError.Version;
        if (version.Length != 8 || !version.StartsWith("HTTP/1."u8) || !char.IsAsciiDigit((char)version[7])) return HeadError.Version;
        _hostRequired = version[7] != (byte)'0';
        if (target.Length == 0 || target.IndexOfAnyInRange((byte)0, Space) >= 0 || target.Contains((byte)0x7f)) return HeadError.Target;
        return Target(bytes, start + space + 1, target.Length);
    }

    // The four forms of RFC 9112 3.2.
    private HeadError Target(ReadOnlySpan<byte> bytes, int start, int length)
    {
        ReadOnlySpan<byte> target = bytes.Slice(start, length);
        if (Method == RequestMethod.Connect) return Authority(bytes, start, length) && Host.Length != 0 ? HeadError.None : HeadError.Target;
        if (target[0] == (byte)'/')
        {
            SetPath(target, start, 0);
            return HeadError.None;
        }
        if (target.SequenceEqual("*"u8)) return Method == RequestMethod.Options ? HeadError.None : HeadError.Target;
        int scheme = target.IndexOf("://"u8);
        if (scheme < 1 || !HeadCharacters.IsToken(target[..scheme])) return HeadError.Target;
        int authority = scheme + 3;
        int authorityLength = target[authority..].IndexOfAny((byte)'/', (byte)'?', (byte)'#');
        if (authorityLength < 0) authorityLength = length - authority;
        if (!Authority(bytes, start + authority, authorityLength) || Host.Length == 0) return HeadError.Target;
        SetPath(target, start, authority + authorityLength);
        return HeadError.None;
    }

    private void SetPath(ReadOnlySpan<byte> target, int start, int from)
    {
        int length = target[from..].IndexOfAny((byte)'?', (byte)'#');
        Path = new ByteRange(start + from, length < 0 ? target.Length - from : length);
    }

    private bool Authority(ReadOnlySpan<byte> bytes, int start, int length)
    {
        _hasAuthority = true;
        return TryHost(bytes, start, length);
    }

    private HeadError Field(ReadOnlySpan<byte> bytes, int start, int end)
    {
        ReadOnlySpan<byte> line = bytes[start..end];
        if (line[0] is Space or Tab) return HeadError.FoldedLine;
        int colon = line.IndexOf((byte)':');
        if (colon < 0 || !HeadCharacters.IsToken(line[..colon])) return HeadError.FieldName;
        if (!Ascii.EqualsIgnoreCase(line[..colon], "host"u8)) return HeadError.None;
        if (_hasHostField) return HeadError.HostRepeated;
        _hasHostField = true;
        int from = colon + 1, to = line.Length;
        while (from < to && line[from] is Space or Tab) from++;
        while (to > from && line[to - 1] is Space or Tab) to--;
        ByteRange authority = Host;
        if (!TryHost(bytes, start + from, to - from)) return HeadError.Host;
        if (_hasAuthority) Host = authority;
        return HeadError.None;
    }

    // host [":" port], host a name, an IPv4 address or a bracketed IPv6 literal (RFC 3986 3.2.2).
    private bool TryHost(ReadOnlySpan<byte> bytes, int start, int length)
    {
        ReadOnlySpan<byte> text = bytes.Slice(start, length);
        int name;
        if (length != 0 && text[0] == (byte)'[')
        {
            int close = text.IndexOf((byte)']');
            if (close < 2 || text[1..close].IndexOfAnyExcept("0123456789abcdefABCDEF:."u8) >= 0) return false;
            name = close + 1;
        }
        else
        {
            name = text.IndexOf((byte)':');
            if (name < 0) name = length;
            if (!HeadCharacters.IsName(text[..name])) return false;
        }
        ReadOnlySpan<byte> port = text[name..];
        if (port.Length != 0 && (port[0] != (byte)':' || port.Length > 6 || port[1..].IndexOfAnyExceptInRange((byte)'0', (byte)'9') >= 0)) return false;
        if (name > 1 && text[name - 1] == (byte)'.') name--;
        Host = new ByteRange(start, name);
        return true;
    }

    private static RequestMethod MethodOf(ReadOnlySpan<byte> method) => method switch
    {
        _ when method.SequenceEqual("GET"u8) => RequestMethod.Get,
        _ when method.SequenceEqual("HEAD"u8) => RequestMethod.Head,
        _ when method.SequenceEqual("OPTIONS"u8) => RequestMethod.Options,
        _ when method.SequenceEqual("PUT"u8) => RequestMethod.Put,
        _ when method.SequenceEqual("DELETE"u8) => RequestMethod.Delete,
        _ when method.SequenceEqual("CONNECT"u8) => RequestMethod.Connect,
        _ when method.SequenceEqual("PRI"u8) => RequestMethod.Pri,
        _ => RequestMethod.Other,
    };
}
