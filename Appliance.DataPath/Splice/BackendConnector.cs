using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// The backend's side of delayed binding (SPLICE 4.3 to 4.6 and section 5): routes the head, asks
/// the peers before a handshake is re-created, opens the backend's half with c = a - P so that X = 0, and gives up
/// with an exact RST. A request byte leaves only through <see cref="SpliceJoiner"/>, and then never to another backend.
/// </summary>
public sealed class BackendConnector(ISpliceHost host, HandshakeTable table, SpliceTable splices, RealHealth health, SpliceJoiner joiner)
{
    /// <summary>How long bytes that a box acknowledged are kept for peers after it left the connection to them, ns.</summary>
    public const long ShadowNs = 60_000_000_000;

    private const long SynNs = 50_000_000, MaxSynNs = 3_000_000_000, SilentLinkNs = 10_000_000_000, AskNs = 100_000_000, MaxAskNs = 1_000_000_000, ListenNs = 400_000_000;
    private const int SynsPerReal = 4;

    /// <summary>New request bytes: decides where they go as soon as that can be decided.</summary>
    public void OnBytes(Handshake handshake)
    {
        if (handshake.State != HandshakeState.Head) return;
        Span<byte> head = table.Buffers.Bytes(handshake.Buffer)[..handshake.Ranges.Contiguous];
        switch (Router.Decide(handshake.Service, head, ref handshake.HeadProgress, out RouteDecision decision))
        {
            case RouteResult.Malformed:
                Refuse(handshake, DropReason.RequestMalformed);
                return;
            case RouteResult.NoRoute:
                Refuse(handshake, DropReason.NoRouteMatches);
                return;
            case RouteResult.Incomplete:
                // The window cannot open further before the splice, so nothing more will come.
                if (head.Length >= Math.Min(HeadBuffers.Room, LimitOf(handshake))) Refuse(handshake, DropReason.HeadTooLong);
                return;
        }
        host.Statistics[Counter.HeadsComplete]++;
        handshake.Pool = decision.Pool;
        handshake.IsIdempotent = decision.IsIdempotent;
        handshake.Prefix = decision.Pool!.SendsProxyHeader ? ProxyV2.LengthOf(handshake.ClientKey, 0) : 0;
        table.WritePrefix(handshake);
        handshake.StepStarted = host.Now;
        handshake.StepEnds = host.Now + MaxSynNs;
        if (handshake.TakenOver && host.HasLivePeers) AskPeers(handshake);
        else Choose(handshake);
    }

    /// <summary>All live peers have said what they know of this handshake.</summary>
    public void OnQueryDone(Handshake handshake)
    {
        if (handshake.State != HandshakeState.AskingPeers) return;
        // By its own name: the tuple alone may still lead to an earlier connection of this client.
        int record = splices.FindRecord(handshake.RecordId);
        if (record >= 0)
        {
            joiner.Adopt(handshake, record);
            return;
        }
        handshake.StepStarted = host.Now;
        handshake.StepEnds = host.Now + MaxSynNs;
        if (handshake.AnnouncedAttempt >= 0) handshake.Attempt = handshake.AnnouncedAttempt;
        host.Statistics[Counter.HandshakesTakenOver]++;
        Choose(handshake);
    }

    /// <summary>A segment of the backend that is being tried.</summary>
    public DropReason OnServerSegment(Handshake handshake, in Packet packet)
    {
        TcpView tcp = packet.Tcp;
        if (!TcpOptions.TryParse(tcp.Options, out TcpOptions options, out DropReason malformed)) return malformed;
        if (handshake.State is not (HandshakeState.BackendSyn or HandshakeState.BackendData)) return DropReason.AwaitingConfirmation;
        bool answersSyn = tcp.Ack == handshake.C + 1u;
        if (tcp.Has(TcpFlags.Rst))
        {
            if (!answersSyn || !tcp.Has(TcpFlags.Ack)) return DropReason.RstOutOfWindow;
            host.Statistics[Counter.BackendRefused]++;
            NextReal(handshake);
            return DropReason.Consumed;
        }
        if (!tcp.Has(TcpFlags.Ack)) return DropReason.SegmentInvalid;
        if (tcp.Has(TcpFlags.Syn))
        {
            if (!answersSyn) return ResetAsAsked(handshake, tcp);
            return OnSynAck(handshake, tcp, options);
        }
        return OnBareAck(handshake, tcp, options, answersSyn);
    }

    /// <summary>The handshake's timer fired while peers or the backend are awaited.</summary>
    public void OnTimer(Handshake handshake)
    {
        switch (handshake.State)
        {
            case HandshakeState.AskingPeers when host.HasLivePeers && host.Now - handshake.StepStarted < MaxAskNs:
                // A peer that lives and cannot be asked may have joined this connection already.
                AskPeers(handshake);
                break;
            case HandshakeState.AskingPeers:
                handshake.PeersSilent = host.HasLivePeers;
                OnQueryDone(handshake);
                break;
            case HandshakeState.BackendData when handshake.HasLowest && handshake.ClientHasNothing:
                JoinFromData(handshake);
                break;
            case HandshakeState.BackendData when handshake.HasLowest && host.Now < handshake.StepEnds:
                AskWhatClientHas(handshake);
                table.Schedule(handshake, host.Now + AskNs);
                break;
            case HandshakeState.BackendData when handshake.HasLowest:
                // Whatever was agreed with the dead owner, nobody knows it any more.
                host.Statistics.Drop(DropReason.NoRecord);
                table.End(handshake);
                break;
            case HandshakeState.BackendData:
                NextReal(handshake, wasSilent: true);
                break;
            case HandshakeState.BackendSyn when host.Now >= handshake.StepEnds && !IsLinkSilent(handshake):
                Refuse(handshake, DropReason.NoBackend);
                break;
            case HandshakeState.BackendSyn when handshake.Tries < SynsPerReal:
                host.Statistics[Counter.BackendTimeouts]++;
                SendSyn(handshake);
                break;
            case HandshakeState.BackendSyn:
                NextReal(handshake, wasSilent: true);
                break;
        }
    }

    /// <summary>Ends a handshake with an exact RST to the client, and one to a backend that was being tried.</summary>
    public void Refuse(Handshake handshake, DropReason reason)
    {
        host.Statistics.Drop(reason);
        if (reason is DropReason.NoBackend or DropReason.HeadTimeout && (!host.Owns(handshake.ClientKey) || host.IsYoung))
        {
            // The new owner has taken it over, perhaps with the same real and numbers: neither end may hear of us.
            table.End(handshake);
            return;
        }
        host.Statistics[Counter.ResetsSent]++;
        TcpSegmentSpec reset = ClientHandshaker.ToClient(handshake.ClientKey, handshake.B + 1u, handshake.A + 1u + (uint)handshake.Ranges.Contiguous, TcpFlags.Rst | TcpFlags.Ack, 0);
        host.Send(FlowDirection.ToClient, ref reset, default, 0);
        Abandon(handshake);
    }

    /// <summary>Ends a handshake, and with it the connection, without a word to the client; a backend that may be half open is reset, and what peers keep of it is let go.</summary>
    public void Abandon(Handshake handshake)
    {
        ResetBackend(handshake);
        ClientHandshaker.TakeOfferBack(host, handshake);
        table.End(handshake);
    }

    /// <summary>Another box has joined this connection: a backend that was being tried here, if it is another one, is reset.</summary>
    public void Yield(Handshake handshake, in SpliceRecord joined)
    {
        if (handshake.Real is { } real && (real.Address != joined.Real || real.Port != joined.RealPort)) ResetBackend(handshake);
        table.RemoveServerKey(handshake);
    }

    /// <summary>This box was away, and others went on without it: what it had begun is theirs, except for bytes that it acknowledged.</summary>
    public void Withdraw(Handshake handshake)
    {
        if (handshake.State is not (HandshakeState.Head or HandshakeState.AskingPeers or HandshakeState.BackendSyn or HandshakeState.BackendData)) return;
        if (handshake.Acked == 0)
        {
            table.End(handshake);
            return;
        }
        table.RemoveServerKey(handshake);
        handshake.State = HandshakeState.Shadow;
        handshake.TakenOver = true;
        table.Schedule(handshake, host.Now + ShadowNs);
    }

    private int LimitOf(Handshake handshake) => new ClientWindow(handshake.Service, host.ProfileOf(handshake.Service), handshake.Agreed.HasScale).Limit;

    private void AskPeers(Handshake handshake)
    {
        handshake.State = HandshakeState.AskingPeers;
        handshake.PeersSilent = false;
        host.Statistics[Counter.QueriesSent]++;
        SpliceEvent question = ClientHandshaker.Describe(handshake, SpliceEventKind.Query);
        host.Publish(question);
        table.Schedule(handshake, host.Now + AskNs);
    }

    private void Choose(Handshake handshake)
    {
        if (TryChoose(handshake, rested: true)) return;
        // Better a backend that may be ill than a refusal, as long as none was tried.
        if (handshake.Real.IsNone && TryChoose(handshake, rested: false)) return;
        Refuse(handshake, DropReason.NoBackend);
    }

    private bool TryChoose(Handshake handshake, bool rested)
    {
        Pool pool = handshake.Pool!;
        int first = handshake.Attempt;
        for (; handshake.Attempt < pool.Reals.Length; handshake.Attempt++)
        {
            int index = BackendChooser.Choose(pool, handshake.RecordId, handshake.Attempt);
            if (index < 0) break;
            Real real = pool.Reals[index];
            // What nobody has heard was left out of what the client was promised.
            if (!host.TryGetProfile(real.Address, real.Port, out _) || (rested && health.IsResting(real.Address, real.Port, host.Now))) continue;
            FlowKey serverKey = new(real.Address, handshake.ClientKey.Source, real.Port, handshake.ClientKey.SourcePort, Packet.ProtocolTcp);
            if (IsTaken(serverKey, handshake)) continue;
            handshake.Real = real;
            table.SetServerKey(handshake, serverKey);
            handshake.State = HandshakeState.BackendSyn;
            handshake.Tries = 0;
            handshake.TriedAt = host.Now;
            if (handshake.Attempt > 0) Announce(handshake);
            SendSyn(handshake);
            return true;
        }
        handshake.Attempt = first;
        return false;
    }

    private bool IsTaken(in FlowKey serverKey, Handshake handshake)
    {
        Handshake? other = table.Find(serverKey);
        if (other is not null && other != handshake) return true;
        int entry = splices.Find(serverKey);
        return entry >= 0 && splices.Record(splices.Entry(entry).Record).State < SpliceState.TimeWait;
    }

    // A choice that is not the function's first must be known to others before its SYN leaves.
    private void Announce(Handshake handshake)
    {
        SpliceEvent choice = ClientHandshaker.Describe(handshake, SpliceEventKind.Choice);
        choice.Record.PoolVersion = handshake.Pool!.Version;
        choice.Record.Real = handshake.Real.Address;
        choice.Record.RealPort = handshake.Real.Port;
        host.Publish(choice);
    }

    private void NextReal(Handshake handshake, bool wasSilent = false)
    {
        if (wasSilent && !host.Owns(handshake.ClientKey))
        {
            // What this real answered went to the flow's owner, which may have joined them: another one would be a second join.
            Withdraw(handshake);
            return;
        }
        bool silent = IsLinkSilent(handshake);
        if (!silent) CountFailure(handshake, wasSilent);
        table.RemoveServerKey(handshake);
        // It refused, or its late answer will be reset: if there is no other real, nothing is owed to this one.
        handshake.State = HandshakeState.Head;
        handshake.Attempt++;
        handshake.HasLowest = false;
        if (!silent)
        {
            if (wasSilent && host.Now < handshake.StepEnds) ChooseAgain(handshake);
            else Choose(handshake);
            return;
        }
        // All reals in turn; when the link is back, there is as much time as there was at first.
        handshake.StepEnds = Math.Min(host.Now + MaxSynNs, handshake.StepStarted + SilentLinkNs);
        if (TryChoose(handshake, rested: false)) return;
        handshake.Attempt = 0;
        if (!TryChoose(handshake, rested: false)) Refuse(handshake, DropReason.NoBackend);
    }

    // Four lost SYNs are no proof: as long as there is time, silent reals are asked again.
    private void ChooseAgain(Handshake handshake)
    {
        if (TryChoose(handshake, rested: true)) return;
        handshake.Attempt = 0;
        if (!TryChoose(handshake, rested: false)) Refuse(handshake, DropReason.NoBackend);
    }

    // Nobody at all has been heard on the backends' side since this one was asked: what is down is this box's own link.
    private bool IsLinkSilent(Handshake handshake) =>
        host.Owns(handshake.ClientKey) && host.Now < handshake.StepStarted + SilentLinkNs && host.HeardAt(FlowDirection.ToServer) < handshake.TriedAt;

    // What a box that left the table cannot reach says nothing about the real: its own link may be what is down.
    private void CountFailure(Handshake handshake, bool wasSilent)
    {
        if (!host.Owns(handshake.ClientKey)) return;
        if (health.Failed(handshake.Real.Address, handshake.Real.Port, host.Now, wasSilent)) host.Statistics[Counter.BackendRested]++;
    }

    private void SendSyn(Handshake handshake)
    {
        host.Statistics[Counter.BackendSyns]++;
        TcpSegmentSpec syn = ToServer(handshake, handshake.C, default, TcpFlags.Syn, (ushort)Math.Min(handshake.Window, ushort.MaxValue));
        syn.Mss = handshake.Agreed.Mss(!handshake.ClientKey.Source.IsV4);
        if (handshake.Agreed.HasScale) syn.WindowScale = handshake.Agreed.Scale;
        syn.SackPermitted = handshake.Agreed.Sack;
        if (handshake.Agreed.Ecn) syn.Flags |= TcpFlags.Ece | TcpFlags.Cwr;
        syn.HasTimestamps = handshake.Timestamps;
        syn.TsVal = handshake.ClientTsVal;
        host.Send(FlowDirection.ToServer, ref syn, default, 0);
        table.Schedule(handshake, Math.Min(host.Now + (SynNs << handshake.Tries), Math.Max(handshake.StepEnds, host.Now + SynNs)));
        handshake.Tries++;
    }

    private DropReason OnSynAck(Handshake handshake, in TcpView tcp, in TcpOptions options)
    {
        host.Statistics[Counter.BackendSynAcks]++;
        health.Answered(handshake.Real.Address, handshake.Real.Port);
        if (handshake.Timestamps && !options.HasTimestamps) return Broken(handshake, tcp);
        BackendTerms terms = new()
        {
            D = tcp.Seq,
            TsFirst = options.TsVal,
            Mss = options.HasMss ? options.Mss : (ushort)536,
            HasScale = options.HasWindowScale && handshake.Agreed.HasScale,
            Scale = options.WindowScale,
            Sack = options.SackPermitted,
            Timestamps = handshake.Timestamps,
            Ecn = handshake.Agreed.Ecn,
        };
        if (terms.Mss < Math.Min(host.ProfileOf(handshake.Service).Mss, (ushort)536)) return Broken(handshake, tcp);
        joiner.Join(handshake, terms);
        return DropReason.Consumed;
    }

    // The backend knows the connection already: a dead owner had completed this half.
    private DropReason OnBareAck(Handshake handshake, in TcpView tcp, in TcpOptions options, bool answersSyn)
    {
        int beyond = tcp.Ack - (handshake.C + 1u);
        bool holdsRequest = beyond > 0 && beyond <= handshake.Prefix + handshake.Ranges.Contiguous + 1;
        if (!answersSyn && !holdsRequest)
        {
            if (!handshake.PeersSilent) return ResetAsAsked(handshake, tcp);
            // The connection that this backend has may be the client's own, joined by the peer that was not heard.
            Withdraw(handshake);
            return DropReason.NoRecord;
        }
        if (answersSyn && tcp.Payload.Length == 0)
        {
            handshake.LowestSeq = tcp.Seq;
            handshake.LowestTsVal = options.TsVal;
            handshake.HasLowest = true;
            JoinFromData(handshake);
            return DropReason.Consumed;
        }
        // It holds request bytes, so its answer may be under way: its oldest unacknowledged byte is d+1.
        if (handshake.State == HandshakeState.BackendSyn)
        {
            handshake.State = HandshakeState.BackendData;
            AskWhatClientHas(handshake);
            table.Schedule(handshake, host.Now + ListenNs);
        }
        if (tcp.Payload.Length == 0 && !tcp.Has(TcpFlags.Fin)) return DropReason.Consumed;
        if (!handshake.HasLowest || tcp.Seq < handshake.LowestSeq)
        {
            handshake.LowestSeq = tcp.Seq;
            handshake.LowestTsVal = options.TsVal;
            handshake.HasLowest = true;
        }
        return DropReason.Consumed;
    }

    // The oldest byte that the backend repeats is its first only if the client has none: a keepalive probe makes the client say so.
    private void AskWhatClientHas(Handshake handshake)
    {
        TcpSegmentSpec probe = ClientHandshaker.ToClient(handshake.ClientKey, handshake.B, handshake.A + 1u + (uint)handshake.Acked, TcpFlags.Ack, 0);
        if (handshake.Timestamps) (probe.HasTimestamps, probe.TsVal, probe.TsEcr) = (true, (uint)host.WallMs, handshake.ClientTsVal);
        host.Send(FlowDirection.ToClient, ref probe, default, 0);
    }

    private void JoinFromData(Handshake handshake)
    {
        // The SYN-ACK went to the dead owner; what it promised is what this real promises everybody.
        if (!host.TryGetProfile(handshake.Real.Address, handshake.Real.Port, out PoolProfile profile)) profile = host.ProfileOf(handshake.Service);
        BackendTerms terms = new()
        {
            D = handshake.LowestSeq - 1u,
            TsFirst = handshake.LowestTsVal,
            Mss = profile.Mss,
            HasScale = handshake.Agreed.HasScale && profile.WindowScale != PoolProfile.NoScale,
            Scale = profile.WindowScale,
            Sack = handshake.Agreed.Sack && profile.Sack,
            Timestamps = handshake.Timestamps,
            Ecn = handshake.Agreed.Ecn,
        };
        joiner.Join(handshake, terms);
    }

    private DropReason Broken(Handshake handshake, in TcpView tcp)
    {
        host.Statistics.Drop(DropReason.BackendPromiseBroken);
        TcpSegmentSpec reset = ToServer(handshake, tcp.Ack, default, TcpFlags.Rst, 0);
        host.Send(FlowDirection.ToServer, ref reset, default, 0);
        NextReal(handshake);
        return DropReason.Consumed;
    }

    private DropReason ResetAsAsked(Handshake handshake, in TcpView tcp)
    {
        TcpSegmentSpec reset = ToServer(handshake, tcp.Ack, default, TcpFlags.Rst, 0);
        host.Send(FlowDirection.ToServer, ref reset, default, 0);
        table.Schedule(handshake, host.Now + 1_000_000);
        return DropReason.SegmentInvalid;
    }

    private void ResetBackend(Handshake handshake)
    {
        if (handshake.State is not (HandshakeState.BackendSyn or HandshakeState.BackendData or HandshakeState.Confirming)) return;
        TcpSegmentSpec reset = ToServer(handshake, handshake.C + 1u, default, TcpFlags.Rst, 0);
        host.Send(FlowDirection.ToServer, ref reset, default, 0);
    }

    /// <summary>A segment to the backend, as from the client.</summary>
    internal static TcpSegmentSpec ToServer(Handshake handshake, TcpSeq seq, TcpSeq ack, TcpFlags flags, ushort window) => new()
    {
        Source = handshake.ClientKey.Source,
        Destination = handshake.Real.Address,
        SourcePort = handshake.ClientKey.SourcePort,
        DestinationPort = handshake.Real.Port,
        Seq = seq,
        Ack = ack,
        Flags = flags,
        Window = window,
    };
}

/// <summary>What the backend's SYN-ACK said, or what it must have said.</summary>
public struct BackendTerms
{
    /// <summary>d.</summary>
    public TcpSeq D;

    /// <summary>Its first TSval.</summary>
    public uint TsFirst;

    /// <summary>Its MSS.</summary>
    public ushort Mss;

    /// <summary>Its window scale, if both offered one.</summary>
    public byte Scale;

    /// <summary>Options in force on the backend's half.</summary>
    public bool HasScale, Sack, Timestamps, Ecn;
}
