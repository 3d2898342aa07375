namespace Appliance.DataPath.Port;

/// <summary>How frames come from the kernel; see README.md for what was measured.</summary>
public enum ReceiveMode
{
    /// <summary>A TPACKET_V2 ring shared with the kernel: no system call while frames wait.</summary>
    Ring,

    /// <summary>recvmmsg into buffers of our own: the copy is made by the worker, not by the sender's core.</summary>
    Messages,
}

/// <summary>One worker's share of a port that several workers read.</summary>
/// <param name="Group">Fanout group number (0..16383): the same for all workers of the port, different for every port of the network namespace.</param>
/// <param name="Count">Number of workers.</param>
/// <param name="Side">Where the client's address stands in what this port receives.</param>
public sealed record FanoutOptions(int Group, int Count, ClientSide Side)
{
    /// <summary>Added to the number for the sockets that receive SYNs.</summary>
    internal const int SynGroups = 0x8000;

    /// <summary>In the number of a group that follows another, which its sockets on an interface that is gone may still hold.</summary>
    internal const int Alternate = 0x4000;
}

/// <summary>How to open an <see cref="AfPacketPort"/>.</summary>
public sealed record AfPacketOptions
{
    /// <summary>How frames are received.</summary>
    public ReceiveMode Receive { get; init; } = ReceiveMode.Messages;

    /// <summary>Messages: bytes of frames that may wait; the kernel counts its own overhead of each against twice as many. Used only while frames wait.</summary>
    public int ReceiveBuffer { get; init; } = 64 << 20;

    /// <summary>Ring: receive slots of 69,632 B; rounded up to whole blocks of 15. Memory is committed in full by the kernel.</summary>
    public int ReceiveSlots { get; init; } = 480;

    /// <summary>TCP SYNs come through a small ring of their own, before what waits: see <see cref="FrameShare"/>.</summary>
    public bool SynsFirst { get; init; } = true;

    /// <summary>Frames handed to the kernel by one call.</summary>
    public int SendBatch { get; init; } = 64;

    /// <summary>Socket send buffer in bytes: bounds what waits in the interface's queue.</summary>
    public int SendBuffer { get; init; } = 16 << 20;

    /// <summary>Puts the interface into promiscuous mode, for drivers that do not honour unicast memberships.</summary>
    public bool Promiscuous { get; init; }

    /// <summary>Sends past the queueing discipline. Then nothing segments a super-frame in software (the kernel drops it), nothing shapes, and a full driver queue drops at once.</summary>
    public bool BypassQdisc { get; init; }

    /// <summary>Set if several workers share the interface; they must open their ports in the order of their numbers, on every interface the same.</summary>
    public FanoutOptions? Fanout { get; init; }

    /// <summary>The same for an interface that takes the place of another.</summary>
    internal AfPacketOptions ForNextGroup() => this with { Fanout = Fanout is { } f ? f with { Group = f.Group ^ FanoutOptions.Alternate } : null };

    /// <summary>The same for the port's second socket: a group of its own, and the first sees to promiscuous mode.</summary>
    internal AfPacketOptions ForSyns() => this with { Promiscuous = false, Fanout = Fanout is { } f ? f with { Group = f.Group | FanoutOptions.SynGroups } : null };
}
