using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// Learns what each backend offers (the pool profile of SPLICE 4.1) by asking: a SYN with every
/// option from the box's own internal address, its SYN-ACK read, then a RST. At start, after 50, 100, 200, 400 ms and then every second while a
/// backend was never heard, every ten seconds afterwards. Only worker 0 of a box asks. Judges no health: silence changes nothing that is known.
/// </summary>
public sealed class Prober
{
    private const long FirstNs = 50_000_000, SoonNs = 1_000_000_000, LaterNs = 10_000_000_000;
    private const ushort FirstPort = 61000;

    private readonly Box _box;
    private readonly Probe[] _probes;

    /// <summary>A prober for all reals of the box's services.</summary>
    public Prober(Box box)
    {
        _box = box;
        ReadOnlySpan<(IpAddr Address, ushort Port)> reals = box.Group.Profiles.Reals;
        _probes = new Probe[reals.Length];
        for (int i = 0; i < reals.Length; i++) _probes[i] = new Probe { Address = reals[i].Address, Port = reals[i].Port };
    }

    /// <summary>When the next probe is due, ns.</summary>
    public long NextDeadline { get; private set; }

    /// <summary>Sends the probes that are due.</summary>
    public void Advance()
    {
        if ((_box.Config.Roles & BoxRoles.Proxy) == BoxRoles.None || _box.Worker != 0)
        {
            NextDeadline = long.MaxValue;
            return;
        }
        if (_box.Now < NextDeadline) return;
        long next = long.MaxValue;
        for (int i = 0; i < _probes.Length; i++)
        {
            ref Probe probe = ref _probes[i];
            if (_box.Now >= probe.Next) Ask(ref probe, i);
            next = Math.Min(next, probe.Next);
        }
        NextDeadline = next;
    }

    /// <summary>A segment to the box's own internal address: the answer to a probe, or nothing of ours.</summary>
    public DropReason OnSegment(in Packet packet)
    {
        if (!packet.IsTcp) return DropReason.RealUnexpected;
        TcpView tcp = packet.Tcp;
        int index = tcp.DestinationPort - FirstPort;
        if (index < 0 || index >= _probes.Length) return DropReason.RealUnexpected;
        ref Probe probe = ref _probes[index];
        if (probe.Address != packet.Source || probe.Port != tcp.SourcePort) return DropReason.RealUnexpected;
        if (tcp.Has(TcpFlags.Rst))
        {
            // Refused, or it wants no more of an older probe: the next one starts afresh.
            probe.Isn += 0x1000_0000;
            return DropReason.Consumed;
        }
        if (tcp.Ack != probe.Isn + 1u)
        {
            // Left over from a probe whose RST was lost; it would be in every later probe's way.
            TcpSegmentSpec old = Segment(probe, index, TcpFlags.Rst, tcp.Ack);
            if (tcp.Has(TcpFlags.Ack)) _box.Send(FlowDirection.ToServer, ref old, default, 0);
            return DropReason.Consumed;
        }
        if (!tcp.Has(TcpFlags.Syn | TcpFlags.Ack) || !TcpOptions.TryParse(tcp.Options, out TcpOptions options, out _)) return DropReason.Consumed;
        _box.Group.Profiles.Set(index, new PoolProfile
        {
            Mss = options.HasMss ? options.Mss : (ushort)536,
            WindowScale = options.HasWindowScale ? options.WindowScale : PoolProfile.NoScale,
            Sack = options.SackPermitted,
            Timestamps = options.HasTimestamps,
            Ecn = tcp.Has(TcpFlags.Ece),
            FirstWindow = tcp.Window,
        });
        probe.Known = true;
        _box.Statistics[Counter.ProbesAnswered]++;
        TcpSegmentSpec reset = Segment(probe, index, TcpFlags.Rst, probe.Isn + 1u);
        _box.Send(FlowDirection.ToServer, ref reset, default, 0);
        return DropReason.Consumed;
    }

    private void Ask(ref Probe probe, int index)
    {
        probe.Next = _box.Now + (probe.Known ? LaterNs : Math.Min(SoonNs, FirstNs << probe.Tries++));
        probe.Tries = Math.Min(probe.Tries, 8);
        // An unanswered SYN is repeated: another number would only irritate a backend whose answer was lost.
        if (probe.Known || probe.Isn == default) probe.Isn = new TcpSeq((uint)(_box.Now >> 10) * 2654435761u + (uint)index);
        TcpSegmentSpec syn = Segment(probe, index, TcpFlags.Syn | TcpFlags.Ece | TcpFlags.Cwr, probe.Isn);
        if (syn.Source.IsNone) return;
        int overhead = probe.Address.IsV4 ? 40 : 60;
        syn.Window = 65535;
        syn.Mss = (ushort)(_box.Egress.Port(LinkRole.Internal).Mtu - overhead);
        syn.WindowScale = 7;
        syn.SackPermitted = true;
        syn.HasTimestamps = true;
        syn.TsVal = (uint)_box.WallMs;
        _box.Statistics[Counter.Probes]++;
        _box.Send(FlowDirection.ToServer, ref syn, default, 0);
    }

    private TcpSegmentSpec Segment(in Probe probe, int index, TcpFlags flags, TcpSeq seq)
    {
        BoxLink link = _box.Config.Links[(int)LinkRole.Internal];
        return new TcpSegmentSpec
        {
            Source = probe.Address.IsV4 ? link.Address4 : link.Address6,
            Destination = probe.Address,
            SourcePort = (ushort)(FirstPort + index),
            DestinationPort = probe.Port,
            Flags = flags,
            Seq = seq,
        };
    }

    private struct Probe
    {
        public IpAddr Address;
        public ushort Port;
        public bool Known;
        public TcpSeq Isn;
        public int Tries;
        public long Next;
    }
}
