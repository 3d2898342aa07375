using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Flow;

/// <summary>What the headers of a fragment say (RFC 791 3.2, RFC 8200 4.5). Lengths and offsets in bytes.</summary>
internal readonly struct FragmentInfo
{
    /// <summary>Identification, 16 bits with IPv4.</summary>
    public readonly uint Identification;

    /// <summary>Where this piece belongs in the whole payload, and whether more come.</summary>
    public readonly int Offset;
    public readonly bool More;

    /// <summary>IPv4: protocol. IPv6: next header of the fragment header.</summary>
    public readonly byte Next;

    /// <summary>From the frame's start: end of the part that every fragment carries; start of the piece; IPv6: the byte that announces the fragment header.</summary>
    public readonly int HeaderEnd, Start, NextField;

    /// <summary>Reads the headers of a parsed packet whose layout says that it is a fragment.</summary>
    public FragmentInfo(in Packet packet)
    {
        int network = packet.Layout.Network;
        ReadOnlySpan<byte> ip = packet.Network;
        if (packet.Layout.Kind == NetworkKind.Ipv4)
        {
            ushort field = BinaryPrimitives.ReadUInt16BigEndian(ip[6..]);
            Identification = BinaryPrimitives.ReadUInt16BigEndian(ip[4..]);
            Offset = (field & 0x1fff) * 8;
            More = (field & 0x2000) != 0;
            Next = ip[9];
            HeaderEnd = Start = network + (ip[0] & 15) * 4;
            return;
        }
        int at = 40, nextField = 6;
        // The parser has walked this chain: it is whole, and the fragment header is in it.
        while (ip[nextField] != 44)
        {
            nextField = at;
            at += (ip[at + 1] + 1) * 8;
        }
        ushort flags = BinaryPrimitives.ReadUInt16BigEndian(ip[(at + 2)..]);
        Identification = BinaryPrimitives.ReadUInt32BigEndian(ip[(at + 4)..]);
        Offset = flags & 0xfff8;
        More = (flags & 1) != 0;
        Next = ip[at];
        HeaderEnd = network + at;
        Start = HeaderEnd + 8;
        NextField = network + nextField;
    }
}
