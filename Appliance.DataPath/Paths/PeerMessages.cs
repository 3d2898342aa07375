using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// What peers' words do to a box: records go straight into its tables, confirmations release
/// what waits for them, choices and owned bytes are kept for the case that their owner dies (SPLICE 3, 4.2, 5).
/// </summary>
public sealed class PeerMessages
{
    private const int ChoiceSlots = 4096, DutySlots = 4096;

    private readonly Box _box;
    private readonly MacAddress[] _macs;
    private readonly HashSet<MacAddress>[] _peers = [[], []];
    private readonly (ulong Id, byte Attempt)[] _choices = new (ulong, byte)[ChoiceSlots];
    private readonly (ulong Id, int Record)[] _duties = new (ulong, int)[DutySlots];
    private readonly PeerNews _news;
    private int _nextDuty;

    /// <summary>Knows the MACs of all configured nodes.</summary>
    public PeerMessages(Box box)
    {
        _box = box;
        _news = new PeerNews(box);
        string[] nodes = box.Config.Nodes;
        _macs = new MacAddress[nodes.Length * 8];
        for (int node = 0; node < nodes.Length; node++)
        {
            for (int i = 0; i < 8; i++)
            {
                MacAddress mac = BoxLink.MacOf(nodes[node], (LinkRole)(i >> 2), (FrameMark)(i & 3));
                _macs[node * 8 + i] = mac;
                if (node != box.Config.Self) _peers[i >> 2].Add(mac);
            }
        }
    }

    /// <summary>A node's MAC.</summary>
    public MacAddress MacOf(byte node, LinkRole role, FrameMark mark) => _macs[node * 8 + (int)role * 4 + (int)mark];

    /// <summary>True if another box sent a frame with this source MAC.</summary>
    public bool IsPeer(LinkRole role, MacAddress source) => _peers[(int)role].Contains(source);

    /// <summary>Attempt that a peer announced for a record id, or -1.</summary>
    public int AnnouncedAttempt(ulong id) => _choices[id % ChoiceSlots] is var choice && choice.Id == id ? choice.Attempt : -1;

    /// <summary>Carries out a peer's word.</summary>
    public void On(in SpliceCommand command)
    {
        switch (command.Kind)
        {
            case SpliceCommandKind.Import:
                Import(command);
                break;
            case SpliceCommandKind.Progress:
                int known = _box.Splices.FindRecord(command.Record.Id);
                if (known >= 0) TakeProgress(known, command.Progress);
                if (known >= 0) _news.Note(command.Node, command.Record.Id, 0);
                break;
            case SpliceCommandKind.Remove:
                int gone = _box.Splices.FindRecord(command.Record.Id);
                if (gone >= 0) _box.Splices.Remove(gone);
                break;
            case SpliceCommandKind.Confirmed:
                OnConfirmed(command);
                break;
            case SpliceCommandKind.Choice:
                _choices[command.Record.Id % ChoiceSlots] = (command.Record.Id, command.Attempt);
                break;
            case SpliceCommandKind.OwnedBytes:
                OnOwnedBytes(command);
                break;
            case SpliceCommandKind.NodeJoins:
                _news.OnJoins();
                break;
            case SpliceCommandKind.QueryDone when _box.Handshakes.Find(command.Ticket) is { } asking:
                asking.AnnouncedAttempt = AnnouncedAttempt(asking.RecordId);
                _box.Backends.OnQueryDone(asking);
                break;
        }
    }

    /// <summary>No other box lives: nothing that waits for a confirmation will get one.</summary>
    public void OnAlone()
    {
        for (int i = 0; i < _box.Config.Handshakes; i++)
        {
            Handshake handshake = _box.Handshakes[i];
            if (handshake.State == HandshakeState.Confirming) _box.Joiner.OnTimer(handshake);
        }
    }

    /// <summary>When it wants to run again, ns.</summary>
    public long NextDeadline => _news.NextDeadline;

    /// <summary>A node died: what it said last may not have come to all.</summary>
    public void OnNodeDied(byte node) => _news.OnDied(node);

    /// <summary>Passes on what a dead node said, as replication has room.</summary>
    public void Advance() => _news.Advance();

    /// <summary>Peers counted this box as dead while it was away.</summary>
    public void OnCountedDead()
    {
        for (int i = 0; i < _box.Config.Handshakes; i++) _box.Backends.Withdraw(_box.Handshakes[i]);
    }

    /// <summary>Owners changed, or somebody died: bytes that a dead node still had to deliver are the present owner's to deliver.</summary>
    public void OnMembership()
    {
        foreach ((ulong id, int index) in _duties)
        {
            if (id != 0 && _box.Splices.IsLive(index) && _box.Splices.Record(index).Id == id) TakeDuty(index);
        }
    }

    private void Import(in SpliceCommand command)
    {
        SpliceRecord record = command.Record;
        record.Imported = 1;
        int hopServer = _box.NextHop(FlowDirection.ToServer, record.Real);
        int hopClient = _box.NextHop(FlowDirection.ToClient, record.Client);
        if (hopServer < 0 || hopClient < 0)
        {
            _box.Statistics.Drop(DropReason.NoRoute);
            return;
        }
        InstallResult result = _box.Splices.Install(record, (ushort)hopServer, (ushort)hopClient, _box.Now, out int index, out _);
        if (result == InstallResult.Conflict)
        {
            if (!GivesWay(command, index)) return;
            bool own = _box.Splices.Record(index).Origin == _box.Config.Self;
            _box.Splices.Remove(index);
            result = _box.Splices.Install(record, (ushort)hopServer, (ushort)hopClient, _box.Now, out index, out _);
            if (own) _box.Publish(new SpliceEvent { Kind = SpliceEventKind.Changed, Record = record, Progress = command.Progress });
        }
        if (result is InstallResult.Full or InstallResult.Occupied)
        {
            if (result == InstallResult.Full || record.State < SpliceState.TimeWait) _box.Statistics.Drop(DropReason.TableFull);
            else EndRepeated(record);
            return;
        }
        _news.Note(command.Node, record.Id, 0);
        if (result == InstallResult.Installed)
        {
            _box.Statistics[Counter.SplicesImported]++;
            if (OwesBytes(record)) _duties[_nextDuty++ % DutySlots] = (record.Id, index);
        }
        TakeProgress(index, command.Progress);
        if (result != InstallResult.Stale && record.State >= SpliceState.TimeWait) _box.Closes.OnImported(index);
        Settle(index);
        if (OwesBytes(_box.Splices.Record(index))) TakeDuty(index);
    }

    // Two boxes that did not hear of each other have joined the same client to two backends; whoever holds the other record says so
    // before it acknowledges (RecordBridge). A request that has not left gives way to one that may have; else the lower node's goes
    // first, so that all end with the same; and a copy goes with its maker.
    private bool GivesWay(in SpliceCommand command, int index)
    {
        ref SpliceRecord held = ref _box.Splices.Record(index);
        bool own = held.Origin == _box.Config.Self;
        bool first = command.Record.Origin < held.Origin;
        bool theyWait = (command.Record.Options & SpliceOptions.Held) != SpliceOptions.None;
        bool weWait = (held.Options & SpliceOptions.Held) != SpliceOptions.None;
        bool theirs = command.Node != command.Record.Origin ? first || weWait : theyWait == weWait ? first : weWait;
        if (own ? !theirs : command.Node != held.Origin) return false;
        _box.Statistics[Counter.JoinsWithdrawn]++;
        switch (_box.Handshakes.Find(SpliceTable.KeyToServer(held)))
        {
            case { State: HandshakeState.Confirming } waits:
                // As if its backend had not answered yet: what was collected goes to the other one.
                (waits.State, waits.Record) = (HandshakeState.BackendSyn, -1);
                break;
            case { State: HandshakeState.Delivering } delivers:
                _box.Handshakes.End(delivers);
                break;
        }
        return true;
    }

    // It has ended, though there is no place for its record: a handshake that repeats it must not bring its request to a backend again.
    private void EndRepeated(in SpliceRecord ended)
    {
        if (_box.Handshakes.Find(SpliceTable.KeyToServer(ended)) is not { } handshake || handshake.RecordId != ended.Id) return;
        if (handshake.State is HandshakeState.Confirming or HandshakeState.Delivering or HandshakeState.Closing) return;
        _box.Backends.Yield(handshake, ended);
        _box.Handshakes.End(handshake);
    }

    private static bool OwesBytes(in SpliceRecord record) => record.FloorOpen != 0 && (record.P > 0 || record.AckFloor != record.A + 1);

    private void TakeProgress(int index, in SpliceProgress progress)
    {
        _box.Splices.Merge(index, progress, _box.Now);
        if (progress.ToServer.FinSeen + progress.ToClient.FinSeen > 0) _box.Closes.Follow(index);
        if (_box.Splices.Record(index).FloorOpen != 0) _box.CheckFloor(index);
    }

    // A handshake of the same connection here is overtaken by the record.
    private void Settle(int index)
    {
        ref SpliceRecord record = ref _box.Splices.Record(index);
        Handshake? handshake = _box.Handshakes.Find(SpliceTable.KeyToServer(record));
        if (handshake is null || handshake.A.Value != record.A || handshake.B.Value != record.B) return;
        if (handshake.State == HandshakeState.Shadow)
        {
            if (record.FloorOpen == 0) _box.Handshakes.End(handshake);
        }
        else if (handshake.State is HandshakeState.Head or HandshakeState.BackendSyn or HandshakeState.BackendData)
        {
            _box.Backends.Yield(handshake, record);
            if (handshake.HasBytes) _box.Joiner.Adopt(handshake, index);
            else _box.Handshakes.End(handshake);
        }
    }

    private void OnConfirmed(in SpliceCommand command)
    {
        if (_box.Handshakes.Find(command.Ticket) is not { } handshake) return;
        if (command.Offset > 0) _box.Client.OnOwnedConfirmed(handshake, command.Offset);
        else _box.Joiner.OnConfirmed(handshake);
    }

    private void OnOwnedBytes(in SpliceCommand command)
    {
        FlowKey key = SpliceTable.KeyToServer(command.Record);
        Handshake? handshake = _box.Handshakes.Find(key);
        TcpSeq a = new(command.Record.A), b = new(command.Record.B);
        if (command.Length == 0)
        {
            // Whoever has woken goes on; the client will tell.
            if (handshake is { State: HandshakeState.Shadow } && handshake.A == a && handshake.B == b) _box.Handshakes.End(handshake);
            return;
        }
        if (handshake is null)
        {
            if (_box.Services.Find(key.Destination, key.DestinationPort) is not { } service) return;
            // Half of the room is for this box's own: whoever opens and drops connections elsewhere must not close the door here.
            if (_box.Handshakes.Count * 2 >= _box.Config.Handshakes)
            {
                _box.Statistics.Drop(DropReason.HeadBuffersExhausted);
                return;
            }
            handshake = _box.Handshakes.Begin(key, service, CookieOptions.Unpack(command.CookieOptions), a, b, _box.Now, out DropReason reason);
            if (handshake is null)
            {
                _box.Statistics.Drop(reason);
                return;
            }
            handshake.State = HandshakeState.Shadow;
            handshake.TakenOver = true;
            _box.Handshakes.Schedule(handshake, _box.Now + BackendConnector.ShadowNs);
        }
        if (handshake.A != a || handshake.B != b) return;
        _box.Client.OnOwnedBytes(handshake, command.Offset, MemoryNative.Span(command.Bytes, command.Length));
        _news.Note(command.Node, handshake.RecordId, handshake.Ticket);
        int record = _box.Splices.FindRecord(handshake.RecordId);
        if (record >= 0 && OwesBytes(_box.Splices.Record(record))) TakeDuty(record);
    }

    private void TakeDuty(int index)
    {
        ref SpliceRecord record = ref _box.Splices.Record(index);
        // Whoever began the delivery goes on with it; this box too, unless it has been restarted since.
        bool alive = record.Origin != _box.Config.Self && (_box.Membership.Current is not { } slot || (slot.Live >> record.Origin & 1) != 0);
        if (alive || record.FloorOpen == 0 || _box.OwnerOf(_box.OwnerHash(record.Client, record.ClientPort)) != _box.Config.Self) return;
        if (_box.Services.Find(record.Virtual, record.VirtualPort) is not { } service) return;
        FlowKey key = SpliceTable.KeyToServer(record);
        Handshake? handshake = _box.Handshakes.Find(key);
        if (handshake is not null and not { State: HandshakeState.Shadow }) return;
        if (handshake is null && record.AckFloor != record.A + 1) return;
        handshake ??= _box.Handshakes.Begin(key, service, default, new TcpSeq(record.A), new TcpSeq(record.B), _box.Now, out _);
        if (handshake is null || handshake.A.Value != record.A) return;
        _box.Statistics[Counter.HandshakesTakenOver]++;
        _box.Joiner.TakeOverDelivery(handshake, index);
    }
}
