using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>What a box may do wrong, to prove that the judges would see it.</summary>
internal enum Sabotage
{
    None,

    /// <summary>Changes a byte of a response and makes the checksum right.</summary>
    CorruptByte,

    /// <summary>Acknowledges what the client has not sent.</summary>
    AckBeyond,

    /// <summary>Halves the window once, so that the right edge moves left.</summary>
    ShrinkEdge,

    /// <summary>Sends a retransmission with other content.</summary>
    TwoValues,

    /// <summary>Answers timestamps from the future.</summary>
    EchoFuture,
}

/// <summary>
/// The simplest box there can be: stateless destination NAT, service address to a server chosen by hash of the client's
/// address and port. Proves ports, neighbours, pauses and triggers before real boxes are plugged in, and, sabotaged, the judges.
/// </summary>
internal sealed class NatBox : SimNode
{
    private readonly Scenario _scenario;
    private readonly Side[] _sides;
    private readonly Sabotage _sabotage;
    private int _seen;

    public NatBox(Scenario scenario, int number, Sabotage sabotage)
        : base(scenario.World, $"nat{number}", number)
    {
        (_scenario, _sabotage) = (scenario, sabotage);
        ScenarioAddresses a = scenario.Addresses;
        _sides =
        [
            new Side(this, 0, 0x0200_0000_0200, a.BoxExternal(number, false), a.BoxExternal(number, true), a.Service(false), a.Service(true)),
            new Side(this, 1, 0x0200_0000_0201, a.BoxInternal(number, false), a.BoxInternal(number, true), a.InternalGateway(false), a.InternalGateway(true)),
        ];
        Attach(scenario.External, scenario.ExternalProfile, scenario.Options.Offloads);
        Attach(scenario.Internal, scenario.InternalProfile, scenario.Options.Offloads);
    }

    /// <summary>If set, larger packets are answered by packet-too-big and dropped.</summary>
    public int NarrowMtu { get; init; } = 65_535;

    /// <summary>Times (four at most, shrinking apart) that the sabotage was carried out.</summary>
    public int Sabotaged { get; private set; }

    /// <inheritdoc/>
    protected override void OnFrame(int port, Span<byte> frame, in VnetHeader vnet, long now)
    {
        var to = MacAddress.Read(frame);
        if ((to != _sides[port].Mac && !to.IsGroup) || _sides[port].Neighbours.OnFrame(frame)) return;
        // Judge nothing below TCP's ports: what is corrupt must leave corrupt.
        int transport = SimChecksum.TransportAt(frame);
        if (frame.Length < transport + 20) return;
        SimIp.Addresses(frame, out IpAddr source, out IpAddr destination);
        bool v6 = !source.IsV4;
        if (frame[v6 ? 20 : 23] != Packet.ProtocolTcp) return;
        if (frame.Length - 14 > NarrowMtu)
        {
            TooBig(port, frame, source, destination);
            return;
        }
        SimFrame copy = World.Frames.Copy(frame, vnet);
        IpAddr hop;
        if (port == 0 && destination == _scenario.Addresses.Service(v6))
        {
            ushort clientPort = BinaryPrimitives.ReadUInt16BigEndian(frame[transport..]);
            hop = _scenario.Addresses.Server((int)(SimRandom.Hash(source.Low ^ ((ulong)clientPort << 40)) % (ulong)_scenario.Servers.Count), v6);
            SetAddress(copy.Span, v6 ? 38 : 30, hop, vnet.NeedsChecksum);
        }
        else if (port == 1 && source.IsWithin(_scenario.Addresses.InternalGateway(v6), v6 ? 64 : 24))
        {
            hop = _scenario.Addresses.Router(v6);
            SetAddress(copy.Span, v6 ? 22 : 26, _scenario.Addresses.Service(v6), vnet.NeedsChecksum);
        }
        else
        {
            World.Frames.Return(copy);
            return;
        }
        ReportState(frame[transport..], port, source, destination);
        if (_sabotage != Sabotage.None && port == 1) Spoil(copy, transport);
        _sides[1 - port].Neighbours.Send(copy, hop);
    }

    /// <summary>Quotes the packet as its sender knows it (RFC 792, 1191, 4443).</summary>
    private void TooBig(int port, ReadOnlySpan<byte> frame, IpAddr source, IpAddr destination)
    {
        bool v6 = !source.IsV4;
        int transport = SimChecksum.TransportAt(frame), quoted = transport - 14 + 8;
        SimFrame error = World.Frames.Rent(transport + 8 + quoted);
        Span<byte> icmp = error.Span[transport..];
        icmp.Clear();
        icmp[0] = (byte)(v6 ? 2 : 3);
        icmp[1] = (byte)(v6 ? 0 : 4);
        if (v6) BinaryPrimitives.WriteUInt32BigEndian(icmp[4..], (uint)NarrowMtu);
        else BinaryPrimitives.WriteUInt16BigEndian(icmp[6..], (ushort)NarrowMtu);
        frame.Slice(14, quoted).CopyTo(icmp[8..]);
        SimIp.WriteHeader(error.Span, destination, source, v6 ? Packet.ProtocolIcmp6 : Packet.ProtocolIcmp, 0);
        if (v6) SimIp.WriteChecksum(error.Span, Packet.ProtocolIcmp6, 2);
        else BinaryPrimitives.WriteUInt16BigEndian(icmp[2..], (ushort)~SimChecksum.Fold(SimChecksum.Add(0, icmp)));
        _sides[port].SendTo(error, MacAddress.Read(frame[6..]));
    }

    private void ReportState(ReadOnlySpan<byte> tcp, int port, IpAddr source, IpAddr destination)
    {
        var flags = (TcpFlags)tcp[13];
        int client = BinaryPrimitives.ReadUInt16BigEndian(tcp[(port == 0 ? 0 : 2)..]);
        long connection = ((long)(port == 0 ? source : destination).Low << 16) | (long)client;
        if ((flags & TcpFlags.Rst) != TcpFlags.None) Report(null, connection);
        else if ((flags & TcpFlags.Syn) != TcpFlags.None) Report(port == 0 ? "syn" : "syn-ack", connection);
        else if ((flags & TcpFlags.Fin) != TcpFlags.None) Report("closing", connection);
        else if (tcp.Length > (tcp[12] >> 4) * 4) Report("data", connection);
    }

    /// <summary>Changes an address and both sums by the difference (RFC 1624), so that a wrong sum stays wrong.</summary>
    private static void SetAddress(Span<byte> frame, int at, IpAddr address, bool isPartial)
    {
        int length = address.IsV4 ? 4 : 16;
        Span<byte> old = stackalloc byte[length];
        frame.Slice(at, length).CopyTo(old);
        if (address.IsV4) address.WriteV4(frame[at..]);
        else address.WriteV6(frame[at..]);
        if (address.IsV4) Adjust(frame[24..], old, frame.Slice(at, length), isPartial: false);
        Adjust(frame[(SimChecksum.TransportAt(frame) + 16)..], old, frame.Slice(at, length), isPartial);
    }

    private static void Adjust(Span<byte> field, ReadOnlySpan<byte> old, ReadOnlySpan<byte> now, bool isPartial)
    {
        ushort sum = BinaryPrimitives.ReadUInt16BigEndian(field);
        if (!isPartial) sum = (ushort)~sum;
        sum = SimChecksum.Fold(sum + (ulong)(ushort)~SimChecksum.Fold(SimChecksum.Add(0, old)) + SimChecksum.Add(0, now));
        BinaryPrimitives.WriteUInt16BigEndian(field, isPartial ? sum : (ushort)~sum);
    }

    private void Spoil(SimFrame frame, int transport)
    {
        Span<byte> tcp = frame.Span[transport..];
        int header = (tcp[12] >> 4) * 4;
        int payload = tcp.Length - header;
        if ((tcp[13] & (byte)(TcpFlags.Syn | TcpFlags.Rst)) != 0 || header > tcp.Length || ++_seen < 20 || _seen % 7 != 0) return;
        switch (_sabotage)
        {
            case Sabotage.CorruptByte when payload > 0 && Sabotaged < 4:
                tcp[header + (payload / 2)] ^= 0x20;
                break;
            case Sabotage.AckBeyond when Sabotaged < 4:
                BinaryPrimitives.WriteUInt32BigEndian(tcp[8..], BinaryPrimitives.ReadUInt32BigEndian(tcp[8..]) + 100_000);
                break;
            case Sabotage.ShrinkEdge when BinaryPrimitives.ReadUInt16BigEndian(tcp[14..]) > 3:
                BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], (ushort)(BinaryPrimitives.ReadUInt16BigEndian(tcp[14..]) / 2));
                break;
            case Sabotage.TwoValues when payload > 0 && Sabotaged < 4:
                Again(frame, transport + header + (payload / 2));
                break;
            case Sabotage.EchoFuture when header == 32 && tcp[20] == 1 && tcp[22] == 8 && Sabotaged < 4:
                BinaryPrimitives.WriteUInt32BigEndian(tcp[28..], BinaryPrimitives.ReadUInt32BigEndian(tcp[28..]) + 1_000_000);
                break;
            default:
                return;
        }
        Sabotaged++;
        SimIp.WriteChecksum(frame.Span, Packet.ProtocolTcp, 16);
    }

    private void Again(SimFrame frame, int at)
    {
        SimFrame second = World.Frames.Copy(frame.Span, frame.Vnet);
        second.Bytes[at] ^= 1;
        SimIp.WriteChecksum(second.Span, Packet.ProtocolTcp, 16);
        World.Schedule(World.Now + (10 * SimWorld.Microsecond), new Delayed(this), 0, second);
    }

    /// <summary>Sends a frame later.</summary>
    private sealed class Delayed(NatBox box) : SimActor
    {
        protected internal override void OnEvent(int code, SimFrame? frame) => box._sides[0].Neighbours.Send(frame!, box._scenario.Addresses.Router(SimChecksum.IsV6(frame!.Span)));
    }

    /// <summary>The box on one link.</summary>
    private sealed class Side : INeighbourOwner
    {
        private readonly NatBox _box;
        private readonly int _port;
        private readonly IpAddr[] _addresses;

        public Side(NatBox box, int port, ulong mac, params IpAddr[] addresses)
        {
            (_box, _port, _addresses, Mac) = (box, port, addresses, new MacAddress(mac));
            Neighbours = new SimNeighbours(this);
        }

        public SimNeighbours Neighbours { get; }

        public SimWorld World => _box.World;

        public bool IsAlive => _box.IsAlive;

        public MacAddress Mac { get; }

        public IpAddr Own4 => _addresses[0];

        public IpAddr Own6 => _addresses[1];

        public bool HasAddress(IpAddr address) => Array.IndexOf(_addresses, address) >= 0;

        public void SendTo(SimFrame frame, MacAddress to)
        {
            to.Write(frame.Bytes);
            Mac.Write(frame.Bytes.AsSpan(6));
            _box.Send(_port, frame);
        }
    }
}
