using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Port;

/// <summary>
/// Which of several workers a client's packets belong to: a pure function of the client's address and port, the
/// only fields that both directions of a flow share before and after rewriting. The kernel computes the same
/// (<see cref="FanoutProgram"/>), so it must be one that classic BPF can: multiplications modulo 2^32, xor, shift.
/// </summary>
public static class ClientShare
{
    internal const uint Mix = 0x9e37_79b1, Final = 0x85eb_ca6b;
    internal const int Fold = 13;

    /// <summary>The number of the worker, below <paramref name="workers"/>.</summary>
    public static int Of(IpAddr client, ushort port, int workers)
    {
        uint address = client.IsV4 ? client.V4 : FoldV6(client);
        return (int)(((((port * Mix) ^ address) * Final) >> Fold) % (uint)workers);
    }

    private static uint FoldV6(IpAddr client)
    {
        uint folded = ((uint)(client.High >> 32) ^ (uint)client.High) * Mix;
        folded = (folded ^ (uint)(client.Low >> 32)) * Mix;
        return folded ^ (uint)client.Low;
    }
}
