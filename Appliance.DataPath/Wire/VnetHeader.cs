using System.Runtime.InteropServices;

namespace Appliance.DataPath.Wire;

/// <summary>
/// What the kernel says, and is told, about a frame beside its bytes: the 10-byte
/// virtio_net_hdr of PACKET_VNET_HDR (linux/virtio_net.h, native byte order). A frame may be
/// a super-frame (many TCP segments under one header, <see cref="GsoType"/> not 0) and may
/// carry a partial checksum (<see cref="NeedsChecksum"/>): the field then holds only the
/// folded pseudo-header sum, and whoever puts the frame on a wire completes it.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public struct VnetHeader
{
    /// <summary>Size on the ring and in iovecs, in bytes.</summary>
    public const int Size = 10;

    /// <summary>Bit 0: partial checksum; bit 1: checksum was verified.</summary>
    public byte Flags;

    /// <summary>0 none, 1 TCP over IPv4, 3 UDP, 4 TCP over IPv6, 5 UDP segmentation; bit 7 ECN.</summary>
    public byte GsoType;

    /// <summary>Bytes of headers in front of the first segment's payload.</summary>
    public ushort HeaderLength;

    /// <summary>Payload bytes of each segment.</summary>
    public ushort GsoSize;

    /// <summary>Where summing starts (offset of the transport header from the start of the frame).</summary>
    public ushort ChecksumStart;

    /// <summary>Where the sum goes, from <see cref="ChecksumStart"/>.</summary>
    public ushort ChecksumOffset;

    /// <summary>VIRTIO_NET_HDR_F_NEEDS_CSUM.</summary>
    public const byte FlagNeedsChecksum = 1;

    /// <summary>VIRTIO_NET_HDR_GSO_TCPV4.</summary>
    public const byte GsoTcp4 = 1;

    /// <summary>VIRTIO_NET_HDR_GSO_TCPV6.</summary>
    public const byte GsoTcp6 = 4;

    /// <summary>VIRTIO_NET_HDR_GSO_ECN: the first segment carries CWR.</summary>
    public const byte GsoEcn = 0x80;

    /// <summary>True if the frame's transport checksum is partial.</summary>
    public readonly bool NeedsChecksum => (Flags & FlagNeedsChecksum) != 0;

    /// <summary>True if the frame stands for several segments.</summary>
    public readonly bool IsSuperFrame => (GsoType & 0x7f) != 0;
}
