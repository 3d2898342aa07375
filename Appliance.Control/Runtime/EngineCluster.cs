using Appliance.Control.Model;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>The engine's threads of liveness and replication, and what they tell the worker. Without peers: a membership of one.</summary>
public sealed class EngineCluster : IDisposable
{
    private readonly BoxSettings _settings;
    private readonly Membership _membership;
    private readonly WorkerThread _worker;
    private readonly SpscQueue<SpliceCommand> _toWorker;

    public EngineCluster(
        BoxSettings settings, byte[] clusterKey, long incarnation, Box box, Membership membership, WorkerThread worker,
        SpscQueue<SpliceEvent> events, SpscQueue<SpliceCommand> fromReplication, SpscQueue<SpliceCommand> fromLiveness,
        EngineStatus status, EngineEventRing report, Quiescence quiescence)
    {
        _settings = settings;
        _membership = membership;
        _worker = worker;
        _toWorker = fromLiveness;
    }

    public void Start()
    {
    }

    public void BackendsKnown()
    {
        MembershipSlot slot = _membership.Prepare(out byte number)!;
        slot.Usable = _settings.IsProxy ? 1ul << _settings.Node : 0;
        slot.Live = 1ul << _settings.Node;
        slot.Table.Rebuild(slot.Usable);
        _membership.Posted(number);
        _toWorker.TryEnqueue(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
        _worker.Wake();
    }

    public void WakeReplication()
    {
    }

    public void Leave(TimeSpan grace) => Thread.Sleep(grace);

    public void Dispose()
    {
    }
}
