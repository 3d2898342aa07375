using System.Buffers.Binary;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>
/// Names the state that each connection is in at a box (SPLICE 12 "Peers"), by looking into its tables for
/// those connections of which a frame came or went in the last cycle.
/// </summary>
internal sealed class BoxStates(Scenario scenario, Action<string?, long> report)
{
    public const string CookieSent = "cookie sent", HeadHalfRead = "head half read", AskingPeers = "asking peers", BackendSyn = "backend SYN sent",
        Confirming = "confirming", RequestUnacked = "request sent unacked", Established = "established", Closing = "closing";

    /// <summary>States that issue and specification name.</summary>
    public static readonly string[] Required = [CookieSent, HeadHalfRead, BackendSyn, RequestUnacked, Established, Closing];

    private readonly Dictionary<(IpAddr Address, ushort Port), bool> _touched = [];
    private readonly Dictionary<(IpAddr Address, ushort Port), string> _last = [];

    /// <summary>The box has lost its memory.</summary>
    public void Clear()
    {
        _touched.Clear();
        _last.Clear();
    }

    /// <summary>A frame came or went.</summary>
    public void Touch(ReadOnlySpan<byte> frame)
    {
        if (frame.Length < 54 || frame[12] is not (0x08 or 0x86) || frame[13] is not (0x00 or 0xdd)) return;
        bool v6 = SimChecksum.IsV6(frame);
        if (frame[v6 ? 20 : 23] != Packet.ProtocolTcp || (v6 && frame.Length < 74)) return;
        SimIp.Addresses(frame, out IpAddr source, out IpAddr destination);
        ReadOnlySpan<byte> tcp = frame[(v6 ? 54 : 34)..];
        bool fromClient = IsClient(source);
        if (!fromClient && !IsClient(destination)) return;
        var flags = (TcpFlags)tcp[13];
        bool cookie = !fromClient && source == scenario.Addresses.Service(v6) && (flags & (TcpFlags.Syn | TcpFlags.Ack)) == (TcpFlags.Syn | TcpFlags.Ack);
        (IpAddr, ushort) key = fromClient ? (source, BinaryPrimitives.ReadUInt16BigEndian(tcp)) : (destination, BinaryPrimitives.ReadUInt16BigEndian(tcp[2..]));
        _touched[key] = cookie || (_touched.TryGetValue(key, out bool before) && before);
    }

    /// <summary>Looks up what was touched and reports what changed.</summary>
    public void Look(Box box)
    {
        if (_touched.Count == 0) return;
        foreach (((IpAddr Address, ushort Port) key, bool cookie) in _touched)
        {
            string? state = StateOf(box, key.Address, key.Port) ?? (cookie ? CookieSent : null);
            _last.TryGetValue(key, out string? last);
            if (state == last || (state is null && last == CookieSent)) continue;
            if (state is null) _last.Remove(key);
            else _last[key] = state;
            report(state, (long)(key.Address.Low << 16) | key.Port);
        }
        _touched.Clear();
    }

    private static string? StateOf(Box box, IpAddr client, ushort port)
    {
        foreach (Service service in box.Services.Services)
        {
            if (service.Address.IsV4 != client.IsV4) continue;
            FlowKey key = new(client, service.Address, port, service.Port, Packet.ProtocolTcp);
            Handshake? handshake = box.Handshakes.Find(key);
            if (handshake is not null && OfHandshake(handshake) is { } state) return state;
            int entry = box.Splices.Find(key);
            if (entry >= 0) return OfSplice(box, entry);
        }
        return null;
    }

    private static string? OfHandshake(Handshake handshake) => handshake.State switch
    {
        HandshakeState.Head => HeadHalfRead,
        HandshakeState.AskingPeers => AskingPeers,
        HandshakeState.BackendSyn or HandshakeState.BackendData => BackendSyn,
        HandshakeState.Confirming => Confirming,
        HandshakeState.Closing => Closing,
        _ => null,
    };

    private static string OfSplice(Box box, int entry)
    {
        ref SpliceRecord record = ref box.Splices.Record(box.Splices.Entry(entry).Record);
        if (record.State != SpliceState.Established) return Closing;
        return new TcpSeq(box.Splices.Entry(record.ToClient).AckSeen) <= new TcpSeq(record.C) + 1u ? RequestUnacked : Established;
    }

    private static bool IsClient(IpAddr address) => address.IsV4 ? address.V4 >> 8 == 0xc63364 : address.High == 0x2001_0db8_0100_0000;
}
