using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// Which frames a packet socket lets into its ring, as an immutable value: those to the given
/// MACs (own, virtual, joined multicast groups), broadcast ARP, and nothing else; never our own
/// beats (<see cref="BeatEtherType"/>), which have a socket of their own. Holds the classic BPF
/// program that says so. Does not look behind the Ethernet header.
/// </summary>
public sealed class MacFilter
{
    /// <summary>EtherType of liveness beats (a local experimental EtherType, IEEE 802).</summary>
    public const ushort BeatEtherType = 0x88b5;

    /// <summary>Most addresses that fit the kernel's limit of 4,096 instructions.</summary>
    public const int MaxAddresses = 800;

    private const uint Accept = 0x40000;

    private static readonly BpfInstruction[] NothingProgram = [new(BpfInstruction.ReturnK, 0)];

    private readonly MacAddress[] _addresses;
    private readonly BpfInstruction[] _program;

    /// <summary>Frames to these addresses; duplicates are removed.</summary>
    public MacFilter(ReadOnlySpan<MacAddress> addresses)
    {
        _addresses = addresses.ToArray().Distinct().ToArray();
        if (_addresses.Length > MaxAddresses) throw new ArgumentException($"at most {MaxAddresses} addresses", nameof(addresses));
        _program = Build(_addresses);
    }

    private MacFilter(MacAddress[] addresses, BpfInstruction[] program)
    {
        _addresses = addresses;
        _program = program;
    }

    /// <summary>Lets every frame in, whatever its kind; for instruments such as a link emulator, together with promiscuous mode.</summary>
    public static MacFilter Everything { get; } = new([], [new(BpfInstruction.ReturnK, Accept)]);

    /// <summary>The addresses let in, each once.</summary>
    public ReadOnlySpan<MacAddress> Addresses => _addresses;

    /// <summary>The program to attach.</summary>
    public ReadOnlySpan<BpfInstruction> Program => _program;

    /// <summary>A program that lets nothing in.</summary>
    public static ReadOnlySpan<BpfInstruction> Nothing => NothingProgram;

    /// <summary>The destination to which IPv6 neighbour solicitations for <paramref name="address"/> go (RFC 4291 2.7.1, RFC 2464 7).</summary>
    public static MacAddress SolicitedNode(IpAddr address) => new(0x3333_ff00_0000 | (address.Low & 0xff_ffff));

    /// <summary>True if this filter lets frames to <paramref name="address"/> in.</summary>
    public bool Contains(MacAddress address) => Array.IndexOf(_addresses, address) >= 0;

    private static BpfInstruction[] Build(MacAddress[] addresses)
    {
        const int typeOffset = 12, highOffset = 0, lowOffset = 2;
        var p = new List<BpfInstruction>
        {
            new(BpfInstruction.LoadHalf, typeOffset),
            new(BpfInstruction.JumpEqual, BeatEtherType, 0, 1),
            new(BpfInstruction.ReturnK, 0),
            // Broadcast only for ARP: everything else that is broadcast is the host's affair.
            new(BpfInstruction.JumpEqual, PacketParser.EtherArp, 0, 5),
            new(BpfInstruction.LoadWord, lowOffset),
            new(BpfInstruction.JumpEqual, uint.MaxValue, 0, 3),
            new(BpfInstruction.LoadHalf, highOffset),
            new(BpfInstruction.JumpEqual, ushort.MaxValue, 0, 1),
            new(BpfInstruction.ReturnK, Accept),
            new(BpfInstruction.LoadWord, lowOffset),
        };
        foreach (MacAddress address in addresses)
        {
            p.Add(new(BpfInstruction.JumpEqual, (uint)address.Value, 0, 4));
            p.Add(new(BpfInstruction.LoadHalf, highOffset));
            p.Add(new(BpfInstruction.JumpEqual, (uint)(address.Value >> 32), 0, 1));
            p.Add(new(BpfInstruction.ReturnK, Accept));
            p.Add(new(BpfInstruction.LoadWord, lowOffset));
        }
        p.Add(new(BpfInstruction.ReturnK, 0));
        return p.ToArray();
    }
}
