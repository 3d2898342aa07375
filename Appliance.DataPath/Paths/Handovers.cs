using System.Runtime.InteropServices;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>What goes with a frame from one worker to another.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct Handover
{
    /// <summary>What the kernel said about it.</summary>
    public VnetHeader Vnet;

    /// <summary>The link that it came over, and its mark.</summary>
    public LinkRole Role;

    /// <summary>How it came to this box.</summary>
    public FrameMark Mark;

    /// <summary>A neighbour's word: every worker gets a copy, and only the first to see it counts it.</summary>
    public bool IsCopy;

    /// <summary>Not 0: reassembled; the size of its largest fragment, and its identification.</summary>
    public int RefragmentTo;

    /// <summary>See <see cref="RefragmentTo"/>.</summary>
    public uint RefragmentId;
}

/// <summary>
/// One worker's dealings with the others of its box: frames that landed here and are theirs, theirs that landed there,
/// and what every worker must hear. A frame is handed over once: who takes it treats it.
/// </summary>
public sealed class Handovers(Box box)
{
    private const int MostPerWorker = 16;

    private uint _given;

    /// <summary>Gives a frame to the worker whose it is; copied, so the caller's memory is free.</summary>
    public DropReason Give(int worker, in Handover how, in FrameRef frame)
    {
        if (!TryGive(worker, how, frame)) return DropReason.HandoverFull;
        box.Statistics[Counter.HandedOver]++;
        return DropReason.None;
    }

    /// <summary>Gives copies of a neighbour's word to all: each worker has next hops of its own, and an answer reaches one of them.</summary>
    public void GiveToAll(LinkRole role, in FrameRef frame)
    {
        Handover copy = new() { Role = role, Vnet = frame.Vnet, IsCopy = true };
        for (int worker = 0; worker < box.Group.Count; worker++)
        {
            if (worker != box.Worker && !TryGive(worker, copy, frame)) box.Statistics.Drop(DropReason.HandoverFull);
        }
    }

    /// <summary>Treats frames of this worker that landed on others; returns how many. Bounded.</summary>
    public int Take()
    {
        int taken = 0;
        for (int from = 0; from < box.Group.Count; from++)
        {
            if (from == box.Worker) continue;
            for (int i = 0; i < MostPerWorker && box.Group.TryTake(from, box.Worker, box.Egress.Scratch(WorkerGroup.MaxRecord), out Handover how, out FrameRef frame); i++, taken++)
            {
                DropReason reason = how.RefragmentTo > 0 ? box.Proxy.ProcessAssembled(how, frame) : box.Walk(how.Role, frame, landed: false);
                if (reason != DropReason.None && !how.IsCopy) box.Statistics.Drop(reason);
            }
        }
        return taken;
    }

    /// <summary>Wakes those that were given something in this cycle.</summary>
    public void Wake()
    {
        if (_given == 0) return;
        box.Group.Wake(_given);
        _given = 0;
    }

    private bool TryGive(int worker, in Handover how, in FrameRef frame)
    {
        _given |= 1u << worker;
        return box.Group.TryGive(box.Worker, worker, how, frame.Bytes);
    }
}
