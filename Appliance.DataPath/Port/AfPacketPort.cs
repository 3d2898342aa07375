namespace Appliance.DataPath.Port;

/// <summary>
/// A network interface through a raw packet socket with PACKET_VNET_HDR (packet(7)):
/// super-frames of up to 64 KB and partial checksums pass as one unit in both directions. Sees
/// only frames that its <see cref="MacFilter"/> lets in, never what the host itself sends, and takes nothing
/// away from the host. Used by one worker; after opening nothing allocates, waits or throws.
/// Does not set addresses, bring interfaces up, or resolve neighbours.
/// </summary>
public sealed class AfPacketPort : FramePort
{
    // SYNs taken by one receive: whatever their number, what waits behind them advances too.
    private const int MostSyns = 32;

    private readonly Half _main;
    private readonly Half? _syns;
    private readonly PacketSender _sender;
    private readonly int[] _handles;
    private int _mtu;

    private AfPacketPort(LinkInfo link, Half main, Half? syns, int sendBatch)
    {
        Link = link;
        _mtu = link.Mtu;
        _main = main;
        _syns = syns;
        _handles = syns is null ? [main.Socket.Handle] : [main.Socket.Handle, syns.Socket.Handle];
        _sender = new PacketSender(main.Socket.Handle, sendBatch, Counters);
    }

    /// <summary>The interface as it was when the port was opened.</summary>
    public LinkInfo Link { get; }

    /// <inheritdoc/>
    public override string Name => Link.Name;

    /// <inheritdoc/>
    public override int Mtu => _mtu;

    /// <inheritdoc/>
    public override bool Offloads => true;

    /// <inheritdoc/>
    public override IReadOnlyList<int> PollHandles => _handles;

    /// <summary>Opens interface <paramref name="name"/> of the calling thread's network namespace; throws a <see cref="PortException"/> that says what is wrong.</summary>
    public static AfPacketPort Open(string name, MacFilter filter, AfPacketOptions? options = null)
    {
        options ??= new AfPacketOptions();
        LinkInfo link = LinkInfo.Query(name);
        Half? syns = options.SynsFirst ? Half.OpenForSyns(link, filter, options) : null;
        try
        {
            return new AfPacketPort(link, Half.OpenMain(link, filter, options), syns, options.SendBatch);
        }
        catch
        {
            syns?.Dispose();
            throw;
        }
    }

    /// <summary>Changes which frames come in, without a gap for those that stay; false if the kernel refuses a part of it.</summary>
    public bool Accept(MacFilter filter) => _main.Socket.Change(filter) & (_syns is null || _syns.Socket.Change(filter));

    /// <summary>Takes over an MTU that changed while the port was open.</summary>
    public void SetMtu(int mtu) => _mtu = mtu;

    /// <summary>Asks the kernel for the frames it had no room for and adds them to <see cref="PortCounters.ReceiveDrops"/>.</summary>
    public void ReadDrops()
    {
        Counters.ReceiveDrops += _main.Socket.TakeDrops();
        if (_syns is not null) Counters.ReceiveDrops += _syns.Socket.TakeDrops();
    }

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch)
    {
        batch.Clear();
        Release();
        _syns?.Receiver.Receive(batch, MostSyns, Counters);
        _main.Receiver.Receive(batch, batch.Capacity, Counters);
        return batch.Count;
    }

    /// <inheritdoc/>
    public override void Release()
    {
        _syns?.Receiver.Release();
        _main.Receiver.Release();
    }

    /// <inheritdoc/>
    public override bool Send(in FrameRef frame)
    {
        _sender.Add(frame);
        return true;
    }

    /// <inheritdoc/>
    public override void Flush() => _sender.Flush();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        _syns?.Dispose();
        _main.Dispose();
        _sender.Dispose();
    }

    /// <summary>A socket and the way its frames are received.</summary>
    private sealed class Half(AfPacketSocket socket, PacketReceiver receiver) : IDisposable
    {
        // 1 MiB: 4,096 SYNs.
        private const int SynSlot = 256, SynSlots = PacketReceiveRing.BlockSize / SynSlot;

        internal AfPacketSocket Socket => socket;

        internal PacketReceiver Receiver => receiver;

        internal static Half OpenMain(LinkInfo link, MacFilter filter, AfPacketOptions options) =>
            Open(link, filter, options, options.SynsFirst ? FrameShare.AllButSyns : FrameShare.All, socket => options.Receive == ReceiveMode.Ring
                ? new PacketReceiveRing(link.Name, socket.Handle, options.ReceiveSlots)
                : new PacketReceiveMessages(link.Name, socket.Handle, options.ReceiveBuffer));

        // A ring, since looking into an empty one costs no system call.
        internal static Half OpenForSyns(LinkInfo link, MacFilter filter, AfPacketOptions options) =>
            Open(link, filter, options.ForSyns(), FrameShare.Syns, socket => new PacketReceiveRing(link.Name, socket.Handle, SynSlots, SynSlot));

        public void Dispose()
        {
            socket.Dispose();
            receiver.Dispose();
        }

        private static Half Open(LinkInfo link, MacFilter filter, AfPacketOptions options, FrameShare share, Func<AfPacketSocket, PacketReceiver> receive)
        {
            var socket = new AfPacketSocket(link, filter, share);
            PacketReceiver? receiver = null;
            try
            {
                socket.SetOptions(options);
                receiver = receive(socket);
                socket.Start(options);
                return new Half(socket, receiver);
            }
            catch
            {
                receiver?.Dispose();
                socket.Dispose();
                throw;
            }
        }
    }
}
