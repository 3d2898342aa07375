using Appliance.Control.Failover;
using Appliance.Control.Replication;
using Appliance.Control.Sealing;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.State;
using Membership = Appliance.DataPath.Paths.Membership;

namespace Appliance.Control.Runtime;

/// <summary>
/// Turns what liveness reports into what the workers and replication must know: a membership
/// (owner table built here, swapped by each worker) before the death that it follows from, the
/// set of boxes that replication waits for, verdicts after a pause. I/O-free; one thread.
/// </summary>
public sealed class LivenessBridge(LivenessCore core, byte self, Membership[] memberships, SpscQueue<SpliceCommand>[] toWorkers)
{
    private readonly byte[] _factors = new byte[NodeIds.Max];
    private ulong _usable, _live, _linked, _died, _cutOff, _table;
    private uint _version;
    private bool _dirty;

    /// <summary>For a box with one worker.</summary>
    public LivenessBridge(LivenessCore core, byte self, Membership membership, SpscQueue<SpliceCommand> toWorker)
        : this(core, self, [membership], [toWorker])
    {
    }

    /// <summary>Peers that live, as last told; replication's <see cref="Replicator.SetLive"/> is the caller's to call.</summary>
    public ulong LivePeers => core.Alive;

    /// <summary>Called for every report, after the bridge has acted on it.</summary>
    public Action<LivenessEvent>? Reported { get; set; }

    /// <summary>True if a command was posted since the caller cleared it: wake the workers.</summary>
    public bool MustWake { get; set; }

    /// <summary>Takes all reports, and posts what follows from them as far as the workers have room. Call after each step of the core.</summary>
    public void Pump()
    {
        while (core.TryTake(out LivenessEvent report))
        {
            switch (report.Kind)
            {
                case LivenessEventKind.NodeDied:
                    _died |= 1ul << report.Node;
                    _dirty = true;
                    break;
                case LivenessEventKind.NodeUp:
                case LivenessEventKind.LinkUsable:
                case LivenessEventKind.LinkUnusable:
                case LivenessEventKind.MembershipChanged:
                    _dirty = true;
                    break;
                case LivenessEventKind.PauseResolved:
                    Post(new SpliceCommand { Kind = SpliceCommandKind.PauseVerdict, Node = (byte)report.Value });
                    break;
            }
            Reported?.Invoke(report);
        }
        if (_dirty) PostMembership();
    }

    /// <summary>Takes the workload factors of the latest beats over; now and then is enough.</summary>
    public void UpdateFactors()
    {
        for (byte node = 0; node < NodeIds.Max; node++) _factors[node] = node == self ? OwnFactor : FactorOf(node);
        memberships[0].SetFactors(_factors);
    }

    /// <summary>For when nothing is to be done: one of the owner tables that a proxy's death would ask for is built now, if one is missing. A millisecond or two.</summary>
    public void BuildAhead() => memberships[0].Tables.BuildAhead(_usable);

    /// <summary>This box's own workload factor (1..255).</summary>
    public byte OwnFactor { get; set; } = 255;

    private void PostMembership()
    {
        ulong live = core.Alive | (1ul << self);
        ulong linked = core.UsableOn(Links.External) & core.UsableOn(Links.Internal);
        // It lives, but what it was handed stays with it, or never arrived. One that leaves on its own goes on forwarding.
        _cutOff |= _table & ~core.Table & live & ~linked & ~(1ul << self);
        _table = core.Table;
        if (core.Table != _usable || live != _live || linked != _linked || (uint)core.TableVersion != _version)
        {
            MembershipSlot? slot = Prepare(memberships, out byte number);
            // Some worker has not taken the last one yet: again at the next call.
            if (slot is null) return;
            slot.Use(core.Table);
            slot.Live = live;
            slot.Linked = linked;
            slot.Version = (uint)core.TableVersion;
            UpdateFactors();
            _factors.CopyTo(slot.Factors, 0);
            (_usable, _live, _linked, _version) = (slot.Usable, live, linked, slot.Version);
            foreach (Membership membership in memberships) membership.Posted(number);
            Post(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
        }
        _cutOff &= ~_died;
        PostEach(SpliceCommandKind.NodeDied, ref _died);
        PostEach(SpliceCommandKind.NodeCutOff, ref _cutOff);
        _dirty = false;
    }

    private void PostEach(SpliceCommandKind kind, ref ulong nodes)
    {
        foreach (byte node in new NodeSet(nodes)) Post(new SpliceCommand { Kind = kind, Node = node, Ticket = (ulong)core.Peer(node)!.SoundUntil });
        nodes = 0;
    }

    /// <summary>The slot to fill in for workers that share their slots; null while one of them has not taken the last.</summary>
    public static MembershipSlot? Prepare(Membership[] memberships, out byte number)
    {
        number = 0;
        foreach (Membership membership in memberships)
        {
            if (!membership.IsTaken) return null;
        }
        return memberships[0].Prepare(out number);
    }

    private byte FactorOf(byte node) => core.Peer(node) is { } peer ? (byte)Math.Clamp(peer.Last.Workload >> 8, 1, 255) : (byte)255;

    private void Post(in SpliceCommand command)
    {
        foreach (SpscQueue<SpliceCommand> queue in toWorkers) queue.TryEnqueue(command);
        MustWake = true;
    }
}
