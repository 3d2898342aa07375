using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>
/// An IPv4 packet from its header to its end (RFC 791), in place; made by <see cref="Packet.Ipv4"/>,
/// whose parser has checked lengths and options. Plain setters leave the header checksum alone;
/// <see cref="RewriteTimeToLive"/> keeps it right (or as wrong as it was).
/// </summary>
public readonly ref struct Ipv4View(Span<byte> packet)
{
    /// <summary>Option kinds: loose and strict source route (RFC 791 3.1).</summary>
    public const byte LooseSourceRoute = 131, StrictSourceRoute = 137;

    private readonly Span<byte> _packet = packet;

    /// <summary>Header length in bytes, options included (20..60).</summary>
    public int HeaderLength => (_packet[0] & 15) * 4;

    /// <summary>The header with its options.</summary>
    public Span<byte> Header => _packet[..HeaderLength];

    /// <summary>The option bytes (0..40).</summary>
    public Span<byte> Options => _packet[20..HeaderLength];

    /// <summary>All behind the header.</summary>
    public Span<byte> Payload => _packet[HeaderLength..];

    /// <summary>DSCP and ECN.</summary>
    public byte TrafficClass => _packet[1];

    /// <summary>Bytes of header and payload, as the header says.</summary>
    public ushort TotalLength { get => Read16(2); set => Write16(2, value); }

    /// <summary>Identification; the same in all fragments of a packet.</summary>
    public ushort Identification { get => Read16(4); set => Write16(4, value); }

    /// <summary>DF.</summary>
    public bool DontFragment => (_packet[6] & 0x40) != 0;

    /// <summary>MF: not the last fragment.</summary>
    public bool MoreFragments => (_packet[6] & 0x20) != 0;

    /// <summary>Where this fragment's payload belongs, in bytes.</summary>
    public int FragmentOffset => (Read16(6) & 0x1fff) * 8;

    /// <summary>TTL.</summary>
    public byte TimeToLive => _packet[8];

    /// <summary>Protocol of the payload.</summary>
    public byte Protocol => _packet[9];

    /// <summary>The header checksum field.</summary>
    public ushort Checksum { get => Read16(10); set => Write16(10, value); }

    /// <summary>Sender.</summary>
    public IpAddr Source { get => IpAddr.ReadV4(_packet[12..]); set => value.WriteV4(_packet[12..]); }

    /// <summary>Receiver.</summary>
    public IpAddr Destination { get => IpAddr.ReadV4(_packet[16..]); set => value.WriteV4(_packet[16..]); }

    /// <summary>Sets the TTL and updates the header checksum.</summary>
    public void RewriteTimeToLive(byte value)
    {
        ushort old = Read16(8);
        _packet[8] = value;
        Checksum = InternetChecksum.Update(Checksum, InternetChecksum.Delta(old, Read16(8)));
    }

    /// <summary>Finds the first option of a kind; <paramref name="option"/> starts at its kind byte.</summary>
    public bool TryFindOption(byte kind, out ReadOnlySpan<byte> option)
    {
        ReadOnlySpan<byte> options = Options;
        for (int at = 0; at < options.Length && options[at] != 0;)
        {
            int length = OptionLength(options, at);
            if (length == 0) break;
            if (options[at] == kind)
            {
                option = options.Slice(at, length);
                return true;
            }
            at += length;
        }
        option = default;
        return false;
    }

    /// <summary>True if every option stays inside <paramref name="options"/>.</summary>
    public static bool AreOptionsValid(ReadOnlySpan<byte> options)
    {
        for (int at = 0; at < options.Length && options[at] != 0;)
        {
            int length = OptionLength(options, at);
            if (length == 0) return false;
            at += length;
        }
        return true;
    }

    // 0 if impossible; kind 1 (no operation) has no length byte.
    private static int OptionLength(ReadOnlySpan<byte> options, int at)
    {
        if (options[at] == 1) return 1;
        int length = at + 1 < options.Length ? options[at + 1] : 0;
        return length < 2 || at + length > options.Length ? 0 : length;
    }

    private ushort Read16(int at) => BinaryPrimitives.ReadUInt16BigEndian(_packet[at..]);

    private void Write16(int at, ushort value) => BinaryPrimitives.WriteUInt16BigEndian(_packet[at..], value);
}
