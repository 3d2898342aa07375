namespace Appliance.DataPath.Splice;

/// <summary>Outcome of reading the first bytes of a connection; the three are never mixed.</summary>
public enum HeadResult : byte
{
    /// <summary>Well formed so far; more bytes decide.</summary>
    Incomplete,

    /// <summary>No further byte can make it right; <see cref="HeadError"/> says why.</summary>
    Malformed,

    /// <summary>The whole head is there.</summary>
    Complete,
}

/// <summary>Why a head is malformed.</summary>
public enum HeadError : byte
{
    None,

    // HTTP/1.x (RFC 9112).
    Method,
    Target,
    Version,
    ControlCharacter,
    FoldedLine,
    FieldName,
    HostMissing,
    HostRepeated,
    Host,

    // TLS (RFC 8446, RFC 6066).
    NotTls,
    RecordLength,
    NotClientHello,
    HelloTooLong,
    HelloLengths,
    ServerName,
}

/// <summary>Request methods as far as the data path tells them apart.</summary>
public enum RequestMethod : byte
{
    /// <summary>POST, PATCH and all that is not listed.</summary>
    Other,
    Get,
    Head,
    Options,
    Put,
    Delete,
    Connect,

    /// <summary>HTTP/2 connection preface: what follows may be anything.</summary>
    Pri,
}

/// <summary>A piece of the bytes that were parsed.</summary>
public readonly record struct ByteRange(int Start, int Length)
{
    /// <summary>The piece of <paramref name="bytes"/>.</summary>
    public ReadOnlySpan<byte> Of(ReadOnlySpan<byte> bytes) => bytes.Slice(Start, Length);
}

/// <summary>Characters that both parsers judge alike.</summary>
internal static class HeadCharacters
{
    private static readonly System.Buffers.SearchValues<byte> Names =
        System.Buffers.SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+;="u8);

    private static readonly System.Buffers.SearchValues<byte> Tokens =
        System.Buffers.SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"u8);

    /// <summary>True if all bytes may stand in a registered name (RFC 3986 3.2.2; no comma, which joins repeated fields).</summary>
    public static bool IsName(ReadOnlySpan<byte> name) => name.IndexOfAnyExcept(Names) < 0;

    /// <summary>True for a non-empty token (RFC 9110 5.6.2).</summary>
    public static bool IsToken(ReadOnlySpan<byte> token) => token.Length != 0 && token.IndexOfAnyExcept(Tokens) < 0;
}
