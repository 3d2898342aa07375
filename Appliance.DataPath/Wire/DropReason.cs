namespace Appliance.DataPath.Wire;

/// <summary>
/// Why a frame was not passed on: one closed list for the whole data path. Each has a counter
/// of its own (public interface, never renumbered once released) and the sentence that an operator
/// reads (<see cref="DropReasons.Sentence"/>). Append at the end of a group's block.
/// </summary>
public enum DropReason : byte
{
    /// <summary>Not dropped.</summary>
    None = 0,

    // 1..39: the frame itself.
    FrameTooShort = 1,
    FrameTruncated,
    VlanTooDeep,
    ArpMalformed,
    Ipv4HeaderMalformed,
    Ipv4OptionsMalformed,
    Ipv4ChecksumWrong,
    Ipv6HeaderMalformed,
    Ipv6ExtensionMalformed,
    IpLengthExceedsFrame,
    FragmentMalformed,
    TcpHeaderMalformed,
    TcpOptionsMalformed,
    UdpHeaderMalformed,
    IcmpMalformed,
    NeighborMalformed,
    TtlExpired,
    UnknownEtherType,
    UnknownProtocol,
    VlanForeign,

    // 40..69: link, neighbours, ports.
    NotForUs = 40,
    NoRoute,
    NeighborQueueFull,
    NeighborUnresolved,
    TransmitQueueFull,
    TransmitError,
    TooLongForEgress,
    ScratchExhausted,
    StaleAfterPause,
    Draining,
    SpoofedSource,
    BackendsNotHeard,

    // 70..99: sharing and relaying.
    NoUsableProxy = 70,
    RelayedTwice,
    NoRecord,
    OwnerUnknown,
    ReplayedAlreadyAcknowledged,
    ReplayedClosed,
    OvertakenByClose,
    FragmentTableFull,
    FragmentOverlap,
    FragmentTimeout,

    // 100..159: handshake and splice.
    NoSuchService = 100,
    CookieInvalid,
    CookieExpired,
    SynTcpMd5OrAo,
    SynFlagsInvalid,
    HeadBuffersExhausted,
    HeadTooLong,
    SourceShareExceeded,
    TableFull,
    BytesHeldUnacknowledged,
    BytesBeyondHead,
    BytesOutOfOrder,
    HandshakeTimeout,
    HeadTimeout,
    NoBackend,
    BackendPromiseBroken,
    RequestMalformed,
    NoRouteMatches,
    AckStorm,
    SegmentInvalid,
    RstOutOfWindow,
    IcmpQuoteUnknown,
    IcmpQuoteOutOfWindow,
    RealUnexpected,
    RateLimited,
    AwaitingConfirmation,
    AwaitingPeers,
    StaleRecord,
    AfterReset,
    SynOfRealRefused,
    Consumed,
    TransportChecksumWrong,
    HandoverFull,
}

/// <summary>The operator's sentence for each <see cref="DropReason"/>.</summary>
public static class DropReasons
{
    /// <summary>Number of counters needed to index by reason.</summary>
    public const int Count = 160;

    private static readonly string[] Sentences = BuildSentences();

    /// <summary>One plain sentence; for a value without one, its name.</summary>
    public static string Sentence(DropReason reason) => Sentences[(int)reason];

    private static string[] BuildSentences()
    {
        var s = new string[Count];
        for (int i = 0; i < Count; i++) s[i] = ((DropReason)i).ToString();
        void Set(DropReason reason, string sentence) => s[(int)reason] = sentence;
        Set(DropReason.None, "not dropped");
        Set(DropReason.FrameTooShort, "the frame ends before its headers do");
        Set(DropReason.FrameTruncated, "the frame was longer than a receive slot and arrived truncated");
        Set(DropReason.VlanTooDeep, "more than two VLAN tags");
        Set(DropReason.VlanForeign, "a VLAN tag on a link that is no VLAN: for a VLAN's frames the interface statement names its own interface (eth0.7)");
        Set(DropReason.ArpMalformed, "ARP for something other than IPv4 over Ethernet, or too short");
        Set(DropReason.Ipv4HeaderMalformed, "IPv4 version, header length or total length is impossible");
        Set(DropReason.Ipv4OptionsMalformed, "an IPv4 option runs past the header");
        Set(DropReason.Ipv4ChecksumWrong, "the IPv4 header checksum is wrong");
        Set(DropReason.Ipv6HeaderMalformed, "IPv6 version is impossible, or an IPv4-mapped address stands in the header");
        Set(DropReason.Ipv6ExtensionMalformed, "an IPv6 extension header runs past the packet, or there are more than eight");
        Set(DropReason.IpLengthExceedsFrame, "the IP length is greater than the frame");
        Set(DropReason.FragmentMalformed, "a fragment's offset or length is impossible");
        Set(DropReason.TcpHeaderMalformed, "the TCP data offset is impossible");
        Set(DropReason.TcpOptionsMalformed, "a TCP option has length 0 or 1, or runs past the header");
        Set(DropReason.UdpHeaderMalformed, "the UDP length is impossible");
        Set(DropReason.IcmpMalformed, "an ICMP message or its quote is too short");
        Set(DropReason.NeighborMalformed, "a neighbour discovery message fails the checks of RFC 4861 7.1");
        Set(DropReason.TtlExpired, "the hop limit is used up");
        Set(DropReason.UnknownEtherType, "an EtherType that the box does not handle");
        Set(DropReason.UnknownProtocol, "an IP protocol that no service takes");
        Set(DropReason.NotForUs, "not addressed to this box: left to the host");
        Set(DropReason.NoRoute, "no next hop: the address is not on the link and no gateway is configured");
        Set(DropReason.NeighborQueueFull, "the queue of frames waiting for this next hop's MAC address is full");
        Set(DropReason.NeighborUnresolved, "the next hop did not answer ARP or neighbour discovery");
        Set(DropReason.TransmitQueueFull, "the transmit queue of the port is full");
        Set(DropReason.TransmitError, "the kernel refused the frame");
        Set(DropReason.TooLongForEgress, "the frame is longer than the egress link carries and must not be split");
        Set(DropReason.ScratchExhausted, "no scratch buffer left in this cycle");
        Set(DropReason.StaleAfterPause, "received before a pause during which a peer counted this box as dead");
        Set(DropReason.Draining, "the box is leaving and takes no new connections");
        Set(DropReason.BackendsNotHeard, "the box has just started and does not know yet what all backends offer");
        Set(DropReason.SpoofedSource, "a source address that cannot come from this link");
        Set(DropReason.NoUsableProxy, "no proxy is usable");
        Set(DropReason.RelayedTwice, "relayed twice already and nobody holds a record");
        Set(DropReason.NoRecord, "no record of this connection, shortly after a membership change");
        Set(DropReason.OwnerUnknown, "no membership yet, so the owner of the flow is not known");
        Set(DropReason.ReplayedAlreadyAcknowledged, "a replayed frame whose bytes are acknowledged already");
        Set(DropReason.ReplayedClosed, "a replayed frame of a connection that is closed");
        Set(DropReason.OvertakenByClose, "a segment that its connection's end overtook");
        Set(DropReason.FragmentTableFull, "no room to reassemble another fragmented packet");
        Set(DropReason.FragmentOverlap, "fragments overlap");
        Set(DropReason.FragmentTimeout, "fragments of a packet did not all arrive within a second");
        Set(DropReason.NoSuchService, "no service on this address, protocol and port");
        Set(DropReason.CookieInvalid, "the acknowledgment is not one that we asked for");
        Set(DropReason.CookieExpired, "the handshake was completed too late");
        Set(DropReason.SynTcpMd5OrAo, "TCP-MD5 and TCP-AO cannot be spliced");
        Set(DropReason.SynFlagsInvalid, "SYN with FIN or RST");
        Set(DropReason.HeadBuffersExhausted, "all request head buffers are in use");
        Set(DropReason.HeadTooLong, "the request head is longer than its buffer");
        Set(DropReason.SourceShareExceeded, "this source has its share of request head buffers in use");
        Set(DropReason.TableFull, "the splice table is full");
        Set(DropReason.BytesHeldUnacknowledged, "request bytes taken and kept; the client is not told yet (no-ack rule)");
        Set(DropReason.BytesBeyondHead, "bytes beyond the head buffer: the client sends them again");
        Set(DropReason.BytesOutOfOrder, "request bytes out of order: the client sends them again");
        Set(DropReason.HandshakeTimeout, "the handshake was not completed in time");
        Set(DropReason.HeadTimeout, "the request head was not completed in time");
        Set(DropReason.NoBackend, "no backend of the pool answers");
        Set(DropReason.BackendPromiseBroken, "the backend offers less than its pool promised");
        Set(DropReason.RequestMalformed, "the request head cannot be parsed");
        Set(DropReason.NoRouteMatches, "no route takes this request and the service has no pool");
        Set(DropReason.AckStorm, "empty segments that answer each other without progress");
        Set(DropReason.SegmentInvalid, "a segment that no state of this connection allows");
        Set(DropReason.RstOutOfWindow, "RST outside the window");
        Set(DropReason.IcmpQuoteUnknown, "an ICMP error about a connection that we do not have");
        Set(DropReason.IcmpQuoteOutOfWindow, "an ICMP error whose quoted sequence was never in flight (RFC 5927)");
        Set(DropReason.RealUnexpected, "a server sends what no service asked of it");
        Set(DropReason.RateLimited, "over the rate limit for answers of this kind");
        Set(DropReason.AwaitingConfirmation, "held until a peer has confirmed the record");
        Set(DropReason.AwaitingPeers, "held until the peers have said whether they hold the record");
        Set(DropReason.StaleRecord, "the record changed under the frame");
        Set(DropReason.AfterReset, "the connection was reset");
        Set(DropReason.SynOfRealRefused, "a server opens a connection and no statement allows it");
        Set(DropReason.Consumed, "consumed by the box itself");
        Set(DropReason.TransportChecksumWrong, "the TCP checksum of a segment that the box itself would act on is wrong");
        Set(DropReason.HandoverFull, "the frame belongs to another worker, whose ring of frames from this one is full");
        return s;
    }
}
