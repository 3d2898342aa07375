using System.Buffers.Binary;
using System.Net;

namespace Appliance.Lab.Judges;

/// <summary>
/// Builds single TCP segments over IPv4 and Ethernet by hand, right or with a wrong checksum, for positive controls of
/// the judges. Written apart from the product's own packet code on purpose.
/// </summary>
public static class TestFrame
{
    private const int EthernetLength = 14;
    private const int IpLength = 20;
    private const int TcpLength = 20;

    /// <summary>An ACK (or other <paramref name="flags"/>) with a payload.</summary>
    public static byte[] Tcp(string fromMac, string toMac, IPEndPoint from, IPEndPoint to, uint seq, uint ack, byte flags = 0x10, byte[]? payload = null, bool badChecksum = false)
    {
        payload ??= [];
        byte[] frame = new byte[EthernetLength + IpLength + TcpLength + payload.Length];
        Mac(toMac).CopyTo(frame, 0);
        Mac(fromMac).CopyTo(frame, 6);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x0800);

        var ip = frame.AsSpan(EthernetLength);
        ip[0] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(frame.Length - EthernetLength));
        ip[8] = 64;
        ip[9] = 6;
        from.Address.GetAddressBytes().CopyTo(ip[12..]);
        to.Address.GetAddressBytes().CopyTo(ip[16..]);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], Fold(Sum(ip[..IpLength])));

        var tcp = ip[IpLength..];
        BinaryPrimitives.WriteUInt16BigEndian(tcp, (ushort)from.Port);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[2..], (ushort)to.Port);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], seq);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[8..], ack);
        tcp[12] = TcpLength / 4 << 4;
        tcp[13] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], 1024);
        payload.CopyTo(tcp[TcpLength..]);
        uint pseudo = Sum(ip[12..20]) + 6 + (uint)tcp.Length;
        ushort checksum = Fold(pseudo + Sum(tcp));
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], badChecksum ? (ushort)(checksum ^ 0x5555) : checksum);
        return frame;
    }

    private static byte[] Mac(string text) => Convert.FromHexString(text.Replace(":", string.Empty, StringComparison.Ordinal));

    private static uint Sum(ReadOnlySpan<byte> data)
    {
        uint sum = 0;
        for (int i = 0; i < data.Length; i += 2)
        {
            sum += (uint)(data[i] << 8) | (i + 1 < data.Length ? data[i + 1] : 0u);
        }
        return sum;
    }

    private static ushort Fold(uint sum)
    {
        while (sum > 0xFFFF)
        {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        return (ushort)~sum;
    }
}
