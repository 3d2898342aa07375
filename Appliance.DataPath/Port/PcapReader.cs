using System.Buffers.Binary;

namespace Appliance.DataPath.Port;

/// <summary>
/// Reads a classic pcap capture of Ethernet frames (libpcap file format 2.4; both byte orders,
/// microsecond and nanosecond times), one record after the other with bounded memory. A malformed file
/// ends in a <see cref="PcapException"/> that names the place. pcapng is not read.
/// </summary>
public sealed class PcapReader : IDisposable
{
    private const int FileHeader = 24, RecordHeader = 16, LinkEthernet = 1, MaxFrame = 262_144;
    private const uint MagicMicro = 0xa1b2_c3d4, MagicNano = 0xa1b2_3c4d;

    private readonly Stream _stream;
    private readonly string _name;
    private readonly bool _bigEndian;
    private readonly long _unit;
    private readonly byte[] _header = new byte[FileHeader];
    private long _offset, _record;

    /// <summary>Reads the file header; <paramref name="name"/> stands in error messages. Takes over the stream.</summary>
    public PcapReader(Stream stream, string name)
    {
        _stream = stream;
        _name = name;
        if (ReadFully(_header) < FileHeader) throw Bad("the file ends inside its header");
        uint little = BinaryPrimitives.ReadUInt32LittleEndian(_header), big = BinaryPrimitives.ReadUInt32BigEndian(_header);
        _bigEndian = big is MagicMicro or MagicNano;
        uint magic = _bigEndian ? big : little;
        if (magic is not (MagicMicro or MagicNano)) throw Bad("this is not a classic pcap file");
        _unit = magic == MagicNano ? 1 : 1000;
        // The upper bits of the last word say whether frames carry their check sequence.
        uint link = Word(20) & 0x0fff_ffff;
        if (link != LinkEthernet) throw Bad($"the frames are of link type {link}, not Ethernet (1)");
    }

    /// <summary>Opens a file.</summary>
    public static PcapReader Open(string path) => new(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16), path);

    /// <summary>
    /// Reads the next frame into <paramref name="frame"/>; false at the end of the file. <paramref name="length"/> is
    /// the number of bytes captured, <paramref name="original"/> that on the wire; what does not fit the span is skipped.
    /// </summary>
    public bool TryRead(Span<byte> frame, out int length, out int original, out long timeNs)
    {
        length = original = 0;
        timeNs = 0;
        int got = ReadFully(_header.AsSpan(0, RecordHeader));
        if (got == 0) return false;
        if (got < RecordHeader) throw Bad("the file ends inside a record's header");
        uint fraction = Word(4), captured = Word(8), wire = Word(12);
        if (captured > MaxFrame) throw Bad($"a record of {captured} bytes");
        if (wire > int.MaxValue) throw Bad($"a frame of {wire} bytes");
        if (fraction * _unit >= 1_000_000_000) throw Bad("a time with more than a second of fraction");
        length = (int)captured;
        original = Math.Max((int)wire, length);
        timeNs = (Word(0) * 1_000_000_000L) + (fraction * _unit);
        int kept = Math.Min(length, frame.Length);
        if (ReadFully(frame[..kept]) < kept || !Skip(length - kept)) throw Bad("the file ends inside a frame");
        _record++;
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private uint Word(int at) => _bigEndian ? BinaryPrimitives.ReadUInt32BigEndian(_header.AsSpan(at)) : BinaryPrimitives.ReadUInt32LittleEndian(_header.AsSpan(at));

    private PcapException Bad(string what) => new($"{_name}: {what} (record {_record + 1}, offset {_offset}).");

    private bool Skip(int bytes)
    {
        Span<byte> rubbish = stackalloc byte[4096];
        for (; bytes > 0; bytes -= rubbish.Length)
        {
            Span<byte> part = rubbish[..Math.Min(bytes, rubbish.Length)];
            if (ReadFully(part) < part.Length) return false;
        }
        return true;
    }

    private int ReadFully(Span<byte> destination)
    {
        int got = _stream.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false);
        _offset += got;
        return got;
    }
}

/// <summary>A capture file is malformed; the message says what, in which record and at which offset.</summary>
public sealed class PcapException : Exception
{
    /// <summary>With the operator's sentence.</summary>
    public PcapException(string message) : base(message)
    {
    }

    /// <summary>With the operator's sentence and what led to it.</summary>
    public PcapException(string message, Exception inner) : base(message, inner)
    {
    }

    /// <summary>Without a sentence; for serialisers only.</summary>
    public PcapException()
    {
    }
}
