namespace Appliance.DataPath.Port;

/// <summary>
/// Which of a port's frames one of its sockets receives. A TCP SYN (or SYN-ACK) is the first of its flow, so it may be received before all that waits without
/// overtaking anything; how soon it is answered decides what the ends believe their shortest round trip to be, and with
/// it how large Linux makes its super-frames (docs/decisions/0001-receive-and-transmit.md). The program is classic BPF in front of a <see cref="MacFilter"/>'s. TCP over IPv4
/// without options and over IPv6 without extension headers, fragments excepted; every other SYN is among the rest, which is only slower.
/// </summary>
public enum FrameShare
{
    /// <summary>Every frame.</summary>
    All,

    /// <summary>SYNs only.</summary>
    Syns,

    /// <summary>All but those.</summary>
    AllButSyns,
}

/// <summary>Builds the programs of <see cref="FrameShare"/>.</summary>
public static class FrameShareProgram
{
    /// <summary>Longest frame that is taken for a SYN: Ethernet with two tags, IPv6, TCP with all the options it can have. One with data (RFC 7413) may be longer.</summary>
    public const int LongestSyn = 14 + 8 + 40 + 60;

    private const byte SynFlag = 0x02, Tcp = 6;

    /// <summary>What <paramref name="share"/> lets in of what <paramref name="filter"/> lets in.</summary>
    public static BpfInstruction[] Build(FrameShare share, MacFilter filter)
    {
        if (share == FrameShare.All) return filter.Program.ToArray();
        // The instruction behind the last test lets nothing in; after it stands the filter.
        const int nothing = 17, wanted = 18;
        (int syn, int other) = share == FrameShare.Syns ? (wanted, nothing) : (nothing, wanted);
        byte To(int target, int from) => (byte)(target - from - 1);
        return
        [
            new(BpfInstruction.LoadLength, 0),
            new(BpfInstruction.JumpAbove, LongestSyn, To(other, 1), 0),
            new(BpfInstruction.LoadHalf, BpfInstruction.Protocol),
            new(BpfInstruction.JumpEqual, Wire.PacketParser.EtherIpv4, 1, 0),
            new(BpfInstruction.JumpEqual, Wire.PacketParser.EtherIpv6, To(13, 4), To(other, 4)),
            Net(BpfInstruction.LoadByte, 0),
            new(BpfInstruction.JumpEqual, 0x45, 0, To(other, 6)),
            Net(BpfInstruction.LoadHalf, 6),
            new(BpfInstruction.JumpSet, 0x3fff, To(other, 8), 0),
            Net(BpfInstruction.LoadByte, 9),
            new(BpfInstruction.JumpEqual, Tcp, 0, To(other, 10)),
            Net(BpfInstruction.LoadByte, 20 + 13),
            new(BpfInstruction.JumpAlways, To(16, 12)),
            Net(BpfInstruction.LoadByte, 6),
            new(BpfInstruction.JumpEqual, Tcp, 0, To(other, 14)),
            Net(BpfInstruction.LoadByte, 40 + 13),
            new(BpfInstruction.JumpSet, SynFlag, To(syn, 16), To(other, 16)),
            new(BpfInstruction.ReturnK, 0),
            .. filter.Program,
        ];
    }

    private static BpfInstruction Net(ushort code, uint offset) => new(code, BpfInstruction.FromNetwork + offset);
}
