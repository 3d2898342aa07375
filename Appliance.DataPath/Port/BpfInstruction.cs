using System.Runtime.InteropServices;

namespace Appliance.DataPath.Port;

/// <summary>
/// One instruction of a classic BPF program (struct sock_filter, linux/filter.h): the kernel
/// checks a program when it is attached, so a wrong one is refused and never run.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public readonly struct BpfInstruction(ushort code, uint k, byte jumpTrue = 0, byte jumpFalse = 0)
{
    /// <summary>Operation.</summary>
    public readonly ushort Code = code;

    /// <summary>Instructions to skip if a comparison holds, if it does not.</summary>
    public readonly byte JumpTrue = jumpTrue, JumpFalse = jumpFalse;

    /// <summary>Operand.</summary>
    public readonly uint K = k;

    /// <summary>Loads a word, half word or byte of the frame; the frame's length; takes the return value from k or from A.</summary>
    public const ushort LoadWord = 0x20, LoadHalf = 0x28, LoadByte = 0x30, LoadLength = 0x80, ReturnK = 0x06, ReturnA = 0x16;

    /// <summary>Jumps if A equals k, if A is above k, if A and k share a bit; jumps always.</summary>
    public const ushort JumpEqual = 0x15, JumpAbove = 0x25, JumpSet = 0x45, JumpAlways = 0x05;

    /// <summary>Arithmetic on A with k, or with X where the name says so.</summary>
    public const ushort Multiply = 0x24, AndK = 0x54, ShiftRight = 0x74, XorX = 0xac, Modulo = 0x94;

    /// <summary>Copies A to X.</summary>
    public const ushort MoveToX = 0x07;

    /// <summary>Offset base that counts from the network header (SKF_NET_OFF), and the pseudo offset of skb->protocol (SKF_AD_OFF + SKF_AD_PROTOCOL).</summary>
    public const uint FromNetwork = unchecked((uint)-0x100000), Protocol = unchecked((uint)-0x1000);
}
