using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// The way out of one worker: puts MACs on frames, resolves next hops, writes segments of our
/// own into scratch memory, and lends everything to the ports until the end of the cycle.
/// </summary>
public sealed class Egress : IDisposable
{
    private const int ScratchBytes = 8 << 20, ScratchAlign = 64;

    private readonly FramePort[] _ports;
    private readonly BoxLink[] _links;
    private readonly nint _scratch;
    private int _scratchUsed;

    /// <summary>Ports and links by <see cref="LinkRole"/> (external, internal).</summary>
    public Egress(FramePort[] ports, BoxLink[] links, NeighborTable neighbors, Statistics statistics)
    {
        _ports = ports;
        _links = links;
        Neighbors = neighbors;
        Statistics = statistics;
        _scratch = MemoryNative.Reserve(ScratchBytes);
    }

    /// <summary>Next hops.</summary>
    public NeighborTable Neighbors { get; }

    /// <summary>Counters.</summary>
    public Statistics Statistics { get; }

    /// <summary>Worker's clock, set once per cycle.</summary>
    public long Now { get; set; }

    /// <summary>The link with this role.</summary>
    public BoxLink Link(LinkRole role) => _links[(int)role];

    /// <summary>The port on the link with this role.</summary>
    public FramePort Port(LinkRole role) => _ports[(int)role];

    /// <summary>Keeps places in the table of next hops for the gateways and <paramref name="reals"/>, whoever else asks for some.</summary>
    public void Reserve(ReadOnlySpan<(IpAddr Address, ushort Port)> reals)
    {
        foreach (BoxLink link in _links)
        {
            Pin(link.Role, link.Gateway4);
            Pin(link.Role, link.Gateway6);
        }
        foreach ((IpAddr address, _) in reals) Pin(LinkRole.Internal, _links[(int)LinkRole.Internal].NextHop(address));
    }

    /// <summary>Memory for a frame of our own, valid until the end of the cycle.</summary>
    public FrameRef Scratch(int bytes)
    {
        int size = (bytes + ScratchAlign - 1) & -ScratchAlign;
        if (_scratchUsed + size > ScratchBytes) Flush();
        FrameRef frame = new() { Address = _scratch + _scratchUsed, Length = bytes };
        _scratchUsed += size;
        return frame;
    }

    /// <summary>Hands everything to the ports' kernel side; scratch memory is free again.</summary>
    public void Flush()
    {
        foreach (FramePort port in _ports) port.Flush();
        _scratchUsed = 0;
    }

    /// <summary>Sends a frame to a MAC on a link, from the box's own MAC.</summary>
    public bool SendTo(LinkRole role, MacAddress destination, in FrameRef frame)
    {
        Span<byte> bytes = frame.Bytes;
        destination.Write(bytes);
        _links[(int)role].OwnMac.Write(bytes[6..]);
        return SendAsIs(role, frame);
    }

    /// <summary>Sends a frame whose Ethernet header is complete.</summary>
    public bool SendAsIs(LinkRole role, in FrameRef frame)
    {
        FramePort port = _ports[(int)role];
        if (!port.Send(frame))
        {
            Statistics.Drop(DropReason.TransmitQueueFull);
            return false;
        }
        Statistics[Counter.Transmitted]++;
        Statistics[Counter.TransmittedBytes] += frame.Length;
        return true;
    }

    /// <summary>Sends a frame to a next hop; while its MAC is not known, the frame waits in a bounded queue.</summary>
    public bool SendToHop(int hop, in FrameRef frame)
    {
        if (Neighbors.TryGetMac((ushort)hop, out MacAddress mac, out byte link)) return SendTo((LinkRole)link, mac, frame);
        NeighborVerdict verdict = Neighbors.Enqueue((ushort)hop, frame.Bytes, frame.Vnet, Now, out NeighborAction action);
        Act(action);
        switch (verdict)
        {
            case NeighborVerdict.Resolved:
                return SendToHop(hop, frame);
            case NeighborVerdict.QueueFull:
                Statistics.Drop(DropReason.NeighborQueueFull);
                return false;
            case NeighborVerdict.Unresolved:
                Statistics.Drop(DropReason.NeighborUnresolved);
                return false;
            default:
                return true;
        }
    }

    /// <summary>Index of the next hop for a destination on a link, or -1.</summary>
    public int HopTo(LinkRole role, IpAddr destination)
    {
        IpAddr hop = _links[(int)role].NextHop(destination);
        ushort index = hop.IsNone ? (ushort)0 : Neighbors.Resolve((byte)role, hop);
        if (index == 0) return -1;
        if (!Neighbors.TryGetMac(index, out _, out _)) Act(Neighbors.Solicit(index, Now));
        return index;
    }

    /// <summary>Writes and sends TCP segments of our own: one frame, or a run that is cut here or by the port.</summary>
    public bool SendTcp(LinkRole role, int hop, ref TcpSegmentSpec spec, ReadOnlySpan<byte> payload, int segmentSize)
    {
        FramePort port = _ports[(int)role];
        if (payload.Length <= segmentSize || segmentSize <= 0) return SendSegment(hop, spec, payload);
        const int mostPerFrame = 60000;
        bool sent = true;
        TcpFlags last = spec.Flags;
        while (!payload.IsEmpty)
        {
            int most = port.Offloads ? mostPerFrame / segmentSize * segmentSize : segmentSize;
            int take = Math.Min(payload.Length, Math.Max(most, segmentSize));
            spec.Flags = take == payload.Length ? last : last & ~(TcpFlags.Fin | TcpFlags.Psh);
            sent &= take > segmentSize ? SendSuperFrame(hop, spec, payload[..take], segmentSize) : SendSegment(hop, spec, payload[..take]);
            payload = payload[take..];
            spec.Seq += (uint)take;
        }
        return sent;
    }

    /// <summary>Notes a neighbour's answer (or unasked word) and sends what waited for it.</summary>
    public void Learn(LinkRole role, IpAddr address, MacAddress mac, bool solicited, bool overrides)
    {
        ushort hop = Neighbors.Learn((byte)role, address, mac, solicited, overrides, Now);
        if (hop == 0) return;
        while (Neighbors.TryDequeue(hop, out FrameRef waiting, out int slot))
        {
            FrameRef copy = Scratch(waiting.Length);
            waiting.Bytes.CopyTo(copy.Bytes);
            copy.Vnet = waiting.Vnet;
            Neighbors.Release(slot);
            SendToHop(hop, copy);
        }
    }

    /// <summary>Sends the questions about neighbours that are due.</summary>
    public void PollNeighbors()
    {
        if (Neighbors.NextDeadline() > Now) return;
        Span<NeighborAction> actions = stackalloc NeighborAction[16];
        int count = Neighbors.Poll(Now, actions);
        for (int i = 0; i < count; i++) Act(actions[i]);
    }

    private void Pin(LinkRole role, IpAddr hop)
    {
        if (!hop.IsNone) Neighbors.Pin((byte)role, hop);
    }

    private void Act(in NeighborAction action)
    {
        if (action.Kind == NeighborActionKind.None) return;
        BoxLink link = _links[action.Link];
        IpAddr own = action.Address.IsV4 ? link.Address4 : link.Address6;
        if (own.IsNone) return;
        FrameRef frame = Scratch(128);
        frame.Length = action.Address.IsV4
            ? NeighborWriter.WriteArpRequest(frame.Bytes, link.OwnMac, own, action.Address, action.Mac)
            : NeighborWriter.WriteSolicitation(frame.Bytes, link.OwnMac, own, action.Address, action.Mac);
        Statistics[Counter.NeighborRequests]++;
        SendAsIs((LinkRole)action.Link, frame);
    }

    /// <inheritdoc/>
    public void Dispose() => MemoryNative.Unreserve(_scratch, ScratchBytes);

    private bool SendSegment(int hop, in TcpSegmentSpec spec, ReadOnlySpan<byte> payload)
    {
        FrameRef frame = Scratch(FrameWriter.MaxHeaders + payload.Length);
        frame.Length = FrameWriter.WriteTcp(frame.Bytes, spec, payload);
        return frame.Length > 0 && SendToHop(hop, frame);
    }

    private bool SendSuperFrame(int hop, in TcpSegmentSpec spec, ReadOnlySpan<byte> payload, int segmentSize)
    {
        FrameRef frame = Scratch(FrameWriter.MaxHeaders + payload.Length);
        frame.Length = FrameWriter.WriteTcpPartial(frame.Bytes, spec, payload, (ushort)segmentSize, out VnetHeader vnet);
        frame.Vnet = vnet;
        return frame.Length > 0 && SendToHop(hop, frame);
    }
}
