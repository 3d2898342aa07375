using System.Buffers.Binary;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Splice;

/// <summary>What a cookie remembers of the client's SYN.</summary>
public readonly record struct CookieOptions
{
    private const byte NoScale = 15;
    private static readonly ushort[] Classes4 = [536, 1360, 1460, 8940];
    private static readonly ushort[] Classes6 = [1220, 1360, 1440, 8920];

    // MSS class (2 bits), window scale (4), SACK (1), ECN (1).
    internal byte Packed { get; private init; }

    /// <summary>Packs what a SYN offers. An MSS below the lowest class counts as that class: it is what every host takes without the option (RFC 9293 3.7.1).</summary>
    public static CookieOptions Of(int mss, bool hasScale, int scale, bool sack, bool ecn, bool v6)
    {
        ushort[] classes = v6 ? Classes6 : Classes4;
        int mssClass = classes.Length - 1;
        while (mssClass > 0 && classes[mssClass] > mss) mssClass--;
        int scaleBits = hasScale ? Math.Min(scale, TcpOptions.MaxWindowScale) : NoScale;
        return new CookieOptions { Packed = (byte)((mssClass << 6) | (scaleBits << 2) | (sack ? 2 : 0) | (ecn ? 1 : 0)) };
    }

    internal static CookieOptions Unpack(byte packed) => new() { Packed = packed };

    /// <summary>The largest class not above the client's MSS, in bytes.</summary>
    public ushort Mss(bool v6) => (v6 ? Classes6 : Classes4)[Packed >> 6];

    /// <summary>True if the client offered window scaling.</summary>
    public bool HasScale => ((Packed >> 2) & 15) != NoScale;

    /// <summary>The client's window scale; 0 if it offered none.</summary>
    public byte Scale => HasScale ? (byte)((Packed >> 2) & 15) : (byte)0;

    /// <summary>True if the client offered SACK.</summary>
    public bool Sack => (Packed & 2) != 0;

    /// <summary>True if the client's SYN asked for ECN (RFC 3168).</summary>
    public bool Ecn => (Packed & 1) != 0;
}

/// <summary>
/// Our initial sequence number towards the client as a cookie (SPLICE 4.1), so that any box, also a
/// restarted one, can go on from the client's next segment:
/// b = [24 bits keyed hash over (4-tuple, a, option byte)] [option byte, masked by the same key]; the time
/// window is in the key. Pure; wall time is an argument. A guess passes once in 2^24 / 3 tries; timestamps are not
/// remembered (the client's next segment shows them), nor is a MSS exactly.
/// </summary>
public static class SynCookie
{
    // Tells the hash that masks from the hash that proves; an option value is below it.
    private const uint MaskMarker = 0x100;

    /// <summary>Makes b for a SYN with sequence number <paramref name="a"/>; <paramref name="flow"/> is client to service. False only if the window's key was not prepared.</summary>
    public static bool TryMake(CookieKeys keys, in FlowKey flow, TcpSeq a, CookieOptions options, long wallSeconds, out TcpSeq b)
    {
        b = default;
        if (!keys.TryGet(CookieKeys.WindowOf(wallSeconds), out SipKey key)) return false;
        b = new TcpSeq(Encode(key, in flow, a, options.Packed));
        return true;
    }

    /// <summary>Verifies b, as taken from the client's acknowledgment minus 1, against this window and its neighbours.</summary>
    public static bool TryVerify(CookieKeys keys, in FlowKey flow, TcpSeq a, TcpSeq b, long wallSeconds, out CookieOptions options)
    {
        long now = CookieKeys.WindowOf(wallSeconds);
        return TryWindow(keys, now, in flow, a, b, out options)
            || TryWindow(keys, now - 1, in flow, a, b, out options)
            || TryWindow(keys, now + 1, in flow, a, b, out options);
    }

    private static bool TryWindow(CookieKeys keys, long window, in FlowKey flow, TcpSeq a, TcpSeq b, out CookieOptions options)
    {
        options = default;
        if (!keys.TryGet(window, out SipKey key)) return false;
        byte packed = (byte)(b.Value ^ Hash(key, in flow, a, MaskMarker));
        if (Encode(key, in flow, a, packed) != b.Value) return false;
        options = CookieOptions.Unpack(packed);
        return true;
    }

    private static uint Encode(SipKey key, in FlowKey flow, TcpSeq a, byte packed)
    {
        uint proof = (uint)Hash(key, in flow, a, packed) & 0xffff_ff00;
        return proof | (byte)(packed ^ Hash(key, in flow, a, MaskMarker));
    }

    private static ulong Hash(SipKey key, in FlowKey flow, TcpSeq a, uint options)
    {
        Span<byte> input = stackalloc byte[44];
        flow.Source.WriteV6(input);
        flow.Destination.WriteV6(input[16..]);
        BinaryPrimitives.WriteUInt16BigEndian(input[32..], flow.SourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(input[34..], flow.DestinationPort);
        BinaryPrimitives.WriteUInt32BigEndian(input[36..], a.Value);
        BinaryPrimitives.WriteUInt32BigEndian(input[40..], options);
        return SipHash.Hash(key, input);
    }
}
