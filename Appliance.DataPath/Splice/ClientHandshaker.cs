using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// The client's side of delayed binding (SPLICE 4.1 and 4.2): SYN cookies, the no-ack rule, the
/// early ACK under R2, and refusals. Never a TCP endpoint for data: what it has not acknowledged it
/// may forget at any instant.
/// </summary>
public sealed class ClientHandshaker(ISpliceHost host, HandshakeTable table, CookieKeys cookies, BackendConnector backends)
{
    private const long EarlyAckAfterNs = 20_000_000, OfferAgainNs = 200_000_000, DoubtAgainNs = 100_000_000, HeadTimeoutNs = 30_000_000_000, ClosingNs = 5_000_000_000;
    private const int EarlyAckSegments = 10;
    private const ulong Begun = 0xbe90_5717;

    private readonly SynCache _answered = new(65536), _begun = new(65536);

    /// <summary>Before this instant (ns) another box owned some flows: SYNs answered earlier do not count as ours.</summary>
    public long OwnedSince { get; set; }

    /// <summary>True if this box answered the SYN of this connection since it owns the flow.</summary>
    public bool AnsweredSyn(in FlowKey key, TcpSeq a) => _answered.Contains(SynHash(key, a), OwnedSince);

    /// <summary>True if a SYN of this tuple was answered so lately that its first segment may still come: what comes before it is early, not stray.</summary>
    public bool MayBegin(in FlowKey key) => _begun.Contains(key.Hash(Begun), host.Now - HeadTimeoutNs);

    /// <summary>True if this box answered a SYN of this tuple since it owns the flow: nobody else has its handshake.</summary>
    public bool BeganHere(in FlowKey key) => _begun.Contains(key.Hash(Begun), OwnedSince);

    /// <summary>True if the segment echoes a cookie that is still valid: it may begin a handshake.</summary>
    public bool HoldsCookie(in Packet packet)
    {
        TcpView tcp = packet.Tcp;
        return tcp.Has(TcpFlags.Ack) && SynCookie.TryVerify(cookies, FlowKey.Of(packet), tcp.Seq - 1u, tcp.Ack - 1u, host.WallMs / 1000, out _);
    }

    /// <summary>Answers a SYN with a cookie; no state is kept. A replayed one may have been answered by the box that died: it does not count as begun here.</summary>
    public DropReason OnSyn(in Packet packet, Service service, bool replayed = false)
    {
        host.Statistics[Counter.SynReceived]++;
        TcpView tcp = packet.Tcp;
        if ((tcp.Flags & (TcpFlags.Fin | TcpFlags.Rst)) != TcpFlags.None) return DropReason.SynFlagsInvalid;
        if (!TcpOptions.TryParse(tcp.Options, out TcpOptions options, out DropReason malformed)) return malformed;
        if (options.HasMd5 || options.HasAo) return DropReason.SynTcpMd5OrAo;
        if (host.IsDraining) return DropReason.Draining;
        if (host.IsUnsureOfBackends) return DropReason.BackendsNotHeard;
        if (host.IsTableFull) return DropReason.TableFull;
        FlowKey key = FlowKey.Of(packet);
        if (table.Buffers.IsExhausted) return DropReason.HeadBuffersExhausted;
        if (table.Buffers.IsShareUsed(key.Source)) return DropReason.SourceShareExceeded;

        PoolProfile profile = host.ProfileOf(service);
        bool ecn = profile.Ecn && tcp.Has(TcpFlags.Ece | TcpFlags.Cwr);
        int mss = options.HasMss ? options.Mss : key.Source.IsV4 ? 536 : 1220;
        bool scales = options.HasWindowScale && profile.WindowScale != PoolProfile.NoScale;
        CookieOptions agreed = CookieOptions.Of(Math.Min(mss, profile.Mss), scales, options.WindowScale, options.SackPermitted && profile.Sack, ecn, !key.Source.IsV4);
        TcpSeq a = tcp.Seq;
        if (!SynCookie.TryMake(cookies, key, a, agreed, host.WallMs / 1000, out TcpSeq b)) return DropReason.CookieExpired;
        if (!replayed) _answered.Add(SynHash(key, a), host.Now);
        if (!replayed) _begun.Add(key.Hash(Begun), host.Now);
        host.Statistics[Counter.CookiesSent]++;

        TcpSegmentSpec answer = ToClient(key, b, a + 1, TcpFlags.Syn | TcpFlags.Ack, new ClientWindow(service, profile, scales).Promised);
        answer.Mss = profile.Mss;
        if (scales) answer.WindowScale = profile.WindowScale;
        answer.SackPermitted = agreed.Sack;
        if (ecn) answer.Flags |= TcpFlags.Ece;
        answer.HasTimestamps = options.HasTimestamps && profile.Timestamps;
        answer.TsVal = (uint)host.WallMs;
        answer.TsEcr = options.TsVal;
        host.Send(FlowDirection.ToClient, ref answer, default, 0);
        return DropReason.Consumed;
    }

    /// <summary>
    /// A segment of a client for which neither a record nor a handshake exists: a cookie's echo
    /// starts the handshake. <see cref="DropReason.CookieInvalid"/> means that it is nothing of ours.
    /// </summary>
    public DropReason OnUnknown(in Packet packet, Service service)
    {
        TcpView tcp = packet.Tcp;
        if (!tcp.Has(TcpFlags.Ack) || tcp.Has(TcpFlags.Rst)) return DropReason.CookieInvalid;
        FlowKey key = FlowKey.Of(packet);
        TcpSeq a = tcp.Seq - 1u, b = tcp.Ack - 1u;
        if (!SynCookie.TryVerify(cookies, key, a, b, host.WallMs / 1000, out CookieOptions agreed)) return DropReason.CookieInvalid;
        if (host.IsDraining) return DropReason.Draining;
        Handshake? handshake = table.Begin(key, service, agreed, a, b, host.Now, out DropReason reason);
        if (handshake is null) return reason;
        host.Statistics[Counter.CookiesAccepted]++;
        host.Statistics[Counter.HandshakesStarted]++;
        handshake.TakenOver = host.HasLivePeers && !AnsweredSyn(key, a);
        table.Schedule(handshake, host.Now + HeadTimeoutNs);
        return OnSegment(handshake, packet);
    }

    /// <summary>A segment of a client whose handshake is here; a replayed one says what the client once said, not what it says now.</summary>
    public DropReason OnSegment(Handshake handshake, in Packet packet, bool replayed = false)
    {
        TcpView tcp = packet.Tcp;
        if (!TcpOptions.TryParse(tcp.Options, out TcpOptions options, out DropReason malformed)) return malformed;
        if (tcp.Has(TcpFlags.Syn)) return OnSynAgain(handshake, packet);
        if (tcp.Has(TcpFlags.Rst)) return OnReset(handshake, tcp);
        if (!tcp.Has(TcpFlags.Ack)) return DropReason.SegmentInvalid;
        if (tcp.Ack != handshake.B + 1u && handshake.State != HandshakeState.Closing) return OnAnswered(handshake, tcp);
        if (!replayed && handshake.State == HandshakeState.BackendData) handshake.ClientHasNothing = true;
        if (handshake.State == HandshakeState.Closing) return OnClosing(handshake, tcp);
        bool awakes = handshake.State == HandshakeState.Shadow;
        if (awakes) Awake(handshake);
        NoteHeader(handshake, tcp, options);
        int offset = tcp.Seq - (handshake.A + 1u);
        int length = tcp.Payload.Length;
        if (offset < -length - 1 || offset > HeadBuffers.Room) return DropReason.SegmentInvalid;
        if (tcp.Has(TcpFlags.Fin) && handshake.FinAt < 0) handshake.FinAt = offset + length;
        DropReason verdict = DropReason.Consumed;
        int before = handshake.Ranges.Contiguous;
        if (length > 0) verdict = TakeBytes(handshake, tcp.Payload, offset);
        // A shadow's bytes have not been looked at yet.
        if (handshake.Ranges.Contiguous > before || awakes)
        {
            handshake.LastProgress = host.Now;
            backends.OnBytes(handshake);
            AfterBytes(handshake);
        }
        else if (length > 0 && offset < handshake.Acked && handshake.State < HandshakeState.Confirming)
        {
            // Our early ACK was lost, and its sender waits for nothing else.
            AckEarly(handshake, handshake.Acked);
        }
        if (handshake.State == HandshakeState.Head && handshake.FinAt == handshake.Ranges.Contiguous)
        {
            // Nothing more will come: a head that is not whole by now never will be.
            if (handshake.FinAt == 0) CloseEmpty(handshake);
            else backends.Refuse(handshake, DropReason.RequestMalformed);
        }
        return verdict;
    }

    /// <summary>The handshake's timer fired while the head is being collected or an empty connection closes.</summary>
    public void OnTimer(Handshake handshake)
    {
        if (handshake.State is HandshakeState.Closing or HandshakeState.Shadow)
        {
            table.End(handshake);
            return;
        }
        if (host.Now - handshake.Created >= HeadTimeoutNs)
        {
            backends.Refuse(handshake, DropReason.HeadTimeout);
            return;
        }
        AfterBytes(handshake);
    }

    /// <summary>A peer holds the bytes up to <paramref name="end"/>: they may be acknowledged (R2).</summary>
    public void OnOwnedConfirmed(Handshake handshake, int end)
    {
        if (handshake.State != HandshakeState.Head || end <= handshake.Confirmed || end > handshake.Offered) return;
        handshake.Confirmed = end;
        AckEarly(handshake, handshake.Confirmed);
        AfterBytes(handshake);
    }

    /// <summary>Bytes that a dead owner had acknowledged early come from a peer: the handshake goes on from there.</summary>
    public void OnOwnedBytes(Handshake handshake, int offset, ReadOnlySpan<byte> bytes)
    {
        if (offset < 0 || offset + bytes.Length > HeadBuffers.Room) return;
        handshake.Ranges.Add(offset, offset + bytes.Length, bytes, table.Buffers.Bytes(handshake.Buffer));
        int held = Math.Min(handshake.Ranges.Contiguous, offset + bytes.Length);
        handshake.Acked = handshake.Confirmed = handshake.Offered = Math.Max(handshake.Acked, held);
        handshake.LastProgress = host.Now;
        // Of a flow that came back here: nothing else may bring these bytes.
        if (handshake.State != HandshakeState.Head) return;
        backends.OnBytes(handshake);
        AfterBytes(handshake);
    }

    /// <summary>Acknowledges early if the client waits for it (20 ms without progress, or ten segments).</summary>
    private void AfterBytes(Handshake handshake)
    {
        if (handshake.State != HandshakeState.Head) return;
        int waiting = handshake.Ranges.Contiguous - handshake.Confirmed;
        long headEnd = handshake.Created + HeadTimeoutNs;
        if (waiting <= 0)
        {
            table.Schedule(handshake, headEnd);
            return;
        }
        long earlyAt = handshake.LastProgress + EarlyAckAfterNs;
        bool enough = waiting >= EarlyAckSegments * handshake.Agreed.Mss(!handshake.ClientKey.Source.IsV4);
        if (handshake.Offered > handshake.Confirmed) earlyAt = handshake.OfferedAt + OfferAgainNs;
        else if (enough) earlyAt = host.Now;
        if (host.Now < earlyAt)
        {
            table.Schedule(handshake, Math.Min(earlyAt, headEnd));
            return;
        }
        table.Schedule(handshake, Math.Min(host.Now + OfferAgainNs, headEnd));
        OfferAndAck(handshake);
    }

    // One offer at a time; what no peer has confirmed is offered again, since whoever was asked may have died.
    private void OfferAndAck(Handshake handshake)
    {
        int from = handshake.Confirmed, to = handshake.Ranges.Contiguous;
        (handshake.Offered, handshake.OfferedAt) = (to, host.Now);
        if (!host.HasLivePeers)
        {
            host.Statistics[Counter.EarlyAcksWithoutPeer]++;
            handshake.Confirmed = to;
            AckEarly(handshake, to);
            return;
        }
        Offer(handshake, from, to, wantsConfirm: true);
    }

    /// <summary>Gives request bytes to the peers.</summary>
    public void Offer(Handshake handshake, int from, int to, bool wantsConfirm)
    {
        SpliceEvent message = Describe(handshake, SpliceEventKind.OwnedBytes);
        message.WantsConfirm = wantsConfirm;
        message.Offset = from;
        message.Length = to - from;
        message.Bytes = table.Buffers.Address(handshake.Buffer) + from;
        host.Publish(message);
    }

    /// <summary>The connection is over before it became a splice: an offer of no bytes says that none are to be kept.</summary>
    internal static void TakeOfferBack(ISpliceHost host, Handshake handshake)
    {
        if (handshake.Offered == 0) return;
        SpliceEvent message = Describe(handshake, SpliceEventKind.OwnedBytes);
        message.Offset = -1;
        host.Publish(message);
    }

    private void AckEarly(Handshake handshake, int upTo)
    {
        host.Statistics[Counter.EarlyAcks]++;
        Acknowledge(handshake, upTo);
    }

    private void Acknowledge(Handshake handshake, int upTo)
    {
        handshake.Acked = Math.Max(handshake.Acked, WindowOf(handshake).Acknowledge(upTo, out ushort window));
        TcpSegmentSpec ack = ToClient(handshake.ClientKey, handshake.B + 1u, handshake.A + 1u + (uint)handshake.Acked, TcpFlags.Ack, window);
        Stamp(handshake, ref ack);
        host.Send(FlowDirection.ToClient, ref ack, default, 0);
    }

    private ClientWindow WindowOf(Handshake handshake) => new(handshake.Service, host.ProfileOf(handshake.Service), handshake.Agreed.HasScale);

    private void Stamp(Handshake handshake, ref TcpSegmentSpec spec)
    {
        if (!handshake.Timestamps) return;
        spec.HasTimestamps = true;
        spec.TsVal = handshake.SentTsVal = (uint)host.WallMs;
        spec.TsEcr = handshake.ClientTsVal;
    }

    private DropReason OnSynAgain(Handshake handshake, in Packet packet)
    {
        // The same SYN again is answered by the same function with the same (or the next window's) cookie; another ISN is another connection.
        if (packet.Tcp.Seq == handshake.A || handshake.State > HandshakeState.AskingPeers) return DropReason.SegmentInvalid;
        if (handshake.Acked > 0)
        {
            // Its client has let go of bytes that only we have, and the SYN may be anybody's: who has really begun anew resets (RFC 5961 4).
            Acknowledge(handshake, handshake.Acked);
            return DropReason.SegmentInvalid;
        }
        Service service = handshake.Service;
        TakeOfferBack(host, handshake);
        table.End(handshake);
        return OnSyn(packet, service);
    }

    // The client has bytes of a response: the box that carried them is gone with the record, and what is being re-created here
    // would put other bytes in their place.
    private DropReason OnAnswered(Handshake handshake, in TcpView tcp)
    {
        if (tcp.Ack < handshake.B + 1u || !handshake.TakenOver || handshake.State > HandshakeState.BackendData) return DropReason.SegmentInvalid;
        table.End(handshake);
        return DropReason.NoRecord;
    }

    private DropReason OnReset(Handshake handshake, in TcpView tcp)
    {
        int offset = tcp.Seq - (handshake.A + 1u);
        if (offset < 0 || offset > HeadBuffers.Room) return DropReason.RstOutOfWindow;
        // Once request bytes have left, the splice carries resets.
        if (handshake.State == HandshakeState.Delivering) return DropReason.SegmentInvalid;
        int held = handshake.Ranges.Contiguous;
        bool exact = offset == handshake.Acked || offset == held || (handshake.FinAt == held && offset == held + 1);
        if (!exact)
        {
            // Anybody can guess a number in the window: whoever means it says it again by the number that we ask with (RFC 5961 3.2, 7).
            host.Statistics[Counter.ResetsDoubted]++;
            if (host.Now - handshake.DoubtedAt >= DoubtAgainNs)
            {
                handshake.DoubtedAt = host.Now;
                Acknowledge(handshake, handshake.Acked);
            }
            return DropReason.RstOutOfWindow;
        }
        backends.Abandon(handshake);
        return DropReason.Consumed;
    }

    private DropReason TakeBytes(Handshake handshake, ReadOnlySpan<byte> payload, int offset)
    {
        int skip = Math.Max(0, -offset);
        if (skip >= payload.Length) return DropReason.Consumed;
        int from = offset + skip;
        if (from >= HeadBuffers.Room) return DropReason.BytesBeyondHead;
        int take = Math.Min(payload.Length - skip, HeadBuffers.Room - from);
        bool fits = handshake.Ranges.Add(from, from + take, payload.Slice(skip, take), table.Buffers.Bytes(handshake.Buffer));
        return fits ? DropReason.BytesHeldUnacknowledged : DropReason.BytesOutOfOrder;
    }

    // Its FIN again: it has not seen ours. Anything else acknowledges it, or is beyond caring.
    private DropReason OnClosing(Handshake handshake, in TcpView tcp)
    {
        if (tcp.Has(TcpFlags.Fin) && tcp.Ack == handshake.B + 1u) CloseEmpty(handshake);
        else table.End(handshake);
        return DropReason.Consumed;
    }

    private void CloseEmpty(Handshake handshake)
    {
        handshake.State = HandshakeState.Closing;
        WindowOf(handshake).Acknowledge(0, out ushort window);
        TcpSegmentSpec fin = ToClient(handshake.ClientKey, handshake.B + 1u, handshake.A + 2u, TcpFlags.Fin | TcpFlags.Ack, window);
        Stamp(handshake, ref fin);
        host.Send(FlowDirection.ToClient, ref fin, default, 0);
        table.Schedule(handshake, host.Now + ClosingNs);
    }

    // The owner of these bytes is gone, or the flow moved: this box goes on with them.
    private void Awake(Handshake handshake)
    {
        handshake.State = HandshakeState.Head;
        handshake.Created = handshake.LastProgress = host.Now;
        host.Statistics[Counter.HandshakesStarted]++;
        table.Schedule(handshake, host.Now + HeadTimeoutNs);
    }

    private static void NoteHeader(Handshake handshake, in TcpView tcp, in TcpOptions options)
    {
        handshake.Window = (uint)tcp.Window << (handshake.Agreed.HasScale ? handshake.Agreed.Scale : 0);
        if (!options.HasTimestamps) return;
        if (!handshake.Timestamps || new TcpSeq(options.TsVal) >= new TcpSeq(handshake.ClientTsVal)) handshake.ClientTsVal = options.TsVal;
        if (!handshake.Timestamps || new TcpSeq(options.TsEcr) >= new TcpSeq(handshake.ClientTsEcr)) handshake.ClientTsEcr = options.TsEcr;
        handshake.Timestamps = true;
    }

    /// <summary>A segment from the virtual address to the client.</summary>
    internal static TcpSegmentSpec ToClient(in FlowKey clientKey, TcpSeq seq, TcpSeq ack, TcpFlags flags, ushort window) => new()
    {
        Source = clientKey.Destination,
        Destination = clientKey.Source,
        SourcePort = clientKey.DestinationPort,
        DestinationPort = clientKey.SourcePort,
        Seq = seq,
        Ack = ack,
        Flags = flags,
        Window = window,
    };

    /// <summary>A message about a handshake that has no record yet.</summary>
    internal static SpliceEvent Describe(Handshake handshake, SpliceEventKind kind)
    {
        SpliceEvent message = new() { Kind = kind, Ticket = handshake.Ticket, Attempt = (byte)handshake.Attempt, CookieOptions = handshake.Agreed.Packed };
        message.Record.Id = handshake.RecordId;
        message.Record.Client = handshake.ClientKey.Source;
        message.Record.Virtual = handshake.ClientKey.Destination;
        message.Record.ClientPort = handshake.ClientKey.SourcePort;
        message.Record.VirtualPort = handshake.ClientKey.DestinationPort;
        message.Record.A = handshake.A.Value;
        message.Record.B = handshake.B.Value;
        return message;
    }

    private static ulong SynHash(in FlowKey key, TcpSeq a) => key.Hash(0x5ca1_ab1e ^ ((ulong)a.Value << 20));
}
