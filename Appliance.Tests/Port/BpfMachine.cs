using System.Buffers.Binary;
using Appliance.DataPath.Port;

namespace Appliance.Tests.Port;

/// <summary>Runs classic BPF programs as the kernel would, for the instructions that ours use.</summary>
internal static class BpfMachine
{
    internal static uint Run(ReadOnlySpan<BpfInstruction> program, ReadOnlySpan<byte> frame, int networkOffset = 14)
    {
        uint a = 0, x = 0;
        for (int pc = 0; pc < program.Length; pc++)
        {
            BpfInstruction i = program[pc];
            switch (i.Code)
            {
                case BpfInstruction.LoadHalf when i.K == BpfInstruction.Protocol:
                    a = BinaryPrimitives.ReadUInt16BigEndian(frame[(networkOffset - 2)..]);
                    break;
                case BpfInstruction.LoadByte or BpfInstruction.LoadHalf or BpfInstruction.LoadWord:
                    int at = i.K >= BpfInstruction.FromNetwork ? networkOffset + (int)(i.K - BpfInstruction.FromNetwork) : (int)i.K;
                    int size = i.Code == BpfInstruction.LoadByte ? 1 : i.Code == BpfInstruction.LoadHalf ? 2 : 4;
                    // A load outside the frame ends the program with 0.
                    if (at + size > frame.Length) return 0;
                    a = size == 1 ? frame[at] : size == 2 ? BinaryPrimitives.ReadUInt16BigEndian(frame[at..]) : BinaryPrimitives.ReadUInt32BigEndian(frame[at..]);
                    break;
                case BpfInstruction.LoadLength: a = (uint)frame.Length; break;
                case BpfInstruction.JumpAbove: pc += a > i.K ? i.JumpTrue : i.JumpFalse; break;
                case BpfInstruction.JumpEqual: pc += a == i.K ? i.JumpTrue : i.JumpFalse; break;
                case BpfInstruction.JumpSet: pc += (a & i.K) != 0 ? i.JumpTrue : i.JumpFalse; break;
                case BpfInstruction.JumpAlways: pc += (int)i.K; break;
                case BpfInstruction.Multiply: a *= i.K; break;
                case BpfInstruction.XorX: a ^= x; break;
                case BpfInstruction.ShiftRight: a >>= (int)i.K; break;
                case BpfInstruction.Modulo: a %= i.K; break;
                case BpfInstruction.MoveToX: x = a; break;
                case BpfInstruction.ReturnK: return i.K;
                case BpfInstruction.ReturnA: return a;
                default: throw new InvalidOperationException($"instruction {i.Code:x}");
            }
        }
        throw new InvalidOperationException("the program runs past its end");
    }
}
