using System.Text;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.State;

/// <summary>What a link is for.</summary>
public enum LinkRole : byte
{
    /// <summary>Towards the clients.</summary>
    External = 0,

    /// <summary>Towards the servers.</summary>
    Internal = 1,

    /// <summary>Between the boxes; belongs to the host's own stack.</summary>
    Sync = 2,
}

/// <summary>
/// What a frame's destination MAC says about how it came to this box: the relay mark, which
/// so costs no byte in the frame.
/// </summary>
public enum FrameMark : byte
{
    /// <summary>From outside, or handed over by the sharer.</summary>
    Handed = 0,

    /// <summary>Relayed to the owner of its flow.</summary>
    Relayed = 1,

    /// <summary>Relayed on, to the flow's previous owner; never relayed again.</summary>
    RelayedOn = 2,

    /// <summary>Run again by the sharer after a proxy's death.</summary>
    Replayed = 3,
}

/// <summary>
/// One of the box's traffic links: its own MACs and addresses there. The addresses are the data
/// path's, never the host's. Immutable after start.
/// </summary>
public sealed class BoxLink(LinkRole role, string interfaceName, string node)
{
    /// <summary>What it is for.</summary>
    public LinkRole Role { get; } = role;

    /// <summary>The host's name for the interface.</summary>
    public string InterfaceName { get; } = interfaceName;

    /// <summary>Own address, IPv4; none if the link has no IPv4.</summary>
    public IpAddr Address4 { get; init; }

    /// <summary>Own address, IPv6; none if the link has no IPv6.</summary>
    public IpAddr Address6 { get; init; }

    /// <summary>Prefix lengths of the two.</summary>
    public int Prefix4 { get; init; }

    /// <summary>Prefix length of the IPv6 address.</summary>
    public int Prefix6 { get; init; }

    /// <summary>Where what is not on the link goes.</summary>
    public IpAddr Gateway4 { get; init; }

    /// <summary>Where IPv6 packets that are not for the link go.</summary>
    public IpAddr Gateway6 { get; init; }

    /// <summary>Own MACs by <see cref="FrameMark"/>.</summary>
    public MacAddress[] Macs { get; } =
        [MacOf(node, role, FrameMark.Handed), MacOf(node, role, FrameMark.Relayed), MacOf(node, role, FrameMark.RelayedOn), MacOf(node, role, FrameMark.Replayed)];

    /// <summary>The MAC that this box sends with.</summary>
    public MacAddress OwnMac => Macs[0];

    /// <summary>
    /// The MAC of a node on a link: locally administered, 36 bits of a hash of the node's name,
    /// then the link and the mark. Every box can compute every other's.
    /// </summary>
    public static MacAddress MacOf(string node, LinkRole role, FrameMark mark)
    {
        ulong hash = 0xcbf2_9ce4_8422_2325;
        foreach (byte b in Encoding.UTF8.GetBytes(node))
        {
            hash = (hash ^ b) * 0x100_0000_01b3;
        }
        hash ^= hash >> 29;
        hash *= 0xbf58_476d_1ce4_e5b9;
        return new MacAddress(0x0200_0000_0000 | ((hash & 0x0f_ffff_ffff) << 4) | ((ulong)role << 2) | (ulong)mark);
    }

    /// <summary>How a frame to <paramref name="destination"/> came here; false if the MAC is not one of this link's.</summary>
    public bool TryGetMark(MacAddress destination, out FrameMark mark)
    {
        mark = (FrameMark)(destination.Value & 3);
        return destination == Macs[(int)mark];
    }

    /// <summary>True if the box has <paramref name="address"/> as its own on this link.</summary>
    public bool HasAddress(IpAddr address) => !address.IsNone && (address == Address4 || address == Address6);

    /// <summary>The next hop for <paramref name="destination"/>: itself if on the link, else the gateway; none if there is neither.</summary>
    public IpAddr NextHop(IpAddr destination)
    {
        if (destination.IsV4) return IsOnLink(destination, Address4, Prefix4) ? destination : Gateway4;
        bool linkLocal = destination.High >> 54 == 0x3fa;
        return linkLocal || IsOnLink(destination, Address6, Prefix6) ? destination : Gateway6;
    }

    private static bool IsOnLink(IpAddr destination, IpAddr own, int prefix) => !own.IsNone && destination.IsWithin(own, prefix);
}
