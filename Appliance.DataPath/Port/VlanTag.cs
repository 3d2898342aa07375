using System.Buffers.Binary;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// Puts an 802.1Q tag that the kernel keeps beside the frame back into it. Uses the
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
}
