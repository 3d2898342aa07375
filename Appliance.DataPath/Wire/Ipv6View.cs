using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>
/// An IPv6 packet from its header to its end (RFC 8200), in place; made by
/// <see cref="Packet.Ipv6"/>, whose parser has walked the extension headers.
/// </summary>
public readonly ref struct Ipv6View(Span<byte> packet)
{
    /// <summary>Extension headers that the parser walks.</summary>
    public const byte HopByHop = 0, Routing = 43, Fragment = 44, DestinationOptions = 60;

    /// <summary>Bytes of the fixed header.</summary>
    public const int HeaderLength = 40;

    private readonly Span<byte> _packet = packet;

    /// <summary>DSCP and ECN.</summary>
    public byte TrafficClass => (byte)(BinaryPrimitives.ReadUInt16BigEndian(_packet) >> 4);

    /// <summary>Flow label, 20 bits.</summary>
    public uint FlowLabel => BinaryPrimitives.ReadUInt32BigEndian(_packet) & 0x000f_ffff;

    /// <summary>Bytes behind the fixed header, as the header says.</summary>
    public ushort PayloadLength
    {
        get => BinaryPrimitives.ReadUInt16BigEndian(_packet[4..]);
        set => BinaryPrimitives.WriteUInt16BigEndian(_packet[4..], value);
    }

    /// <summary>What follows the fixed header: an extension header or the transport.</summary>
    public byte NextHeader => _packet[6];

    /// <summary>Hop limit.</summary>
    public byte HopLimit { get => _packet[7]; set => _packet[7] = value; }

    /// <summary>Sender.</summary>
    public IpAddr Source { get => IpAddr.ReadV6(_packet[8..]); set => value.WriteV6(_packet[8..]); }

    /// <summary>Receiver.</summary>
    public IpAddr Destination { get => IpAddr.ReadV6(_packet[24..]); set => value.WriteV6(_packet[24..]); }

    /// <summary>The extension headers, in order, up to and including a fragment header of a later fragment.</summary>
    public Ipv6Extensions Extensions => new(_packet);

    /// <summary>Finds the fragment header; also that of an atomic fragment (RFC 6946).</summary>
    public bool TryGetFragment(out Ipv6FragmentView fragment)
    {
        foreach (Ipv6Extension extension in Extensions)
        {
            if (extension.Kind != Fragment) continue;
            fragment = new Ipv6FragmentView(extension.Bytes);
            return true;
        }
        fragment = default;
        return false;
    }
}

/// <summary>One extension header.</summary>
public readonly ref struct Ipv6Extension(byte kind, int offset, Span<byte> bytes)
{
    /// <summary>Which (the next-header number that announced it).</summary>
    public byte Kind { get; } = kind;

    /// <summary>Where it starts, in bytes from the start of the fixed header.</summary>
    public int Offset { get; } = offset;

    /// <summary>The whole header; byte 0 names what follows.</summary>
    public Span<byte> Bytes { get; } = bytes;
}

/// <summary>A fragment header (RFC 8200 4.5), 8 bytes in place.</summary>
public readonly ref struct Ipv6FragmentView(Span<byte> header)
{
    private readonly Span<byte> _header = header;

    /// <summary>What the reassembled fragment part starts with.</summary>
    public byte NextHeader => _header[0];

    /// <summary>Where this fragment's payload belongs, in bytes.</summary>
    public int Offset => BinaryPrimitives.ReadUInt16BigEndian(_header[2..]) & 0xfff8;

    /// <summary>Not the last fragment.</summary>
    public bool MoreFragments => (_header[3] & 1) != 0;

    /// <summary>The same in all fragments of a packet.</summary>
    public uint Identification => BinaryPrimitives.ReadUInt32BigEndian(_header[4..]);
}

/// <summary>Walks extension headers; stops, rather than fails, where a header would leave the packet.</summary>
public ref struct Ipv6Extensions
{
    private readonly Span<byte> _packet;
    private byte _next;
    private int _at;

    internal Ipv6Extensions(Span<byte> packet)
    {
        _packet = packet;
        _next = packet[6];
        _at = Ipv6View.HeaderLength;
    }

    /// <summary>The header that <see cref="MoveNext"/> came to.</summary>
    public Ipv6Extension Current { get; private set; }

    /// <summary>For foreach.</summary>
    public readonly Ipv6Extensions GetEnumerator() => this;

    /// <summary>Steps to the next header; at least 8 bytes further, so it ends.</summary>
    public bool MoveNext()
    {
        if (!IsExtension(_next) || _at + 8 > _packet.Length) return false;
        int length = LengthOf(_next, _packet[_at..]);
        if (_at + length > _packet.Length) return false;
        Current = new Ipv6Extension(_next, _at, _packet.Slice(_at, length));
        bool later = _next == Ipv6View.Fragment && new Ipv6FragmentView(Current.Bytes).Offset != 0;
        // Behind the header of a later fragment stands the middle of something.
        _next = later ? (byte)59 : _packet[_at];
        _at += length;
        return true;
    }

    /// <summary>True for the extension headers that are walked; all others count as transport.</summary>
    internal static bool IsExtension(byte kind) => kind is Ipv6View.HopByHop or Ipv6View.Routing or Ipv6View.DestinationOptions or Ipv6View.Fragment;

    /// <summary>Bytes of the extension header at the start of <paramref name="header"/>, which holds at least two.</summary>
    internal static int LengthOf(byte kind, ReadOnlySpan<byte> header) => kind == Ipv6View.Fragment ? 8 : (header[1] + 1) * 8;
}
