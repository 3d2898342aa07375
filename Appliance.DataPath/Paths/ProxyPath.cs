using Appliance.DataPath.Flow;
using Appliance.DataPath.Port;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// What a proxy does with a packet, from top to bottom: flow table hit, rewrite, transmit (the
/// common case ends there); segments that change a connection's state; a miss goes to the owner, the
/// previous owner, the handshake, or is refused (SPLICE 2, 4, 5, 10).
/// </summary>
public sealed class ProxyPath(Box box) : IDisposable
{
    private const long SpreadNs = 100_000_000, SettleNs = 2_000_000_000, PreviousOwnerNs = 35_000_000_000, FinTimerNs = 100_000_000;
    private const uint OwnEnd = 1 << 20;

    private readonly RateLimit _resets = new(perSecond: 1000, burst: 100);
    private readonly Reassembler _fragments = new();

    /// <summary>Treats a packet that came over <paramref name="role"/>'s link with a relay mark. None: it was sent on.</summary>
    public DropReason Process(LinkRole role, in Packet packet, in FrameRef frame, FrameMark mark)
    {
        if (packet.Layout.IsFragment) return OnFragment(role, packet, mark);
        if (!packet.IsTcp) return packet.IsIcmp ? OnIcmp(role, packet, frame, mark) : packet.Layout.HasTransport || packet.Layout.Protocol != 0 ? Unexpected(role) : DropReason.UnknownEtherType;
        FlowKey key = FlowKey.Of(packet);
        int index = box.FindFlow(key);
        if (index < 0) return OnMiss(role, packet, frame, key, mark);

        ref RewriteEntry entry = ref box.Splices.Entry(index);
        if ((entry.Direction == FlowDirection.ToServer) != (role == LinkRole.External)) return DropReason.SpoofedSource;
        TcpView tcp = packet.Tcp;
        if ((tcp.Flags & (TcpFlags.Syn | TcpFlags.Fin | TcpFlags.Rst)) != TcpFlags.None || (entry.Flags & (RewriteFlags.SlowPath | RewriteFlags.Watch)) != RewriteFlags.None)
        {
            return OnControl(packet, frame, key, ref entry, mark);
        }
        if (mark == FrameMark.Replayed && IsKnownAcknowledged(tcp, entry)) return DropReason.ReplayedAlreadyAcknowledged;
        // Its sender should have had the record by now, as we do.
        if (mark is FrameMark.Relayed or FrameMark.RelayedOn && box.Now - box.Splices.Record(entry.Record).Created > SpreadNs) box.Statistics[Counter.RelayedAfterRecord]++;
        return Forward(packet, frame, ref entry);
    }

    /// <inheritdoc/>
    public void Dispose() => _fragments.Dispose();

    /// <summary>Reassembly's timeouts.</summary>
    public void Advance(long now)
    {
        int expired = _fragments.Expire(now);
        if (expired > 0) box.Statistics[DropReason.FragmentTimeout] += expired;
    }

    // The common case.
    private DropReason Forward(in Packet packet, in FrameRef frame, ref RewriteEntry entry)
    {
        if (box.RefragmentTo == 0 && IsTooLong(packet, frame, entry)) return TooBig(packet, entry);
        // While bytes of ours, or numbers from before the splice, are in play, a corrupted segment must not move them.
        bool open = (entry.Flags & (RewriteFlags.AckFloor | RewriteFlags.TsEcrFloor)) != RewriteFlags.None;
        if (open && !IsIntact(packet, frame)) return Pass(packet, frame, entry);
        Progress.Observe(ref entry, packet, box.Now);
        // The other direction's entry is two cache lines away: asked only where it can matter.
        if (entry.Repeats >= Progress.StormLimit && packet.Payload.IsEmpty && Progress.IsAckStorm(entry, ReverseOf(entry))) return DropReason.AckStorm;
        if (open) box.CheckFloor(entry.Record);
        DropReason reason = Rewriter.Rewrite(packet, frame.Vnet, entry);
        if (reason != DropReason.None) return reason;
        box.Statistics[Counter.Rewritten]++;
        box.Statistics[Counter.RewrittenBytes] += frame.Length;
        if (box.RefragmentTo == 0) box.Egress.SendToHop(entry.NextHop, frame);
        else SendFragments(packet, entry);
        return DropReason.None;
    }

    // What came in fragments leaves in fragments no longer than those: that much its way is known to carry.
    private void SendFragments(in Packet packet, in RewriteEntry entry)
    {
        box.Statistics[Counter.Refragmented]++;
        int mtu = box.Egress.Port(entry.Direction == FlowDirection.ToServer ? LinkRole.Internal : LinkRole.External).Mtu;
        int most = Math.Min(box.RefragmentTo, mtu);
        Fragmenter fragments = new(packet, most, box.RefragmentId);
        while (true)
        {
            FrameRef piece = box.Egress.Scratch(most + packet.Layout.Network);
            if (!fragments.TryNext(piece.Bytes, out piece.Length)) return;
            box.Egress.SendToHop(entry.NextHop, piece);
        }
    }

    // SYN, FIN, RST, and anything on a record that is held, half closed or closed.
    private DropReason OnControl(in Packet packet, in FrameRef frame, in FlowKey key, ref RewriteEntry entry, FrameMark mark)
    {
        TcpView tcp = packet.Tcp;
        int index = entry.Record;
        ref SpliceRecord record = ref box.Splices.Record(index);
        bool fromClient = entry.Direction == FlowDirection.ToServer;
        if ((entry.Flags & RewriteFlags.SlowPath) != RewriteFlags.None)
        {
            Handshake? held = box.Handshakes.Find(key);
            if (!IsIntact(packet, frame)) return DropReason.TransportChecksumWrong;
            if (held is null) return DropReason.AwaitingConfirmation;
            DropReason verdict = box.Client.OnSegment(held, packet);
            if (held.State == HandshakeState.Free) box.Closes.OnAbandoned(index);
            return verdict;
        }
        // Whatever comes here may move the record on.
        if (!IsIntact(packet, frame)) return Pass(packet, frame, entry);
        // A replayed handshake and request of a connection that has ended would run that request once more.
        if (record.State >= SpliceState.TimeWait && mark == FrameMark.Replayed) return DropReason.ReplayedClosed;
        // Nor may a replayed SYN go on: a backend that has reset this connection meanwhile would take it for a new one.
        if (mark == FrameMark.Replayed && fromClient && tcp.Has(TcpFlags.Syn)) return DropReason.ReplayedAlreadyAcknowledged;
        if (MayStartAnew(key, tcp, record, entry))
        {
            // Our cookie comes back: the client has begun another one, and did take the RST that was doubted.
            if (record.State < SpliceState.TimeWait && box.Client.HoldsCookie(packet)) box.Closes.OnAbandoned(index);
            // The tuple is being used again: the old record is in nobody's way. What has ended takes nothing that is not its own: its server would
            // answer a stranger with a RST, and the client's new connection would pay for it.
            bool stranger = record.State >= SpliceState.TimeWait && !IsNear(tcp.Seq + tcp.SequenceLength, entry.SeqNext) && !IsNear(tcp.Ack, entry.AckSeen);
            DropReason anew = OnMiss(fromClient ? LinkRole.External : LinkRole.Internal, packet, frame, key, mark);
            if (stranger || anew is not (DropReason.NoRecord or DropReason.SynOfRealRefused)) return anew;
        }
        if (record.State == SpliceState.TimeWait && IsOvertaken(tcp, record)) return DropReason.OvertakenByClose;
        if (tcp.Has(TcpFlags.Syn) && !fromClient) return AnswerSynAck(record, tcp);
        FlowDirection direction = entry.Direction;
        TcpSeq seq = tcp.Seq;
        bool reset = tcp.Has(TcpFlags.Rst);
        DropReason reason = Forward(packet, frame, ref entry);
        if (reason != DropReason.None) return reason;
        if (reset) box.Closes.OnReset(index, direction, seq);
        else box.Closes.Follow(index);
        return DropReason.None;
    }

    // Corrupt in, corrupt out, and nothing is learnt from it.
    private DropReason Pass(in Packet packet, in FrameRef frame, in RewriteEntry entry)
    {
        DropReason reason = Rewriter.Rewrite(packet, frame.Vnet, entry);
        if (reason == DropReason.None) box.Egress.SendToHop(entry.NextHop, frame);
        return reason;
    }

    private static bool IsIntact(in Packet packet, in FrameRef frame) => frame.Vnet.NeedsChecksum || InternetChecksum.VerifyTransport(packet);

    private DropReason OnMiss(LinkRole role, in Packet packet, in FrameRef frame, in FlowKey key, FrameMark mark)
    {
        bool fromClient = role == LinkRole.External;
        Service? service = fromClient ? box.Services.Find(key.Destination, key.DestinationPort) : null;
        if (fromClient && service is null) return DropReason.NoSuchService;
        TcpView tcp = packet.Tcp;
        bool syn = tcp.Has(TcpFlags.Syn) && !tcp.Has(TcpFlags.Ack);
        if (syn && !fromClient) return DropReason.SynOfRealRefused;
        bool replayed = mark == FrameMark.Replayed;
        if (replayed) mark = FrameMark.Handed;
        ulong hash = fromClient ? box.OwnerHash(key.Source, key.SourcePort) : box.OwnerHash(key.Destination, key.DestinationPort);
        byte owner = box.OwnerOf(hash);
        Handshake? handshake = box.Handshakes.Find(key);
        // A shadow is its owner's while that lives: it wakes only where the flow is owned now.
        if (handshake is { State: HandshakeState.Shadow } && mark == FrameMark.Handed && owner != box.Config.Self) handshake = null;
        // From here on we are the receiver: what is corrupt is nobody's word.
        if (handshake is not null && !IsIntact(packet, frame)) return DropReason.TransportChecksumWrong;
        if (handshake is not null) return fromClient ? box.Client.OnSegment(handshake, packet, replayed) : box.Backends.OnServerSegment(handshake, packet);
        if (mark == FrameMark.Handed)
        {
            if (owner == NodeIds.None) return DropReason.OwnerUnknown;
            if (owner != box.Config.Self) return Relay(role, frame, owner, FrameMark.Relayed);
        }
        if (!IsIntact(packet, frame)) return DropReason.TransportChecksumWrong;
        if (syn) return OnSyn(packet, key, replayed);
        if (mark != FrameMark.RelayedOn && RelayOn(role, packet, frame, key, hash, out DropReason relayed)) return relayed;
        if (fromClient)
        {
            DropReason verdict = box.Client.OnUnknown(packet, service!);
            if (verdict != DropReason.CookieInvalid) return verdict;
        }
        if (mark == FrameMark.RelayedOn || owner == NodeIds.None || MayBeKnownElsewhere(hash) || box.Splices.Find(key) >= 0) return DropReason.NoRecord;
        if (fromClient && box.Client.MayBegin(key)) return DropReason.NoRecord;
        if (tcp.Has(TcpFlags.Rst) || !_resets.TryTake(box.Now)) return DropReason.NoRecord;
        box.SendReset(role, packet);
        if (!fromClient) AskClient(key, tcp);
        return DropReason.NoRecord;
    }

    // Nobody knows any more where the client's numbers stand, and it may wait for ever: a segment out of its window makes it say them
    // (RFC 9293 3.10.7.4), and what it says then gets the exact RST. X = 0, so the backend's acknowledgment and echo are right for it.
    private void AskClient(in FlowKey key, in TcpView tcp)
    {
        if (box.Services.FindByReal(key.Source, key.SourcePort) is not { } service || !tcp.Has(TcpFlags.Ack)) return;
        // A backend that was tried and left says nothing of the connection that the client has.
        FlowKey client = new(key.Destination, service.Address, key.DestinationPort, service.Port, Packet.ProtocolTcp);
        if (box.Splices.Find(client) >= 0 || box.Handshakes.Find(client) is not null) return;
        if (!TcpOptions.TryParse(tcp.Options, out TcpOptions options, out _)) return;
        TcpSegmentSpec question = new()
        {
            Source = service.Address,
            Destination = key.Destination,
            SourcePort = service.Port,
            DestinationPort = key.DestinationPort,
            Seq = tcp.Seq,
            Ack = tcp.Ack,
            Flags = TcpFlags.Ack,
            Window = ushort.MaxValue,
            HasTimestamps = options.HasTimestamps,
            TsVal = options.TsVal,
            TsEcr = options.TsEcr,
        };
        box.Send(FlowDirection.ToClient, ref question, default, 0);
    }

    private DropReason OnSyn(in Packet packet, in FlowKey key, bool replayed)
    {
        Service? service = box.Services.Find(key.Destination, key.DestinationPort);
        return service is null ? DropReason.NoSuchService : box.Client.OnSyn(packet, service, replayed);
    }

    // Handshakes that previous owners had begun are still there; those that began here are not asked for. Several boxes may get
    // what only the one that knows it can use; a first segment would begin a handshake at each, so it goes to the last owner alone.
    private bool RelayOn(LinkRole role, in Packet packet, in FrameRef frame, in FlowKey key, ulong hash, out DropReason verdict)
    {
        verdict = DropReason.None;
        bool fromClient = role == LinkRole.External;
        if (box.Membership.Current is null || (fromClient && box.Client.BeganHere(key))) return false;
        Span<byte> owners = stackalloc byte[Membership.Remembered];
        int count = box.Membership.PreviousOwners(hash, box.Config.Self, box.Now, PreviousOwnerNs, owners);
        if (count > 1 && fromClient && box.Client.HoldsCookie(packet)) count = 1;
        for (int i = 1; i < count; i++)
        {
            FrameRef copy = box.Egress.Scratch(frame.Length);
            frame.Bytes.CopyTo(copy.Bytes);
            copy.Vnet = frame.Vnet;
            Relay(role, copy, owners[i], FrameMark.RelayedOn);
        }
        if (count > 0) verdict = Relay(role, frame, owners[0], FrameMark.RelayedOn);
        return count > 0;
    }

    private bool MayBeKnownElsewhere(ulong hash) =>
        // Its handshake may have begun elsewhere: a first segment that was lost may take its sender's time to come again.
        box.Now - box.Membership.ChangedAt < SettleNs || box.Membership.HasMoved(hash, box.Config.Self, box.Now, PreviousOwnerNs) || (box.HasLivePeers && box.Now - box.Membership.JoinedAt < PreviousOwnerNs);

    private DropReason Relay(LinkRole role, in FrameRef frame, byte node, FrameMark mark)
    {
        box.Statistics[mark == FrameMark.Relayed ? Counter.Relayed : Counter.RelayedOn]++;
        return box.Egress.SendTo(role, box.MacOf(node, role, mark), frame) ? DropReason.None : DropReason.TransmitQueueFull;
    }

    // The backend did not see our acknowledgment of its SYN-ACK: data will follow, this is to stop its timer.
    private DropReason AnswerSynAck(in SpliceRecord record, in TcpView tcp)
    {
        if (tcp.Seq.Value != record.D || tcp.Ack.Value != record.C + 1) return DropReason.SegmentInvalid;
        ref RewriteEntry client = ref box.Splices.Entry(record.ToServer);
        // What the client says is not known here yet: the request, on its way, will answer.
        if (client.Seen == 0 || (client.Flags & RewriteFlags.SlowPath) != RewriteFlags.None) return DropReason.Consumed;
        TcpSegmentSpec ack = new()
        {
            Source = record.Source,
            Destination = record.Real,
            SourcePort = record.SourcePort,
            DestinationPort = record.RealPort,
            Seq = new TcpSeq(record.C) + 1u,
            // As the client last said: an older acknowledgment with a newer window would move the right edge back.
            Ack = new TcpSeq(client.AckSeen) + client.AckDelta,
            Flags = TcpFlags.Ack,
            Window = (ushort)Math.Min(Progress.Window(client) >> ((record.Options & SpliceOptions.ScaleServer) != SpliceOptions.None ? record.ScaleOursServer : 0), ushort.MaxValue),
            HasTimestamps = (record.Options & SpliceOptions.Timestamps) != SpliceOptions.None,
            TsVal = client.TsVal + record.Dc,
            TsEcr = record.TsFirst,
        };
        box.Send(FlowDirection.ToServer, ref ack, default, 0);
        return DropReason.Consumed;
    }

    private DropReason OnIcmp(LinkRole role, in Packet packet, in FrameRef frame, FrameMark mark)
    {
        if (!packet.Icmp.IsError) return Unexpected(role);
        if (!IcmpErrorRewriter.TryGetKey(packet, out FlowKey key, out DropReason reason)) return reason;
        int index = box.Splices.Find(key);
        if (index < 0) return OnIcmpMiss(role, frame, key, mark);
        ref RewriteEntry answering = ref box.Splices.Entry(index);
        if ((answering.Direction == FlowDirection.ToServer) != (role == LinkRole.External)) return DropReason.SpoofedSource;
        reason = IcmpErrorRewriter.Rewrite(packet, frame.Vnet, answering, ReverseOf(answering));
        if (reason != DropReason.None) return reason;
        box.Statistics[Counter.IcmpTranslated]++;
        box.Egress.SendToHop(answering.NextHop, frame);
        return DropReason.None;
    }

    private DropReason OnIcmpMiss(LinkRole role, in FrameRef frame, in FlowKey key, FrameMark mark)
    {
        if (mark is not (FrameMark.Handed or FrameMark.Replayed)) return DropReason.IcmpQuoteUnknown;
        ulong hash = role == LinkRole.External ? box.OwnerHash(key.Source, key.SourcePort) : box.OwnerHash(key.Destination, key.DestinationPort);
        byte owner = box.OwnerOf(hash);
        if (owner == NodeIds.None || owner == box.Config.Self) return DropReason.IcmpQuoteUnknown;
        return Relay(role, frame, owner, FrameMark.Relayed);
    }

    private DropReason OnFragment(LinkRole role, in Packet packet, FrameMark mark)
    {
        FragmentVerdict verdict = _fragments.Add(packet, box.Now, out WholePacket whole, out DropReason reason);
        if (verdict == FragmentVerdict.Dropped) return reason;
        if (verdict == FragmentVerdict.Held) return DropReason.Consumed;
        box.Statistics[Counter.Reassembled]++;
        FrameRef copy = box.Egress.Scratch(whole.Frame.Length);
        whole.Frame.Bytes.CopyTo(copy.Bytes);
        _fragments.ReleaseWhole();
        return ProcessAssembled(new Handover { Role = role, Mark = mark, RefragmentTo = whole.LargestFragment, RefragmentId = whole.Identification }, copy);
    }

    /// <summary>A packet that came in fragments, here or at another worker.</summary>
    internal DropReason ProcessAssembled(in Handover how, in FrameRef frame)
    {
        if (!Packet.TryParse(frame.Bytes, out Packet packet, out DropReason reason)) return reason;
        int worker = box.Group.Count == 1 ? box.Worker : box.Group.WorkerOf(how.Role, packet);
        if (worker != box.Worker) return box.Handovers.Give(worker, how, frame);
        box.RefragmentTo = how.RefragmentTo;
        box.RefragmentId = how.RefragmentId;
        reason = Process(how.Role, packet, frame, how.Mark);
        box.RefragmentTo = 0;
        return reason;
    }

    private bool IsTooLong(in Packet packet, in FrameRef frame, in RewriteEntry entry)
    {
        int mtu = box.Egress.Port(entry.Direction == FlowDirection.ToServer ? LinkRole.Internal : LinkRole.External).Mtu;
        if (packet.Layout.End - packet.Layout.Network <= mtu) return false;
        return !frame.Vnet.IsSuperFrame || packet.Layout.Payload - packet.Layout.Network + frame.Vnet.GsoSize > mtu;
    }

    private DropReason TooBig(in Packet packet, in RewriteEntry entry)
    {
        LinkRole from = entry.Direction == FlowDirection.ToServer ? LinkRole.External : LinkRole.Internal;
        LinkRole to = from == LinkRole.External ? LinkRole.Internal : LinkRole.External;
        FrameRef frame = box.Egress.Scratch(1600);
        frame.Length = IcmpWriter.WriteError(frame.Bytes, packet, IcmpError.PacketTooBig, packet.Destination, default, default, box.Egress.Port(to).Mtu);
        int hop = box.Egress.HopTo(from, packet.Source);
        if (frame.Length > 0 && hop > 0) box.Egress.SendToHop(hop, frame);
        return DropReason.TooLongForEgress;
    }

    private ref RewriteEntry ReverseOf(in RewriteEntry entry)
    {
        ref SpliceRecord record = ref box.Splices.Record(entry.Record);
        return ref box.Splices.Entry(entry.Direction == FlowDirection.ToServer ? record.ToClient : record.ToServer);
    }

    private bool IsKnownAcknowledged(in TcpView tcp, in RewriteEntry entry)
    {
        ref RewriteEntry reverse = ref ReverseOf(entry);
        uint length = tcp.SequenceLength;
        if (length == 0) return tcp.Ack < new TcpSeq(entry.AckSeen);
        return reverse.Seen != 0 && new TcpSeq(reverse.AckSeen) + reverse.AckDelta >= tcp.Seq + length;
    }

    // On a closed record only what repeats its end, in both numbers, is surely its own; a handshake under way, a SYN, or a
    // segment that a cookie may explain (initial numbers are random: one range proves nothing) comes first. So on one that
    // an inexact RST may have closed.
    private bool MayStartAnew(in FlowKey key, in TcpView tcp, in SpliceRecord record, in RewriteEntry entry)
    {
        bool closed = record.State >= SpliceState.TimeWait;
        if (!closed && (entry.Direction == FlowDirection.ToClient || (entry.Doubts | ReverseOf(entry).Doubts) == 0)) return false;
        // A handshake of its own may stand beside it: a peer's bytes, which outlive it for a while, or ours that still have to be delivered.
        if (box.Handshakes.Find(key) is { } handshake && (handshake.A.Value != record.A || handshake.B.Value != record.B)) return true;
        if (tcp.Has(TcpFlags.Rst)) return closed && !IsNear(tcp.Seq, entry.SeqNext);
        bool fromClient = entry.Direction == FlowDirection.ToServer;
        // Its own first segment again: the cookie in it is still valid, and would run the request once more.
        if (fromClient && tcp.Seq.Value == record.A + 1 && tcp.Ack.Value == record.B + 1) return false;
        if (tcp.Has(TcpFlags.Syn)) return fromClient || tcp.Seq.Value != record.D;
        // One number may be off by a corrupt segment that was believed. A client's goes to the owner even so: it may hold a cookie.
        bool seqNear = IsNear(tcp.Seq + tcp.SequenceLength, entry.SeqNext), ackNear = IsNear(tcp.Ack, entry.AckSeen);
        return fromClient ? !seqNear || !ackNear : !seqNear && !ackNear;
    }

    // All bytes have arrived: a segment that its connection's end overtook would be answered, and by an end that is gone with a RST
    // (RFC 9293 3.10.7.1, RFC 1337). Before a FIN's timer has run, nobody needs the last acknowledgment again.
    private bool IsOvertaken(in TcpView tcp, in SpliceRecord record) =>
        (tcp.Flags & (TcpFlags.Syn | TcpFlags.Fin | TcpFlags.Rst)) == TcpFlags.None && box.Now - CloseTracker.ClosedAt(record) < FinTimerNs;

    // Above it too: a RST may have overtaken what is under way, and another box may have seen more of the end than this one.
    private static bool IsNear(TcpSeq value, uint end) => (uint)(new TcpSeq(end + OwnEnd) - value) < 2 * OwnEnd;

    private static DropReason Unexpected(LinkRole role) => role == LinkRole.Internal ? DropReason.RealUnexpected : DropReason.UnknownProtocol;
}
