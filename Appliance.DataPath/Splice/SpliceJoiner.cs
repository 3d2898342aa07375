using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Joins the halves (SPLICE 4.4): computes Y and the timestamp offsets, installs and announces the
/// record, holds the request until a peer has confirmed it where that is asked for (R1), releases it, and
/// delivers the bytes that are ours (PROXY header, early-acknowledged ones) until the backend has
/// acknowledged them. Everything else is the ends' own business from then on.
/// </summary>
public sealed class SpliceJoiner(ISpliceHost host, HandshakeTable table, SpliceTable splices)
{
    private const long FirstRtoNs = 20_000_000, MaxRtoNs = 2_000_000_000, DeliverNs = 60_000_000_000, ConfirmNs = 200_000_000;
    private const int TimestampOptionLength = 12;

    /// <summary>Both halves stand: installs the record and releases the request as soon as it may leave.</summary>
    public void Join(Handshake handshake, in BackendTerms terms)
    {
        bool wants = handshake.Service.Acked || !handshake.IsIdempotent;
        bool waits = wants && host.HasLivePeers;
        SpliceRecord record = BuildRecord(handshake, terms);
        if (waits) record.Options |= SpliceOptions.Held;
        int hopServer = host.NextHop(FlowDirection.ToServer, record.Real);
        int hopClient = host.NextHop(FlowDirection.ToClient, record.Client);
        if (hopServer < 0 || hopClient < 0)
        {
            Fail(handshake, terms, DropReason.NoRoute);
            return;
        }
        InstallResult result = splices.Install(record, (ushort)hopServer, (ushort)hopClient, host.Now, out int index, out ulong displaced);
        if (displaced != 0) PublishRemoved(displaced);
        if (result is not (InstallResult.Installed or InstallResult.Updated))
        {
            Fail(handshake, terms, result == InstallResult.Full ? DropReason.TableFull : DropReason.SegmentInvalid);
            return;
        }
        host.Statistics[Counter.SplicesCreated]++;
        handshake.Record = index;
        NoteClient(handshake, splices.Record(index));
        PublishRecord(handshake, index, waits);
        if (waits)
        {
            host.Statistics[Counter.ConfirmationsAwaited]++;
            handshake.State = HandshakeState.Confirming;
            splices.SetSlowPath(splices.Record(index).ToServer, slow: true);
            table.Schedule(handshake, host.Now + ConfirmNs);
            return;
        }
        if (wants) host.Statistics[Counter.ReleasedWithoutPeer]++;
        Release(handshake);
    }

    /// <summary>A peer held the record of this connection: the bytes that were collected here go through it.</summary>
    public void Adopt(Handshake handshake, int record)
    {
        ref SpliceRecord held = ref splices.Record(record);
        // A connection that has been carried to its end elsewhere must not see its request again.
        if (held.A != handshake.A.Value || held.B != handshake.B.Value || held.State >= SpliceState.TimeWait)
        {
            table.End(handshake);
            return;
        }
        table.RemoveServerKey(handshake);
        handshake.Real = new Real(held.Real, held.RealPort, 1);
        handshake.Prefix = held.P;
        table.WritePrefix(handshake);
        handshake.Record = record;
        Release(handshake);
    }

    /// <summary>A peer has the record.</summary>
    public void OnConfirmed(Handshake handshake)
    {
        if (handshake.State != HandshakeState.Confirming) return;
        host.Statistics[Counter.ConfirmationsReceived]++;
        Release(handshake);
    }

    /// <summary>The handshake's timer fired while a confirmation or an acknowledgment is awaited.</summary>
    public void OnTimer(Handshake handshake)
    {
        if (!splices.IsLive(handshake.Record) || splices.Record(handshake.Record).Id != handshake.RecordId)
        {
            table.End(handshake);
            return;
        }
        if (handshake.State == HandshakeState.Confirming)
        {
            if (host.HasLivePeers)
            {
                // The link repeats what it has; what was asked of a peer that died meanwhile must be asked of another.
                PublishRecord(handshake, handshake.Record, wantsConfirm: true);
                table.Schedule(handshake, host.Now + ConfirmNs);
                return;
            }
            host.Statistics[Counter.ReleasedWithoutPeer]++;
            Release(handshake);
            return;
        }
        if (handshake.State != HandshakeState.Delivering) return;
        if (IsDelivered(handshake) || host.Now >= handshake.Deadline)
        {
            table.End(handshake);
            return;
        }
        host.Statistics[Counter.OwnedRetransmissions]++;
        SendRequest(handshake, handshake.Prefix + handshake.Acked);
        ScheduleDelivery(handshake);
    }

    /// <summary>Takes over the delivery of owned bytes from a dead owner: the handshake's buffer holds the early-acknowledged ones.</summary>
    public void TakeOverDelivery(Handshake handshake, int record)
    {
        ref SpliceRecord held = ref splices.Record(record);
        int owed = (int)(held.AckFloor - (held.A + 1));
        // The rest of the shadow may still come.
        if (handshake.Ranges.Contiguous < owed) return;
        handshake.Real = new Real(held.Real, held.RealPort, 1);
        handshake.Record = record;
        handshake.RecordId = held.Id;
        handshake.Prefix = held.P;
        table.WritePrefix(handshake);
        handshake.Acked = owed;
        handshake.ClientTsVal = splices.Entry(held.ToServer).TsVal;
        StartDelivery(handshake);
    }

    private void Release(Handshake handshake)
    {
        ref SpliceRecord record = ref splices.Record(handshake.Record);
        splices.SetSlowPath(record.ToServer, slow: false);
        SeqLock.BeginWrite(ref record.Guard);
        record.Options &= ~SpliceOptions.Held;
        SeqLock.EndWrite(ref record.Guard);
        handshake.RecordId = record.Id;
        int length = handshake.Ranges.Contiguous;
        NoteClient(handshake, record);
        NoteReleased(handshake, record, length);
        SendRequest(handshake, handshake.Prefix + length);
        if (handshake.Prefix + handshake.Acked == 0)
        {
            table.End(handshake);
            return;
        }
        StartDelivery(handshake);
    }

    private void StartDelivery(Handshake handshake)
    {
        table.RemoveServerKey(handshake);
        handshake.State = HandshakeState.Delivering;
        handshake.Tries = 0;
        handshake.Deadline = host.Now + DeliverNs;
        ScheduleDelivery(handshake);
    }

    private void ScheduleDelivery(Handshake handshake) =>
        table.Schedule(handshake, host.Now + Math.Min(FirstRtoNs << Math.Min(handshake.Tries++, 10), MaxRtoNs));

    private bool IsDelivered(Handshake handshake)
    {
        ref SpliceRecord record = ref splices.Record(handshake.Record);
        TcpSeq end = new TcpSeq(record.C) + 1u + (uint)(handshake.Prefix + handshake.Acked);
        return record.State == SpliceState.Reset || new TcpSeq(splices.Entry(record.ToClient).AckSeen) >= end;
    }

    // The collected bytes leave as if the client's segments passed now: the entry must know.
    private void NoteReleased(Handshake handshake, in SpliceRecord record, int length)
    {
        ref RewriteEntry entry = ref splices.Entry(record.ToServer);
        TcpSeq next = handshake.A + 1u + (uint)length;
        bool fin = handshake.FinAt == length;
        if (fin)
        {
            entry.FinSeen = 1;
            entry.FinSeq = next.Value;
        }
        entry.SeqNext = TcpSeq.Max(new TcpSeq(entry.SeqNext), fin ? next + 1u : next).Value;
    }

    // What the client has said so far goes with the record: whoever must send in its name needs window and clock.
    private void NoteClient(Handshake handshake, in SpliceRecord record)
    {
        ref RewriteEntry entry = ref splices.Entry(record.ToServer);
        entry.RightEdge = TcpSeq.Max(new TcpSeq(entry.RightEdge), handshake.B + 1u + handshake.Window).Value;
        TcpSeq clock = new(handshake.ClientTsVal);
        entry.TsVal = entry.Seen != 0 ? TcpSeq.Max(new TcpSeq(entry.TsVal), clock).Value : clock.Value;
        entry.Seen = 1;
    }

    // Prefix and request from the start; payload is never more than was collected.
    private void SendRequest(Handshake handshake, int bytes)
    {
        ref SpliceRecord record = ref splices.Record(handshake.Record);
        ref RewriteEntry fromServer = ref splices.Entry(record.ToClient);
        bool whole = bytes == handshake.Prefix + handshake.Ranges.Contiguous;
        bool fin = whole && handshake.FinAt == handshake.Ranges.Contiguous;
        // The window that goes with this acknowledgment: an older, wider one would promise more than the client has.
        uint window = Progress.Window(splices.Entry(record.ToServer));
        if ((record.Options & SpliceOptions.ScaleServer) != SpliceOptions.None) window >>= record.ScaleOursServer;
        TcpSegmentSpec spec = BackendConnector.ToServer(
            handshake, new TcpSeq(record.C) + 1u, TcpSeq.Max(new TcpSeq(record.D) + 1u, AckedByClient(record)),
            TcpFlags.Ack | TcpFlags.Psh | (fin ? TcpFlags.Fin : TcpFlags.None), (ushort)Math.Min(window, ushort.MaxValue));
        bool timestamps = (record.Options & SpliceOptions.Timestamps) != SpliceOptions.None;
        if (timestamps)
        {
            spec.HasTimestamps = true;
            spec.TsVal = TcpSeq.Max(new TcpSeq(handshake.ClientTsVal), new TcpSeq(splices.Entry(record.ToServer).TsVal)).Value + record.Dc;
            spec.TsEcr = TcpSeq.Max(new TcpSeq(record.TsFirst), new TcpSeq(fromServer.TsVal)).Value;
        }
        int mss = Math.Min(record.MssServer, record.MssClient) - (timestamps ? TimestampOptionLength : 0);
        host.Send(FlowDirection.ToServer, ref spec, table.Buffers.WithPrefix(handshake.Buffer, handshake.Prefix, bytes - handshake.Prefix), mss);
    }

    // What the client has acknowledged of the server's bytes, in S space.
    private TcpSeq AckedByClient(in SpliceRecord record) => new TcpSeq(splices.Entry(record.ToServer).AckSeen) - record.Y;

    private SpliceRecord BuildRecord(Handshake handshake, in BackendTerms terms)
    {
        PoolProfile profile = host.ProfileOf(handshake.Service);
        // The newest TSval that the client can have seen of us (any box): what it echoes, what we sent, the time now.
        TcpSeq shown = new((uint)host.WallMs);
        if (handshake.Timestamps) shown = TcpSeq.Max(shown, new TcpSeq(handshake.ClientTsEcr));
        if (handshake.Acked > 0) shown = TcpSeq.Max(shown, new TcpSeq(handshake.SentTsVal));
        bool floor = terms.Timestamps || handshake.Prefix > 0 || handshake.Acked > 0;
        SpliceRecord record = new()
        {
            Id = handshake.RecordId,
            Version = 1,
            Client = handshake.ClientKey.Source,
            Virtual = handshake.ClientKey.Destination,
            Source = handshake.ClientKey.Source,
            Real = handshake.Real.Address,
            ClientPort = handshake.ClientKey.SourcePort,
            VirtualPort = handshake.ClientKey.DestinationPort,
            SourcePort = handshake.ClientKey.SourcePort,
            RealPort = handshake.Real.Port,
            Service = handshake.Service.Id,
            Pool = handshake.Pool!.Id,
            PoolVersion = handshake.Pool.Version,
            Origin = host.Node,
            State = SpliceState.Established,
            Options = OptionsOf(handshake, terms, profile),
            A = handshake.A.Value,
            B = handshake.B.Value,
            C = handshake.C.Value,
            D = terms.D.Value,
            X = handshake.C.Value + (uint)handshake.Prefix - handshake.A.Value,
            Y = handshake.B.Value - terms.D.Value,
            Ds = shown.Value - terms.TsFirst,
            Dc = 0,
            TsFirst = terms.TsFirst,
            AckFloor = (handshake.A + 1u + (uint)handshake.Acked).Value,
            P = (ushort)handshake.Prefix,
            MssClient = handshake.Agreed.Mss(!handshake.ClientKey.Source.IsV4),
            MssServer = terms.Mss,
            ScaleClient = handshake.Agreed.Scale,
            ScaleServer = terms.Scale,
            ScaleOursClient = profile.WindowScale == PoolProfile.NoScale ? (byte)0 : profile.WindowScale,
            ScaleOursServer = handshake.Agreed.Scale,
            FloorOpen = floor ? (byte)1 : (byte)0,
        };
        int old = splices.Find(handshake.ClientKey);
        if (old >= 0) record.Generation = (byte)(splices.Record(splices.Entry(old).Record).Generation + 1);
        return record;
    }

    private static SpliceOptions OptionsOf(Handshake handshake, in BackendTerms terms, in PoolProfile profile)
    {
        SpliceOptions options = SpliceOptions.None;
        if (handshake.Agreed.Sack) options |= SpliceOptions.SackClient;
        if (terms.Sack) options |= SpliceOptions.SackServer;
        if (terms.Timestamps) options |= SpliceOptions.Timestamps;
        if (terms.Ecn) options |= SpliceOptions.Ecn;
        if (handshake.Agreed.HasScale && profile.WindowScale != PoolProfile.NoScale) options |= SpliceOptions.ScaleClient;
        if (terms.HasScale) options |= SpliceOptions.ScaleServer;
        if (handshake.Service.Acked) options |= SpliceOptions.Acked;
        return options;
    }

    private void PublishRecord(Handshake handshake, int index, bool wantsConfirm)
    {
        SpliceEvent message = new() { Kind = SpliceEventKind.Changed, WantsConfirm = wantsConfirm, Ticket = handshake.Ticket, Record = splices.Record(index) };
        message.Progress = splices.ProgressOf(index);
        host.Publish(message);
    }

    private void PublishRemoved(ulong id)
    {
        SpliceEvent message = new() { Kind = SpliceEventKind.Removed };
        message.Record.Id = id;
        host.Publish(message);
    }

    private void Fail(Handshake handshake, in BackendTerms terms, DropReason reason)
    {
        host.Statistics.Drop(reason);
        host.Statistics[Counter.ResetsSent]++;
        TcpSegmentSpec toServer = BackendConnector.ToServer(handshake, handshake.C + 1u, terms.D + 1u, TcpFlags.Rst | TcpFlags.Ack, 0);
        host.Send(FlowDirection.ToServer, ref toServer, default, 0);
        TcpSegmentSpec toClient = ClientHandshaker.ToClient(handshake.ClientKey, handshake.B + 1u, handshake.A + 1u, TcpFlags.Rst | TcpFlags.Ack, 0);
        host.Send(FlowDirection.ToClient, ref toClient, default, 0);
        ClientHandshaker.TakeOfferBack(host, handshake);
        table.End(handshake);
    }
}
