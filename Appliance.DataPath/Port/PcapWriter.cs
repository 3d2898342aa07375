using System.Buffers.Binary;

namespace Appliance.DataPath.Port;

/// <summary>
/// Writes a classic pcap capture of Ethernet frames with nanosecond times, little-endian, buffered, without
/// allocating per frame. Frames beyond <see cref="MaxFrame"/> bytes are cut and marked as such.
/// </summary>
public sealed class PcapWriter : IDisposable
{
    /// <summary>Bytes kept of a frame.</summary>
    public const int MaxFrame = 262_144;

    private const int FileHeader = 24, RecordHeader = 16, LinkEthernet = 1;
    private const uint MagicNano = 0xa1b2_3c4d;

    private readonly Stream _stream;

    /// <summary>Writes the file header. Takes over the stream.</summary>
    public PcapWriter(Stream stream)
    {
        _stream = stream;
        Span<byte> header = stackalloc byte[FileHeader];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, MagicNano);
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], 2);
        BinaryPrimitives.WriteUInt16LittleEndian(header[6..], 4);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], MaxFrame);
        BinaryPrimitives.WriteUInt32LittleEndian(header[20..], LinkEthernet);
        _stream.Write(header);
    }

    /// <summary>Creates a file, or empties one that exists.</summary>
    public static PcapWriter Create(string path) => new(new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, 1 << 18));

    /// <summary>Appends a frame; <paramref name="timeNs"/> counts from 1970 for other tools, or from any zero in virtual time, and must not be negative.</summary>
    public void Write(ReadOnlySpan<byte> frame, long timeNs)
    {
        ReadOnlySpan<byte> kept = frame[..Math.Min(frame.Length, MaxFrame)];
        Span<byte> header = stackalloc byte[RecordHeader];
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)(timeNs / 1_000_000_000));
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], (uint)(timeNs % 1_000_000_000));
        BinaryPrimitives.WriteInt32LittleEndian(header[8..], kept.Length);
        BinaryPrimitives.WriteInt32LittleEndian(header[12..], frame.Length);
        _stream.Write(header);
        _stream.Write(kept);
    }

    /// <summary>Hands everything written so far to the file.</summary>
    public void Flush() => _stream.Flush();

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();
}
