using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Failover;

/// <summary>Why an advertisement was not believed (RFC 9568 7.1). Counted by the caller; the names are public interface.</summary>
public enum VrrpReject
{
    None,

    /// <summary>Shorter than its header and addresses, or without an address.</summary>
    Truncated,

    /// <summary>Another version than 3.</summary>
    Version,

    /// <summary>Another type than ADVERTISEMENT.</summary>
    Type,

    /// <summary>TTL or hop limit is not 255: it came through a router.</summary>
    HopLimit,

    /// <summary>The checksum is wrong.</summary>
    Checksum,

    /// <summary>A virtual router that this box does not have on this link, or has as the addresses' owner.</summary>
    UnknownRouter,

    /// <summary>The sender is none of the peers that the configuration names.</summary>
    UnknownSender,

    /// <summary>It names other addresses than ours, of a lower priority than the address owner's.</summary>
    OtherAddresses,
}

/// <summary>
/// A VRRPv3 advertisement over the bytes of an IP packet's payload (RFC 9568 5.2). Over IPv4 the checksum covers a pseudo-header as keepalived
/// sends and Wireshark expects it (RFC 5798 5.2.8), or none (RFC 9568 5.2.8): both are accepted, the sender chooses.
/// </summary>
public readonly ref struct VrrpView
{
    /// <summary>IP protocol number.</summary>
    public const byte Protocol = 112;

    /// <summary>Bytes before the addresses.</summary>
    public const int HeaderBytes = 8;

    /// <summary>Largest interval that fits in the field, hundredths of a second.</summary>
    public const int MaxInterval = 0xfff;

    private const byte VersionAndType = 0x31;

    private readonly ReadOnlySpan<byte> _message;
    private readonly bool _isV4;

    private VrrpView(ReadOnlySpan<byte> message, bool isV4)
    {
        _message = message;
        _isV4 = isV4;
    }

    /// <summary>Virtual router: 1 to 255 on a link and family.</summary>
    public byte RouterId => _message[1];

    /// <summary>0: its sender stops being active; 255: the addresses' owner.</summary>
    public byte Priority => _message[2];

    public int AddressCount => _message[3];

    /// <summary>Time between the sender's advertisements, ns.</summary>
    public long IntervalNs => (BinaryPrimitives.ReadUInt16BigEndian(_message[4..]) & MaxInterval) * 10_000_000L;

    /// <summary>An address, from 0.</summary>
    public IpAddr Address(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)AddressCount);
        return _isV4 ? IpAddr.ReadV4(_message[(HeaderBytes + (index * 4))..]) : IpAddr.ReadV6(_message[(HeaderBytes + (index * 16))..]);
    }

    /// <summary>Reads the payload of a packet from <paramref name="source"/> to <paramref name="destination"/>.</summary>
    public static VrrpReject TryParse(ReadOnlySpan<byte> payload, IpAddr source, IpAddr destination, byte hopLimit, out VrrpView view)
    {
        view = default;
        if (hopLimit != 255) return VrrpReject.HopLimit;
        if (payload.Length < HeaderBytes) return VrrpReject.Truncated;
        if (payload[0] >> 4 != VersionAndType >> 4) return VrrpReject.Version;
        if (payload[0] != VersionAndType) return VrrpReject.Type;
        int length = HeaderBytes + (payload[3] * (source.IsV4 ? 4 : 16));
        if (payload[3] == 0 || payload.Length < length) return VrrpReject.Truncated;
        // What lies behind the addresses counts in the sum and means nothing.
        ushort sum = InternetChecksum.Sum(payload);
        bool good = InternetChecksum.Add(sum, InternetChecksum.PseudoHeaderSum(source, destination, Protocol, payload.Length)) == ushort.MaxValue;
        if (!good && !(source.IsV4 && sum == ushort.MaxValue)) return VrrpReject.Checksum;
        view = new VrrpView(payload[..length], source.IsV4);
        return VrrpReject.None;
    }

    /// <summary>
    /// Writes an advertisement from <paramref name="source"/> to <paramref name="destination"/>; returns its length. The interval is rounded to
    /// hundredths of a second, 1 to 4095; <paramref name="pseudoHeader"/> matters over IPv4 only. All addresses are of the source's family; of IPv6 the first is the link-local one.
    /// </summary>
    public static int Write(Span<byte> payload, IpAddr source, IpAddr destination, byte routerId, byte priority, long intervalNs, ReadOnlySpan<IpAddr> addresses, bool pseudoHeader = true)
    {
        int size = source.IsV4 ? 4 : 16, length = HeaderBytes + (addresses.Length * size);
        (payload[0], payload[1], payload[2], payload[3]) = (VersionAndType, routerId, priority, (byte)addresses.Length);
        BinaryPrimitives.WriteUInt16BigEndian(payload[4..], (ushort)Math.Clamp((intervalNs + 5_000_000) / 10_000_000, 1, MaxInterval));
        payload[6..8].Clear();
        for (int i = 0; i < addresses.Length; i++)
        {
            if (source.IsV4) addresses[i].WriteV4(payload[(HeaderBytes + (i * size))..]);
            else addresses[i].WriteV6(payload[(HeaderBytes + (i * size))..]);
        }
        ushort checksum = pseudoHeader || !source.IsV4
            ? InternetChecksum.Transport(source, destination, Protocol, payload[..length])
            : (ushort)~InternetChecksum.Sum(payload[..length]);
        BinaryPrimitives.WriteUInt16BigEndian(payload[6..], checksum);
        return length;
    }
}
