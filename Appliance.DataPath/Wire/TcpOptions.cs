using System.Buffers.Binary;

namespace Appliance.DataPath.Wire;

/// <summary>Which options a TCP header carries.</summary>
[Flags]
public enum TcpOptionSet : ushort
{
    /// <summary>None that matters here.</summary>
    None = 0,
    Mss = 1,
    WindowScale = 2,
    SackPermitted = 4,
    Timestamps = 8,
    Sack = 16,

    /// <summary>MD5 signature (RFC 2385).</summary>
    Md5 = 32,

    /// <summary>Authentication option (RFC 5925).</summary>
    Ao = 64,

    /// <summary>Multipath TCP, any subtype (RFC 8684).</summary>
    Mptcp = 128,

    /// <summary>Fast Open cookie, also the experimental form (RFC 7413).</summary>
    FastOpen = 256,
}

/// <summary>
/// The options of one TCP header, found once (RFC 9293 3.1, 7323, 2018). Offsets are bytes
/// from the start of the options and may be odd. As in Linux, an option of a known kind with another
/// length than it should have is skipped like an unknown one, and of a repeated option the last counts.
/// Whether an option is allowed in this segment (MSS outside a SYN) is not judged here.
/// </summary>
public struct TcpOptions
{
    /// <summary>Option kinds on the wire.</summary>
    public const byte KindEnd = 0, KindNop = 1, KindMss = 2, KindWindowScale = 3, KindSackPermitted = 4, KindSack = 5,
        KindTimestamps = 8, KindMd5 = 19, KindAo = 29, KindMptcp = 30, KindFastOpen = 34, KindExperiment = 254;

    /// <summary>Largest window scale (RFC 7323 2.3); greater ones are read as this.</summary>
    public const byte MaxWindowScale = 14;

    // NOP NOP TIMESTAMPS 10: what nearly every data segment carries (RFC 7323 appendix A).
    private const uint AlignedTimestamps = 0x0101_080a;

    /// <summary>What is present.</summary>
    public TcpOptionSet Present;

    /// <summary>Maximum segment size in bytes, as announced.</summary>
    public ushort Mss;

    /// <summary>Window scale, 0..14.</summary>
    public byte WindowScale;

    /// <summary>Number of SACK blocks, 0..4.</summary>
    public byte SackBlocks;

    /// <summary>Offset of the left edge of the first SACK block.</summary>
    public byte SackOffset;

    /// <summary>Offset of the TSval word; TSecr follows it.</summary>
    public byte TimestampOffset;

    /// <summary>Timestamp value and echo.</summary>
    public uint TsVal, TsEcr;

    /// <summary>True if an MSS is announced.</summary>
    public readonly bool HasMss => (Present & TcpOptionSet.Mss) != TcpOptionSet.None;

    /// <summary>True if a window scale is announced.</summary>
    public readonly bool HasWindowScale => (Present & TcpOptionSet.WindowScale) != TcpOptionSet.None;

    /// <summary>True if selective acknowledgments are offered.</summary>
    public readonly bool SackPermitted => (Present & TcpOptionSet.SackPermitted) != TcpOptionSet.None;

    /// <summary>True if timestamps are present.</summary>
    public readonly bool HasTimestamps => (Present & TcpOptionSet.Timestamps) != TcpOptionSet.None;

    /// <summary>True if there is an MD5 signature.</summary>
    public readonly bool HasMd5 => (Present & TcpOptionSet.Md5) != TcpOptionSet.None;

    /// <summary>True if there is a TCP-AO signature.</summary>
    public readonly bool HasAo => (Present & TcpOptionSet.Ao) != TcpOptionSet.None;

    /// <summary>True if there is any MPTCP option.</summary>
    public readonly bool HasMptcp => (Present & TcpOptionSet.Mptcp) != TcpOptionSet.None;

    /// <summary>True if there is a Fast Open option.</summary>
    public readonly bool HasFastOpen => (Present & TcpOptionSet.FastOpen) != TcpOptionSet.None;

    /// <summary>True if the options are exactly NOP NOP TIMESTAMPS; TSval then stands at offset 4, TSecr at 8.</summary>
    public static bool IsTimestampsOnly(ReadOnlySpan<byte> options) =>
        options.Length == 12 && BinaryPrimitives.ReadUInt32BigEndian(options) == AlignedTimestamps;

    /// <summary>The edges of SACK block <paramref name="index"/>, below <see cref="SackBlocks"/>, of the same <paramref name="options"/>.</summary>
    public readonly (TcpSeq Left, TcpSeq Right) SackBlock(ReadOnlySpan<byte> options, int index)
    {
        ReadOnlySpan<byte> block = options.Slice(SackOffset + index * 8, 8);
        return (new TcpSeq(BinaryPrimitives.ReadUInt32BigEndian(block)), new TcpSeq(BinaryPrimitives.ReadUInt32BigEndian(block[4..])));
    }

    /// <summary>Only the timestamps; false if there are none, or the options are malformed.</summary>
    public static bool TryReadTimestamps(ReadOnlySpan<byte> options, out uint value, out uint echo)
    {
        if (IsTimestampsOnly(options))
        {
            (value, echo) = (BinaryPrimitives.ReadUInt32BigEndian(options[4..]), BinaryPrimitives.ReadUInt32BigEndian(options[8..]));
            return true;
        }
        bool found = TryParse(options, out TcpOptions parsed, out _) && parsed.HasTimestamps;
        (value, echo) = (parsed.TsVal, parsed.TsEcr);
        return found;
    }

    /// <summary>Reads the option bytes of a header (<see cref="TcpView.Options"/>); fails with <see cref="DropReason.TcpOptionsMalformed"/>.</summary>
    public static bool TryParse(ReadOnlySpan<byte> options, out TcpOptions parsed, out DropReason reason)
    {
        parsed = default;
        reason = DropReason.None;
        if (IsTimestampsOnly(options))
        {
            parsed.SetTimestamps(options, 2);
            return true;
        }
        int at = 0;
        while (at < options.Length)
        {
            byte kind = options[at];
            if (kind == KindEnd) break;
            if (kind == KindNop)
            {
                at++;
                continue;
            }
            int length = at + 1 < options.Length ? options[at + 1] : 0;
            if (length < 2 || at + length > options.Length)
            {
                reason = DropReason.TcpOptionsMalformed;
                return false;
            }
            parsed.Read(options, at, kind, length);
            at += length;
        }
        return true;
    }

    private void Read(ReadOnlySpan<byte> options, int at, byte kind, int length)
    {
        switch (kind)
        {
            case KindMss when length == 4:
                Present |= TcpOptionSet.Mss;
                Mss = BinaryPrimitives.ReadUInt16BigEndian(options[(at + 2)..]);
                break;
            case KindWindowScale when length == 3:
                Present |= TcpOptionSet.WindowScale;
                WindowScale = Math.Min(options[at + 2], MaxWindowScale);
                break;
            case KindSackPermitted when length == 2:
                Present |= TcpOptionSet.SackPermitted;
                break;
            case KindSack when length is 10 or 18 or 26 or 34:
                Present |= TcpOptionSet.Sack;
                SackOffset = (byte)(at + 2);
                SackBlocks = (byte)((length - 2) / 8);
                break;
            case KindTimestamps when length == 10:
                SetTimestamps(options, at);
                break;
            case KindMd5:
                Present |= TcpOptionSet.Md5;
                break;
            case KindAo:
                Present |= TcpOptionSet.Ao;
                break;
            case KindMptcp:
                Present |= TcpOptionSet.Mptcp;
                break;
            case KindFastOpen:
            case KindExperiment when length >= 4 && BinaryPrimitives.ReadUInt16BigEndian(options[(at + 2)..]) == 0xf989:
                Present |= TcpOptionSet.FastOpen;
                break;
        }
    }

    private void SetTimestamps(ReadOnlySpan<byte> options, int at)
    {
        Present |= TcpOptionSet.Timestamps;
        TimestampOffset = (byte)(at + 2);
        TsVal = BinaryPrimitives.ReadUInt32BigEndian(options[(at + 2)..]);
        TsEcr = BinaryPrimitives.ReadUInt32BigEndian(options[(at + 6)..]);
    }
}
