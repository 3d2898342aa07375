using System.Buffers.Binary;
using Appliance.DataPath.Flow;

namespace Appliance.DataPath.Splice;

/// <summary>
/// Writes the PROXY protocol header, version 2, command PROXY, TCP: the P bytes in front of the
/// request that tell a server who its client is (HAProxy's proxy-protocol.txt 2.2). TLVs, if any,
/// are the caller's bytes and follow the addresses.
/// </summary>
public static class ProxyV2
{
    /// <summary>Lengths without TLVs.</summary>
    public const int Length4 = 28, Length6 = 52;

    private static ReadOnlySpan<byte> Signature => [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

    /// <summary>Bytes that <see cref="Write"/> will write.</summary>
    public static int LengthOf(in FlowKey flow, int tlvLength) => (IsV4(flow) ? Length4 : Length6) + tlvLength;

    /// <summary>Writes the header for <paramref name="flow"/> (client to service) and returns P; <paramref name="destination"/> holds at least <see cref="LengthOf"/>.</summary>
    public static int Write(Span<byte> destination, in FlowKey flow, ReadOnlySpan<byte> tlvs)
    {
        bool v4 = IsV4(flow);
        int addresses = v4 ? 12 : 36, length = 16 + addresses + tlvs.Length;
        Span<byte> to = destination[..length];
        Signature.CopyTo(to);
        to[12] = 0x21;
        to[13] = v4 ? (byte)0x11 : (byte)0x21;
        BinaryPrimitives.WriteUInt16BigEndian(to[14..], (ushort)(addresses + tlvs.Length));
        if (v4)
        {
            flow.Source.WriteV4(to[16..]);
            flow.Destination.WriteV4(to[20..]);
        }
        else
        {
            flow.Source.WriteV6(to[16..]);
            flow.Destination.WriteV6(to[32..]);
        }
        Span<byte> ports = to[(12 + addresses)..];
        BinaryPrimitives.WriteUInt16BigEndian(ports, flow.SourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(ports[2..], flow.DestinationPort);
        tlvs.CopyTo(ports[4..]);
        return length;
    }

    private static bool IsV4(in FlowKey flow) => flow.Source.IsV4 && flow.Destination.IsV4;
}
