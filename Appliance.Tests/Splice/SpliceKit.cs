using System.Buffers.Binary;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

/// <summary>
/// Frames and splices for the tests of this folder, and a second, slow implementation of what the
/// rewrite is to do: fields from the equations in 64-bit arithmetic, checksums from scratch, 16 bits at a time. It shares no code with the rewriter.
/// </summary>
internal static class SpliceKit
{
    public static readonly IpAddr Client4 = Ip("198.51.100.7"), Virtual4 = Ip("203.0.113.10"), Real4 = Ip("192.168.1.11");
    public static readonly IpAddr Client6 = Ip("2001:db8:1::7"), Virtual6 = Ip("2001:db8:2::10"), Real6 = Ip("fd00::11");

    public static IpAddr Ip(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text);

    public static SpliceRecord Record(bool v6 = false, uint a = 1000, uint b = 5000, uint d = 9000, ushort p = 0)
    {
        SpliceRecord r = default;
        r.Id = 1;
        r.Version = 1;
        (r.Client, r.Virtual, r.Source, r.Real) = v6 ? (Client6, Virtual6, Client6, Real6) : (Client4, Virtual4, Client4, Real4);
        (r.ClientPort, r.VirtualPort, r.SourcePort, r.RealPort) = (40001, 80, 40001, 8080);
        (r.A, r.B, r.C, r.D, r.P) = (a, b, a - p, d, p);
        (r.X, r.Y) = (0, b - d);
        r.AckFloor = a + 1;
        r.Options = SpliceOptions.SackClient | SpliceOptions.SackServer | SpliceOptions.Timestamps | SpliceOptions.ScaleClient | SpliceOptions.ScaleServer;
        return r;
    }

    public static (RewriteEntry ToServer, RewriteEntry ToClient) Entries(in SpliceRecord record)
    {
        RewriteEntryBuilder.Build(in record, 3, 1, 2, out RewriteEntry toServer, out RewriteEntry toClient);
        return (toServer, toClient);
    }

    /// <summary>A frame of the flow with right checksums; options are raw and padded with end-of-list.</summary>
    public static byte[] Frame(in FlowKey key, uint seq, uint ack, TcpFlags flags, ushort window, byte[]? options = null, byte[]? payload = null, byte ttl = 64)
    {
        options ??= [];
        payload ??= [];
        bool v6 = !key.Source.IsV4;
        int optionLength = (options.Length + 3) / 4 * 4, ip = v6 ? 40 : 20, tcp = 14 + ip, length = tcp + 20 + optionLength + payload.Length;
        byte[] f = new byte[length];
        Span<byte> s = f;
        s[..12].Fill(2);
        BinaryPrimitives.WriteUInt16BigEndian(s[12..], v6 ? (ushort)0x86dd : (ushort)0x0800);
        if (v6)
        {
            s[14] = 0x6b;
            s[15] = 0x80;
            BinaryPrimitives.WriteUInt16BigEndian(s[18..], (ushort)(length - 54));
            s[20] = 6;
            s[21] = ttl;
            key.Source.WriteV6(s[22..]);
            key.Destination.WriteV6(s[38..]);
        }
        else
        {
            s[14] = 0x45;
            s[15] = 0xb8 | 3;
            BinaryPrimitives.WriteUInt16BigEndian(s[16..], (ushort)(length - 14));
            BinaryPrimitives.WriteUInt16BigEndian(s[18..], 0xbeef);
            s[20] = 0x40;
            s[22] = ttl;
            s[23] = 6;
            key.Source.WriteV4(s[26..]);
            key.Destination.WriteV4(s[30..]);
        }
        Span<byte> t = s[tcp..];
        BinaryPrimitives.WriteUInt16BigEndian(t, key.SourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(t[2..], key.DestinationPort);
        BinaryPrimitives.WriteUInt32BigEndian(t[4..], seq);
        BinaryPrimitives.WriteUInt32BigEndian(t[8..], ack);
        t[12] = (byte)((20 + optionLength) / 4 << 4);
        t[13] = (byte)flags;
        BinaryPrimitives.WriteUInt16BigEndian(t[14..], window);
        options.CopyTo(t[20..]);
        payload.CopyTo(t[(20 + optionLength)..]);
        Seal(f);
        return f;
    }

    /// <summary>Sets IP and TCP checksums from scratch (no VLAN, no IP options).</summary>
    public static void Seal(Span<byte> f)
    {
        bool v6 = f[12] == 0x86;
        int tcp = v6 ? 54 : 34;
        if (!v6)
        {
            f[24] = f[25] = 0;
            BinaryPrimitives.WriteUInt16BigEndian(f[24..], (ushort)~Naive(f[14..34], 0));
        }
        f[tcp + 16] = f[tcp + 17] = 0;
        BinaryPrimitives.WriteUInt16BigEndian(f[(tcp + 16)..], (ushort)~TcpSum(f));
    }

    /// <summary>Sum over pseudo-header and segment, checksum field included: ffff if right.</summary>
    public static uint TcpSum(ReadOnlySpan<byte> f)
    {
        bool v6 = f[12] == 0x86;
        return v6 ? Naive(f[54..], Naive(f[22..54], (uint)(f.Length - 54) + 6)) : Naive(f[34..], Naive(f[26..34], (uint)(f.Length - 34) + 6));
    }

    public static uint Naive(ReadOnlySpan<byte> bytes, uint sum)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            sum += (uint)bytes[i] << ((i & 1) == 0 ? 8 : 0);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        return sum;
    }

    /// <summary>What the rewrite must make of a frame, with checksums from scratch.</summary>
    public static byte[] Expect(ReadOnlySpan<byte> frame, in RewriteEntry e)
    {
        byte[] f = frame.ToArray();
        bool v6 = f[12] == 0x86;
        Span<byte> s = f, t = s[(v6 ? 54 : 34)..];
        s[v6 ? 21 : 22]--;
        if (v6)
        {
            e.NewSource.WriteV6(s[22..]);
            e.NewDestination.WriteV6(s[38..]);
        }
        else
        {
            e.NewSource.WriteV4(s[26..]);
            e.NewDestination.WriteV4(s[30..]);
        }
        BinaryPrimitives.WriteUInt16BigEndian(t, e.NewSourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(t[2..], e.NewDestinationPort);
        if (!e.Flags.HasFlag(RewriteFlags.AddressesOnly)) ExpectNumbers(t, in e);
        Seal(f);
        return f;
    }

    private static void ExpectNumbers(Span<byte> t, in RewriteEntry e)
    {
        bool ack = (t[13] & 16) != 0;
        AddTo(t[4..], e.SeqDelta);
        uint plain = (uint)(((long)BinaryPrimitives.ReadUInt32BigEndian(t[8..]) + e.AckDelta) & 0xffff_ffff);
        if (ack) AddTo(t[8..], e.AckDelta, e.Flags.HasFlag(RewriteFlags.AckFloor) ? e.AckFloor : null);
        if ((t[13] & 2) == 0)
        {
            // The right edge stays where it is when the acknowledgment was raised to the floor.
            long bytes = (long)BinaryPrimitives.ReadUInt16BigEndian(t[14..]) << e.WindowShiftIn;
            long raised = ack ? unchecked(BinaryPrimitives.ReadUInt32BigEndian(t[8..]) - plain) : 0;
            long window = Math.Max(0, bytes - raised) >> e.WindowShiftOut;
            BinaryPrimitives.WriteUInt16BigEndian(t[14..], (ushort)Math.Min(window, 65535));
        }
        Span<byte> options = t[20..((t[12] >> 4) * 4)];
        for (int at = 0; at < options.Length && options[at] != 0;)
        {
            if (options[at] == 1)
            {
                at++;
                continue;
            }
            Span<byte> option = options.Slice(at, options[at + 1]);
            at += option.Length;
            if (option[0] == 8 && option.Length == 10 && e.Flags.HasFlag(RewriteFlags.Timestamps))
            {
                AddTo(option[2..], e.TsValDelta);
                if (ack) AddTo(option[6..], e.TsEcrDelta, e.Flags.HasFlag(RewriteFlags.TsEcrFloor) ? e.TsEcrFloor : null);
            }
            if (option[0] == 5 && option.Length > 2) ExpectSack(option, in e, ack);
        }
    }

    private static void ExpectSack(Span<byte> option, in RewriteEntry e, bool ack)
    {
        if (e.Flags.HasFlag(RewriteFlags.BlankSack))
        {
            option.Fill(1);
            return;
        }
        if (!ack) return;
        var kept = new List<(uint, uint)>();
        for (int i = 2; i < option.Length; i += 8)
        {
            uint left = BinaryPrimitives.ReadUInt32BigEndian(option[i..]) + e.AckDelta, right = BinaryPrimitives.ReadUInt32BigEndian(option[(i + 4)..]) + e.AckDelta;
            if (!e.Flags.HasFlag(RewriteFlags.AckFloor)) kept.Add((left, right));
            else if ((int)(right - e.AckFloor) > 0) kept.Add(((int)(left - e.AckFloor) < 0 ? e.AckFloor : left, right));
        }
        option[2..].Fill(1);
        if (kept.Count == 0)
        {
            option.Fill(1);
            return;
        }
        option[1] = (byte)(2 + 8 * kept.Count);
        for (int i = 0; i < kept.Count; i++)
        {
            BinaryPrimitives.WriteUInt32BigEndian(option[(2 + 8 * i)..], kept[i].Item1);
            BinaryPrimitives.WriteUInt32BigEndian(option[(6 + 8 * i)..], kept[i].Item2);
        }
    }

    private static void AddTo(Span<byte> field, uint delta, uint? floor = null)
    {
        uint value = (uint)(((long)BinaryPrimitives.ReadUInt32BigEndian(field) + delta) & 0xffff_ffff);
        if (floor is uint f && unchecked((int)(value - f)) < 0) value = f;
        BinaryPrimitives.WriteUInt32BigEndian(field, value);
    }

    public static DropReason Rewrite(byte[] frame, in RewriteEntry entry, VnetHeader vnet = default)
    {
        Assert.That(Packet.TryParse(frame, out Packet packet, out DropReason why), Is.True, why.ToString());
        return Rewriter.Rewrite(in packet, in vnet, in entry);
    }

    public static TcpView Tcp(byte[] frame) => Packet.TryParse(frame, out Packet packet, out _) ? packet.Tcp : default;

    public static byte[] Timestamps(uint value, uint echo, int nops = 2)
    {
        byte[] o = new byte[nops + 10];
        o.AsSpan(0, nops).Fill(1);
        o[nops] = 8;
        o[nops + 1] = 10;
        BinaryPrimitives.WriteUInt32BigEndian(o.AsSpan(nops + 2), value);
        BinaryPrimitives.WriteUInt32BigEndian(o.AsSpan(nops + 6), echo);
        return o;
    }

    public static byte[] Sack(int nops, params uint[] edges)
    {
        byte[] o = new byte[nops + 2 + 4 * edges.Length];
        o.AsSpan(0, nops).Fill(1);
        o[nops] = 5;
        o[nops + 1] = (byte)(2 + 4 * edges.Length);
        for (int i = 0; i < edges.Length; i++) BinaryPrimitives.WriteUInt32BigEndian(o.AsSpan(nops + 2 + 4 * i), edges[i]);
        return o;
    }
}
