namespace Appliance.DataPath.Port;

/// <summary>
/// A network interface through a raw packet socket with PACKET_VNET_HDR (packet(7)):
/// super-frames of up to 64 KB and partial checksums pass as one unit in both directions. Sees
/// only frames that its <see cref="MacFilter"/> lets in, never what the host itself sends, and takes nothing
/// away from the host. Used by one worker; after opening nothing allocates, waits or throws. An interface that is removed leaves it
/// deaf; <see cref="Reopen"/> lets it go on with a new one of the same name.
/// Does not set addresses, bring interfaces up, or resolve neighbours.
/// </summary>
public sealed class AfPacketPort : FramePort
{
    // SYNs taken by one receive: whatever their number, what waits behind them advances too.
    private const int MostSyns = 32;

    private readonly PacketSender _sender;
    private readonly int[] _handles;
    private AfPacketOptions _options;
    private MacFilter _filter;
    private Half _main;
    private Half? _syns;
    private Opened? _next;
    private int _mtu;

    private AfPacketPort(Opened opened, MacFilter filter, AfPacketOptions options)
    {
        (Link, _main, _syns) = (opened.Link, opened.Main, opened.Syns);
        (_filter, _options) = (filter, options);
        _mtu = Link.Mtu;
        _handles = _syns is null ? [_main.Socket.Handle] : [_main.Socket.Handle, _syns.Socket.Handle];
        _sender = new PacketSender(_main.Socket.Handle, options.SendBatch, Counters);
    }

    /// <summary>The interface as it was when it was opened last.</summary>
    public LinkInfo Link { get; private set; }

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
        return new AfPacketPort(Opened.Open(LinkInfo.Query(name), filter, options), filter, options);
    }

    /// <summary>
    /// Opens the interface of these ports anew, as it is now: the same one under all of them, in the order of their workers. All or none; throws a
    /// <see cref="PortException"/>. From any thread; each port goes on with it from its next <see cref="Receive"/>, under its old descriptors.
    /// </summary>
    public static void Reopen(IReadOnlyList<AfPacketPort> ports)
    {
        LinkInfo link = LinkInfo.Query(ports[0].Name);
        AfPacketOptions[] options = [.. ports.Select(p => p._options.ForNextGroup())];
        var opened = new Opened?[ports.Count];
        try
        {
            for (int i = 0; i < opened.Length; i++) opened[i] = Opened.Open(link, ports[i]._filter, options[i]);
        }
        catch
        {
            foreach (Opened? one in opened) one?.Dispose();
            throw;
        }
        for (int i = 0; i < opened.Length; i++)
        {
            ports[i]._options = options[i];
            Interlocked.Exchange(ref ports[i]._next, opened[i])?.Dispose();
        }
    }

    /// <summary>Changes which frames come in, without a gap for those that stay; false if the kernel refuses a part of it.</summary>
    public bool Accept(MacFilter filter)
    {
        _filter = filter;
        return _main.Socket.Change(filter) & (_syns is null || _syns.Socket.Change(filter));
    }

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
        if (Volatile.Read(ref _next) is not null) GoOver();
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
        _next?.Dispose();
        _syns?.Dispose();
        _main.Dispose();
        _sender.Dispose();
    }

    private void GoOver()
    {
        if (Interlocked.Exchange(ref _next, null) is not { } next) return;
        next.Main.Socket.TakePlaceOf(_handles[0]);
        next.Syns?.Socket.TakePlaceOf(_handles[1]);
        _main.Receiver.Dispose();
        _syns?.Receiver.Dispose();
        (Link, _main, _syns, _mtu) = (next.Link, next.Main, next.Syns, next.Link.Mtu);
    }

    /// <summary>Both halves on one interface.</summary>
    private sealed class Opened(LinkInfo link, Half main, Half? syns) : IDisposable
    {
        internal LinkInfo Link => link;

        internal Half Main => main;

        internal Half? Syns => syns;

        internal static Opened Open(LinkInfo link, MacFilter filter, AfPacketOptions options)
        {
            Half? syns = options.SynsFirst ? Half.OpenForSyns(link, filter, options) : null;
            try
            {
                return new Opened(link, Half.OpenMain(link, filter, options), syns);
            }
            catch
            {
                syns?.Dispose();
                throw;
            }
        }

        public void Dispose()
        {
            syns?.Dispose();
            main.Dispose();
        }
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
                : new PacketReceiveMessages(link.Name, socket, options.ReceiveBuffer));

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
