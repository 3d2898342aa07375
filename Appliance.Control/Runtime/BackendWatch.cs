using Appliance.DataPath.Splice;

namespace Appliance.Control.Runtime;

/// <summary>
/// Reports when a backend begins to rest and when it answers again, each once however many trials lie between: the
/// packet path only counts, and a control thread looks. A backend that returned and fell ill again between two
/// looks is reported as ill once more; which box's connections found out does not matter, each box reports its own.
/// </summary>
public sealed class BackendWatch(RealHealth health, EngineEventRing report)
{
    private readonly int[] _rests = new int[health.Count];
    private readonly bool[] _ill = new bool[health.Count];

    /// <summary>Reports what changed since the last call; one thread at a time. Allocates nothing.</summary>
    public void Look()
    {
        for (int real = 0; real < _rests.Length; real++)
        {
            (int rests, bool isIll, bool wasSilent) = health.Look(real);
            if (rests != _rests[real])
            {
                _rests[real] = rests;
                _ill[real] = true;
                report.Report(EngineEventKind.BackendRests, cause: wasSilent ? (byte)1 : (byte)0, value: (ulong)real);
            }
            if (!_ill[real] || isIll) continue;
            _ill[real] = false;
            report.Report(EngineEventKind.BackendReturned, value: (ulong)real);
        }
    }
}
