using System.Buffers.Binary;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Flow;

/// <summary>
/// Sends a whole packet as fragments of a given size, one at a time into memory of the caller
/// (RFC 791 3.2, RFC 8200 4.5). The packet must carry a complete transport checksum and is not changed.
/// IPv4 options that are not to be copied stand in the first fragment only (the others get no-operations in their place).
/// </summary>
public ref struct Fragmenter
{
    private readonly Span<byte> _frame;
    private readonly int _network, _headerEnd, _end, _step;
    private readonly int _nextField;
    private readonly bool _v6;
    private readonly uint _identification;
    private int _at;

    /// <summary>Splits <paramref name="packet"/> (IP) so that no fragment's IP length exceeds <paramref name="maxIpLength"/>; IPv4 keeps its own identification.</summary>
    public Fragmenter(in Packet packet, int maxIpLength, uint identification)
    {
        _frame = packet.Frame;
        _network = packet.Layout.Network;
        _end = packet.Layout.End;
        _v6 = packet.IsV6;
        _identification = identification;
        _nextField = 6;
        int header = _v6 ? UnfragmentableLength(packet.Network, out _nextField) : (packet.Network[0] & 15) * 4;
        _headerEnd = _network + header;
        // Never less than one unit, so that it ends.
        _step = Math.Max((maxIpLength - header - (_v6 ? 8 : 0)) & ~7, 8);
        _at = _headerEnd;
    }

    /// <summary>Writes the next fragment and says its length; false at the end, or (length -1) if <paramref name="output"/> is too short.</summary>
    public bool TryNext(Span<byte> output, out int length)
    {
        length = 0;
        if (_at >= _end) return false;
        int piece = Math.Min(_step, _end - _at), start = _headerEnd + (_v6 ? 8 : 0), offset = _at - _headerEnd;
        bool more = _at + piece < _end;
        if (output.Length < start + piece)
        {
            length = -1;
            return false;
        }
        _frame[.._headerEnd].CopyTo(output);
        _frame.Slice(_at, piece).CopyTo(output[start..]);
        Span<byte> ip = output[_network..];
        if (_v6) WriteV6(ip, piece, offset, more);
        else WriteV4(ip[..(_headerEnd - _network)], piece, offset, more);
        _at += piece;
        length = start + piece;
        return true;
    }

    private static void WriteV4(Span<byte> header, int piece, int offset, bool more)
    {
        BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)(header.Length + piece));
        BinaryPrimitives.WriteUInt16BigEndian(header[6..], (ushort)((offset / 8) | (more ? 0x2000 : 0)));
        if (offset != 0) BlankOptions(header[20..]);
        InternetChecksum.SetIpv4Header(header);
    }

    // RFC 791 3.1: an option whose highest bit is clear is not copied.
    private static void BlankOptions(Span<byte> options)
    {
        int at = 0;
        while (at < options.Length && options[at] != 0)
        {
            int length = options[at] == 1 ? 1 : at + 1 < options.Length ? options[at + 1] : 0;
            if (length == 0 || at + length > options.Length) return;
            if ((options[at] & 0x80) == 0) options.Slice(at, length).Fill(1);
            at += length;
        }
    }

    // Hop-by-hop options, and destination options only in front of a routing header, and that.
    private static int UnfragmentableLength(ReadOnlySpan<byte> ip, out int nextField)
    {
        int at = 40, field = 6, length = 40;
        nextField = 6;
        while (ip[field] is 0 or 43 or 60 && at + 8 <= ip.Length)
        {
            bool counts = ip[field] != 60;
            field = at;
            at += (ip[at + 1] + 1) * 8;
            if (at > ip.Length) break;
            if (!counts) continue;
            length = at;
            nextField = field;
        }
        return length;
    }

    private readonly void WriteV6(Span<byte> ip, int piece, int offset, bool more)
    {
        int header = _headerEnd - _network;
        BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)(header - 40 + 8 + piece));
        Span<byte> fragment = ip.Slice(header, 8);
        fragment[0] = ip[_nextField];
        fragment[1] = 0;
        BinaryPrimitives.WriteUInt16BigEndian(fragment[2..], (ushort)(offset | (more ? 1 : 0)));
        BinaryPrimitives.WriteUInt32BigEndian(fragment[4..], _identification);
        ip[_nextField] = 44;
    }
}
