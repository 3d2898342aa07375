using System.Globalization;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>Options as they occur, and as nobody should send them.</summary>
public sealed class TcpOptionsTests
{
    // {what, bytes, what is read}
    [TestCase("none", "", "")]
    [TestCase("Linux SYN", "020405b40402080a0102030400000000 01030307", "mss=1460 ws=7 sackok ts=01020304/00000000@8")]
    [TestCase("Windows SYN", "020405b40103030801010402", "mss=1460 ws=8 sackok")]
    [TestCase("common data", "0101080a0102030405060708", "ts=01020304/05060708@4")]
    [TestCase("timestamps at an odd offset", "01080a010203040506070800", "ts=01020304/05060708@3")]
    [TestCase("one SACK block", "0101050a0000000100000002", "sack=1@4 [1,2)")]
    [TestCase("four SACK blocks", "010105220000000100000002000000030000000400000005000000060000000700000008", "sack=4@4 [1,2) [3,4) [5,6) [7,8)")]
    [TestCase("SACK with timestamps", "0101080a0102030405060708 0101051200000001000000020000000300000004", "ts=01020304/05060708@4 sack=2@16 [1,2) [3,4)")]
    [TestCase("end stops early", "00020405b4ffffff", "")]
    [TestCase("end behind an option", "030302 00 08 01 00 00", "ws=2")]
    [TestCase("window scale above 14", "0303ff00", "ws=14")]
    [TestCase("unknown kind", "fd06aabbccdd020405b4", "mss=1460")]
    [TestCase("known kind, other length", "0206aabbccdd03040000", "")]
    [TestCase("SACK of no block, of a half", "0502050600000000", "")]
    [TestCase("MD5", "131200112233445566778899aabbccddeeff0101", "md5")]
    [TestCase("AO", "1d1000010011223344556677 8899aabb", "ao")]
    [TestCase("MP_CAPABLE", "1e0c0001 0011223344556677", "mptcp")]
    [TestCase("Fast Open, empty and with cookie", "2202220a0011223344556677", "tfo")]
    [TestCase("Fast Open, experimental", "fe04f989", "tfo")]
    [TestCase("another experiment", "fe04f98a", "")]
    [TestCase("the last of two counts", "020405b402040200", "mss=512")]
    public void Reads(string what, string hex, string expected)
    {
        byte[] options = Hex(hex);
        Assert.That(TcpOptions.TryParse(options, out TcpOptions parsed, out DropReason reason), Is.True, what);
        Assert.That(reason, Is.EqualTo(DropReason.None));
        Assert.That(Describe(options, parsed), Is.EqualTo(expected), what);
    }

    [TestCase("length 0", "0200")]
    [TestCase("length 1", "0801")]
    [TestCase("unknown of length 0", "fd000000")]
    [TestCase("no length byte", "0101 02")]
    [TestCase("runs over", "02 05 05b4")]
    [TestCase("timestamps cut short", "0101080a01020304")]
    public void Refuses(string what, string hex)
    {
        Assert.That(TcpOptions.TryParse(Hex(hex), out _, out DropReason reason), Is.False, what);
        Assert.That(reason, Is.EqualTo(DropReason.TcpOptionsMalformed));
    }

    [Test]
    public void Common_layout_is_seen_only_if_it_is_exactly_that()
    {
        byte[] common = Hex("0101080a0102030405060708");
        Assert.That(TcpOptions.IsTimestampsOnly(common), Is.True);
        Assert.That(TcpOptions.IsTimestampsOnly([.. common, 0, 0, 0, 0]), Is.False);
        Assert.That(TcpOptions.IsTimestampsOnly(common.AsSpan(0, 8)), Is.False);
        Assert.That(TcpOptions.IsTimestampsOnly([]), Is.False);
    }

    private static byte[] Hex(string hex) => Convert.FromHexString(hex.Replace(" ", ""));

    private static string Describe(byte[] bytes, TcpOptions o)
    {
        var parts = new List<string>();
        if (o.HasMss) parts.Add(string.Create(CultureInfo.InvariantCulture, $"mss={o.Mss}"));
        if (o.HasWindowScale) parts.Add(string.Create(CultureInfo.InvariantCulture, $"ws={o.WindowScale}"));
        if (o.SackPermitted) parts.Add("sackok");
        if (o.HasTimestamps) parts.Add(string.Create(CultureInfo.InvariantCulture, $"ts={o.TsVal:x8}/{o.TsEcr:x8}@{o.TimestampOffset}"));
        if (o.SackBlocks > 0) parts.Add(string.Create(CultureInfo.InvariantCulture, $"sack={o.SackBlocks}@{o.SackOffset}"));
        for (int i = 0; i < o.SackBlocks; i++)
        {
            (TcpSeq left, TcpSeq right) = o.SackBlock(bytes, i);
            parts.Add($"[{left},{right})");
        }
        if (o.HasMd5) parts.Add("md5");
        if (o.HasAo) parts.Add("ao");
        if (o.HasMptcp) parts.Add("mptcp");
        if (o.HasFastOpen) parts.Add("tfo");
        return string.Join(' ', parts);
    }
}
