using System.Buffers.Binary;
using System.Security.Cryptography;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Splice;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

public class SynCookieTests
{
    private const long Now = 1_750_000_000;
    private static readonly byte[] ClusterKey = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
    private static readonly FlowKey Flow = new(SpliceKit.Client4, SpliceKit.Virtual4, 40001, 80, 6);

    // Reference vectors of the SipHash paper's implementation: key 00..0f, data 00, 01, ...
    [TestCase(0, 0x726fdb47dd0e0e31ul)]
    [TestCase(1, 0x74f839c593dc67fdul)]
    [TestCase(7, 0xab0200f58b01d137ul)]
    [TestCase(8, 0x93f5f5799a932462ul)]
    [TestCase(15, 0xa129ca6149be45e5ul)]
    public void SipHash_EqualsTheReference(int length, ulong expected)
    {
        byte[] bytes = [.. Enumerable.Range(0, 16).Select(i => (byte)i)];
        Assert.That(SipHash.Hash(SipKey.Read(bytes), bytes.AsSpan(0, length)), Is.EqualTo(expected));
    }

    [Test]
    public void WindowKey_IsHkdfOfPurposeAndWindow()
    {
        byte[] info = [.. "cookie"u8, 0, 0, 0, 0, 0, 0, 0, 0];
        BinaryPrimitives.WriteInt64BigEndian(info.AsSpan(6), Now / 64);
        byte[] expected = HKDF.DeriveKey(HashAlgorithmName.SHA256, ClusterKey, 16, [], info);
        Assert.That(new CookieKeys(ClusterKey, Now).TryGet(Now / 64, out SipKey key), Is.True);
        Assert.That(key, Is.EqualTo(SipKey.Read(expected)));
    }

    [Test]
    public void RoundTrip_OnAnotherBox_OverAllOptions()
    {
        CookieKeys maker = new(ClusterKey, Now), other = new(ClusterKey, Now + 30);
        for (int i = 0; i < 256; i++)
        {
            bool v6 = (i & 1) != 0;
            var offered = CookieOptions.Of(i * 40, (i & 2) != 0, i % 16, (i & 4) != 0, (i & 8) != 0, v6);
            TcpSeq a = new((uint)i * 0x0123_4567);
            Assert.That(SynCookie.TryMake(maker, Flow, a, offered, Now, out TcpSeq b), Is.True);
            Assert.That(SynCookie.TryVerify(other, Flow, a, b, Now + 30, out CookieOptions read), Is.True);
            Assert.That(read, Is.EqualTo(offered));
        }
    }

    [TestCase(9000, false, (ushort)8940)]
    [TestCase(8940, false, (ushort)8940)]
    [TestCase(1460, false, (ushort)1460)]
    [TestCase(1459, false, (ushort)1360)]
    [TestCase(1359, false, (ushort)536)]
    [TestCase(64, false, (ushort)536)]
    [TestCase(1440, true, (ushort)1440)]
    [TestCase(1220, true, (ushort)1220)]
    [TestCase(64, true, (ushort)1220)]
    public void Mss_IsTheLargestClassBelow(int mss, bool v6, ushort expected) =>
        Assert.That(CookieOptions.Of(mss, false, 0, false, false, v6).Mss(v6), Is.EqualTo(expected));

    [Test]
    public void Options_AreUnpacked()
    {
        CookieOptions none = CookieOptions.Of(1460, false, 9, false, true, false), scaled = CookieOptions.Of(1460, true, 15, true, false, false);
        Assert.That((none.HasScale, none.Scale, none.Sack, none.Ecn), Is.EqualTo((false, (byte)0, false, true)));
        Assert.That((scaled.HasScale, scaled.Scale, scaled.Sack, scaled.Ecn), Is.EqualTo((true, (byte)14, true, false)));
    }

    [TestCase(-64, true)]
    [TestCase(0, true)]
    [TestCase(64, true)]
    [TestCase(128, false)]
    [TestCase(-128, false)]
    public void Window_ItselfAndNeighboursAreAccepted(int later, bool accepted)
    {
        var keys = new CookieKeys(ClusterKey, Now);
        Assert.That(SynCookie.TryMake(keys, Flow, new(7), default, Now, out TcpSeq b), Is.True);
        keys.Prepare(Now + later);
        Assert.That(SynCookie.TryVerify(keys, Flow, new(7), b, Now + later, out _), Is.EqualTo(accepted));
    }

    [Test]
    public void WindowChange_InsideAHandshake_IsNotNoticed()
    {
        // The last second of a window, and the first of the next, with keys prepared up to a window late.
        long end = Now / 64 * 64 + 63;
        var keys = new CookieKeys(ClusterKey, end - 60);
        Assert.That(SynCookie.TryMake(keys, Flow, new(7), default, end, out TcpSeq b), Is.True);
        Assert.That(SynCookie.TryVerify(keys, Flow, new(7), b, end + 1, out _), Is.True);
        Assert.That(SynCookie.TryMake(keys, Flow, new(7), default, end + 1, out _), Is.True);
    }

    [Test]
    public void Forged_OrForAnotherConnection_IsRefused()
    {
        var keys = new CookieKeys(ClusterKey, Now);
        SynCookie.TryMake(keys, Flow, new(7), CookieOptions.Of(1460, true, 7, true, false, false), Now, out TcpSeq b);
        for (int bit = 0; bit < 32; bit++)
        {
            Assert.That(SynCookie.TryVerify(keys, Flow, new(7), new(b.Value ^ (1u << bit)), Now, out _), Is.False, $"bit {bit}");
        }
        Assert.That(SynCookie.TryVerify(keys, Flow, new(8), b, Now, out _), Is.False);
        Assert.That(SynCookie.TryVerify(keys, new FlowKey(Flow.Source, Flow.Destination, 40002, 80, 6), new(7), b, Now, out _), Is.False);
        Assert.That(SynCookie.TryVerify(new CookieKeys(new byte[32], Now), Flow, new(7), b, Now, out _), Is.False);
    }

    [Test]
    public void BlindGuesses_PassOnceInFiveMillion()
    {
        var keys = new CookieKeys(ClusterKey, Now);
        var random = new Random(1);
        int passed = 0;
        for (int i = 0; i < 200_000; i++)
        {
            if (SynCookie.TryVerify(keys, Flow, new(7), new((uint)random.NextInt64(1L << 32)), Now, out _)) passed++;
        }
        Assert.That(passed, Is.LessThanOrEqualTo(2));
    }

    [Test]
    public void AllocatesNothing()
    {
        var keys = new CookieKeys(ClusterKey, Now);
        Loop(100);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Loop(1000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);

        void Loop(int n)
        {
            for (int i = 0; i < n; i++)
            {
                SynCookie.TryMake(keys, in Flow, new((uint)i), CookieOptions.Of(1460, true, 7, true, false, false), Now, out TcpSeq b);
                SynCookie.TryVerify(keys, in Flow, new((uint)i), b, Now, out _);
            }
        }
    }
}
