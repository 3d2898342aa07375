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
    private readonly AfPacketSocket _socket;
    private readonly PacketReceiver _receiver;
    private readonly PacketSender _sender;
    private int _mtu;

    private AfPacketPort(LinkInfo link, AfPacketSocket socket, PacketReceiver receiver, int sendBatch)
    {
        Link = link;
        _mtu = link.Mtu;
        _socket = socket;
        _receiver = receiver;
        _sender = new PacketSender(socket.Handle, sendBatch, Counters);
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
    public override int PollHandle => _socket.Handle;

    /// <summary>Opens interface <paramref name="name"/> of the calling thread's network namespace; throws a <see cref="PortException"/> that says what is wrong.</summary>
    public static AfPacketPort Open(string name, MacFilter filter, AfPacketOptions? options = null)
    {
        options ??= new AfPacketOptions();
        LinkInfo link = LinkInfo.Query(name);
        var socket = new AfPacketSocket(link, filter);
        PacketReceiver? receiver = null;
        try
        {
            socket.SetOptions(options);
            receiver = options.Receive == ReceiveMode.Ring
                ? new PacketReceiveRing(name, socket.Handle, options.ReceiveSlots)
                : new PacketReceiveMessages(name, socket.Handle, options.ReceiveBuffer);
            socket.Start(options);
            return new AfPacketPort(link, socket, receiver, options.SendBatch);
        }
        catch
        {
            receiver?.Dispose();
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Changes which frames come in, without a gap for those that stay; false if the kernel refuses a part of it.</summary>
    public bool Accept(MacFilter filter) => _socket.Change(filter);

    /// <summary>Takes over an MTU that changed while the port was open.</summary>
    public void SetMtu(int mtu) => _mtu = mtu;

    /// <summary>Asks the kernel for the frames it had no room for and adds them to <see cref="PortCounters.ReceiveDrops"/>.</summary>
    public void ReadDrops() => Counters.ReceiveDrops += _socket.TakeDrops();

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch)
    {
        batch.Clear();
        _receiver.Release();
        return _receiver.Receive(batch, Counters);
    }

    /// <inheritdoc/>
    public override void Release() => _receiver.Release();

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
        _socket.Dispose();
        _receiver.Dispose();
        _sender.Dispose();
    }
}
