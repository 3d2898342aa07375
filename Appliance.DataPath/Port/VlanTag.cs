using System.Buffers.Binary;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// Puts an 802.1Q tag that the kernel keeps beside the frame back into it, so that nobody takes the frame for an untagged
/// one, and takes a priority tag (VLAN 0, IEEE 802.1Q 6.9) out. Uses the
/// <see cref="Length"/> bytes in front of the frame, which the receivers keep free, and moves the
/// offsets of the vnet header accordingly.
/// </summary>
internal static class VlanTag
{
    internal const int Length = 4;
    private const int MacsLength = 12;

    internal static void Restore(ref FrameRef frame, ushort control, ushort type)
    {
        if (frame.Length < MacsLength) return;
        nint start = frame.Address - Length;
        Span<byte> head = MemoryNative.Span(start, MacsLength + Length);
        head[Length..].CopyTo(head);
        BinaryPrimitives.WriteUInt16BigEndian(head[MacsLength..], type == 0 ? PacketParser.EtherVlan : type);
        BinaryPrimitives.WriteUInt16BigEndian(head[(MacsLength + 2)..], control);
        frame.Address = start;
        frame.Length += Length;
        if (frame.Vnet.NeedsChecksum) frame.Vnet.ChecksumStart += Length;
        if (frame.Vnet.HeaderLength != 0) frame.Vnet.HeaderLength += Length;
    }

    /// <summary>The same frame without its outer tag, in place.</summary>
    internal static FrameRef Without(in FrameRef frame)
    {
        Span<byte> head = frame.Bytes[..(MacsLength + Length)];
        head[..MacsLength].CopyTo(head[Length..]);
        FrameRef untagged = new() { Address = frame.Address + Length, Length = frame.Length - Length, Vnet = frame.Vnet };
        if (untagged.Vnet.NeedsChecksum) untagged.Vnet.ChecksumStart -= Length;
        if (untagged.Vnet.HeaderLength != 0) untagged.Vnet.HeaderLength -= Length;
        return untagged;
    }
}
