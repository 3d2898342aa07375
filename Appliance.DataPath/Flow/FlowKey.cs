using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Flow;

/// <summary>A directed 5-tuple with 16-byte addresses; blittable, 40 bytes, padding always zero.</summary>
[StructLayout(LayoutKind.Sequential, Size = 40)]
public readonly struct FlowKey(IpAddr source, IpAddr destination, ushort sourcePort, ushort destinationPort, byte protocol) : IEquatable<FlowKey>
{
    /// <summary>Sender.</summary>
    public readonly IpAddr Source = source;

    /// <summary>Receiver.</summary>
    public readonly IpAddr Destination = destination;

    // One word, written and read as one: a key is compared right after it was made, and a wide load over narrow
    // stores waits until they have left the store buffer.
    private readonly ulong _rest = sourcePort | ((ulong)destinationPort << 16) | ((ulong)protocol << 32);

    /// <summary>Sender's port.</summary>
    public ushort SourcePort => (ushort)_rest;

    /// <summary>Receiver's port.</summary>
    public ushort DestinationPort => (ushort)(_rest >> 16);

    /// <summary>IP protocol number.</summary>
    public byte Protocol => (byte)(_rest >> 32);

    /// <summary>The key of a packet that has ports.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FlowKey Of(in Packet packet)
    {
        ref readonly PacketLayout layout = ref packet.Layout;
        if (layout.Kind != NetworkKind.Ipv4 || !layout.HasTransport) return OfAny(in packet);
        // A parsed packet's own offsets lie in its frame.
        ref byte frame = ref MemoryMarshal.GetReference(packet.Frame);
        return Read(ref Unsafe.Add(ref frame, layout.Network + 12), ref Unsafe.Add(ref frame, layout.Transport), layout.Protocol);
    }

    /// <summary>
    /// The key of a frame that looks like plain IPv4 and TCP, as a hint to prefetch by: nothing is checked but the
    /// length, so what comes out may be the key of nothing.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryGuess(ReadOnlySpan<byte> frame, out FlowKey key)
    {
        if (frame.Length < 54 || frame[12] != 8 || frame[14] != 0x45)
        {
            key = default;
            return false;
        }
        ref byte first = ref MemoryMarshal.GetReference(frame);
        key = Read(ref Unsafe.Add(ref first, 26), ref Unsafe.Add(ref first, 34), frame[23]);
        return true;
    }

    /// <summary>The key of the answers.</summary>
    public FlowKey Reverse() => new(Destination, Source, DestinationPort, SourcePort, Protocol);

    /// <summary>Hash for the flow table; well mixed in all 64 bits for a given <paramref name="seed"/>, which an attacker does not know.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Hash(ulong seed)
    {
        // The first two do not wait for each other.
        ulong from = Mix(seed ^ Source.High ^ 0x9e37_79b9_7f4a_7c15, Source.Low ^ 0xa076_1d64_78bd_642f);
        ulong to = Mix(seed ^ Destination.High ^ 0x8ebc_6af0_9c88_c6e3, Destination.Low ^ 0xe703_7ed1_a0b4_28db);
        return Mix(from ^ _rest, to ^ seed);
    }

    /// <summary>
    /// Hash of one endpoint, the only fields that both halves of a splice share (the client's
    /// address and port); every box must compute the same, so the seed is the cluster's.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong HashEndpoint(IpAddr address, ushort port, ulong seed) =>
        Mix(Mix(seed ^ address.High ^ 0x2d35_8dcc_aa6c_78a5, address.Low ^ 0x8bb8_4b93_962e_acc9) ^ port, seed ^ 0x589f_b9a8_7c1d_a3b1);

    /// <summary>Same key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool operator ==(in FlowKey x, in FlowKey y) =>
        x.Source == y.Source && x.Destination == y.Destination && x._rest == y._rest;

    /// <summary>Different keys.</summary>
    public static bool operator !=(in FlowKey x, in FlowKey y) => !(x == y);

    /// <inheritdoc/>
    public bool Equals(FlowKey other) => this == other;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is FlowKey other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => (int)Hash(0);

    /// <inheritdoc/>
    public override string ToString() => $"{Source}:{SourcePort} > {Destination}:{DestinationPort} protocol {Protocol}";

    private static FlowKey OfAny(in Packet packet) => new(packet.Source, packet.Destination, packet.SourcePort, packet.DestinationPort, packet.Layout.Protocol);

    // Two addresses and two ports, each pair in one load.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static FlowKey Read(ref byte addresses, ref byte ports, byte protocol)
    {
        ulong both = Net(Unsafe.ReadUnaligned<ulong>(ref addresses));
        uint pair = Net(Unsafe.ReadUnaligned<uint>(ref ports));
        return new(IpAddr.FromV4((uint)(both >> 32)), IpAddr.FromV4((uint)both), (ushort)(pair >> 16), (ushort)pair, protocol);
    }

    private static ulong Net(ulong value) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;

    private static uint Net(uint value) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;

    // 64x64 -> 128 multiply, folded: full avalanche for the price of one instruction.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Mix(ulong a, ulong b)
    {
        ulong high = Math.BigMul(a, b, out ulong low);
        return high ^ low;
    }
}
