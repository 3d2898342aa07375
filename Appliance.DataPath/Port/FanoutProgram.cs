namespace Appliance.DataPath.Port;

/// <summary>Which end of a packet is the client, as seen by a port.</summary>
public enum ClientSide
{
    /// <summary>External port: clients send.</summary>
    Source,

    /// <summary>Internal port: clients are answered.</summary>
    Destination,
}

/// <summary>
/// The classic BPF program by which the kernel spreads a port's frames over several workers
/// (PACKET_FANOUT_CBPF): <see cref="ClientShare"/> of the client's address and port, so that both directions of a flow
/// land on the same worker. TCP and UDP over IPv4 without options and over IPv6 without extension headers; everything else,
/// fragments included, goes to worker 0.
/// </summary>
public static class FanoutProgram
{
    /// <summary>Builds the program for <paramref name="workers"/> sockets (1 or more).</summary>
    public static BpfInstruction[] Build(ClientSide side, int workers)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(workers, 1);
        bool source = side == ClientSide.Source;
        BpfInstruction[] hash =
        [
            // A = port, X = address.
            new(BpfInstruction.Multiply, ClientShare.Mix),
            new(BpfInstruction.XorX, 0),
            new(BpfInstruction.Multiply, ClientShare.Final),
            new(BpfInstruction.ShiftRight, ClientShare.Fold),
            new(BpfInstruction.Modulo, (uint)workers),
            new(BpfInstruction.ReturnA, 0),
        ];
        BpfInstruction[] v4 =
        [
            Net(BpfInstruction.LoadByte, 0),
            new(BpfInstruction.JumpEqual, 0x45, 0, 9),
            Net(BpfInstruction.LoadHalf, 6),
            new(BpfInstruction.JumpSet, 0x3fff, 7, 0),
            Net(BpfInstruction.LoadByte, 9),
            new(BpfInstruction.JumpEqual, 6, 1, 0),
            new(BpfInstruction.JumpEqual, 17, 0, 4),
            Net(BpfInstruction.LoadWord, source ? 12u : 16u),
            new(BpfInstruction.MoveToX, 0),
            Net(BpfInstruction.LoadHalf, source ? 20u : 22u),
            // Set below: lands on the hash, behind the IPv6 part.
            new(BpfInstruction.JumpAlways, 0),
            new(BpfInstruction.ReturnK, 0),
        ];
        uint address = source ? 8u : 24u;
        BpfInstruction[] v6 =
        [
            Net(BpfInstruction.LoadByte, 6),
            new(BpfInstruction.JumpEqual, 6, 2, 0),
            new(BpfInstruction.JumpEqual, 17, 1, 0),
            new(BpfInstruction.ReturnK, 0),
            Net(BpfInstruction.LoadWord, address),
            new(BpfInstruction.MoveToX, 0),
            Net(BpfInstruction.LoadWord, address + 4),
            new(BpfInstruction.XorX, 0),
            new(BpfInstruction.Multiply, ClientShare.Mix),
            new(BpfInstruction.MoveToX, 0),
            Net(BpfInstruction.LoadWord, address + 8),
            new(BpfInstruction.XorX, 0),
            new(BpfInstruction.Multiply, ClientShare.Mix),
            new(BpfInstruction.MoveToX, 0),
            Net(BpfInstruction.LoadWord, address + 12),
            new(BpfInstruction.XorX, 0),
            new(BpfInstruction.MoveToX, 0),
            Net(BpfInstruction.LoadHalf, source ? 40u : 42u),
        ];
        v4[10] = new(BpfInstruction.JumpAlways, (uint)(v4.Length - 11 + v6.Length));
        BpfInstruction[] head =
        [
            new(BpfInstruction.LoadHalf, BpfInstruction.Protocol),
            new(BpfInstruction.JumpEqual, Wire.PacketParser.EtherIpv4, 2, 0),
            new(BpfInstruction.JumpEqual, Wire.PacketParser.EtherIpv6, (byte)(v4.Length + 1), 0),
            new(BpfInstruction.ReturnK, 0),
        ];
        return [.. head, .. v4, .. v6, .. hash];
    }

    private static BpfInstruction Net(ushort code, uint offset) => new(code, BpfInstruction.FromNetwork + offset);
}
