using Appliance.Control.Failover;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Failover;

[TestFixture]
public sealed class VrrpViewTests
{
    private static readonly IpAddr Source4 = Address("192.0.2.1"), Group4 = Address("224.0.0.18"), Source6 = Address("fe80::2"), Group6 = Address("ff02::12");

    // 203.0.113.10, router 10, priority 200, each second; checksums computed apart from this code.
    private static byte[] Advert4 => [0x31, 10, 200, 1, 0, 100, 0x27, 0xf4, 203, 0, 113, 10];

    private static IpAddr Address(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text, nameof(text));

    [Test]
    public void What_is_written_over_IPv4_is_what_the_table_says()
    {
        var payload = new byte[64];
        int length = VrrpView.Write(payload, Source4, Group4, 10, 200, 1_000_000_000, [Address("203.0.113.10")]);
        Assert.That(payload.AsSpan(0, length).ToArray(), Is.EqualTo(Advert4));
        Assert.That(VrrpView.TryParse(Advert4, Source4, Group4, 255, out VrrpView view), Is.EqualTo(VrrpReject.None));
        Assert.That((view.RouterId, view.Priority, view.AddressCount, view.IntervalNs), Is.EqualTo(((byte)10, (byte)200, 1, 1_000_000_000L)));
        Assert.That(view.Address(0), Is.EqualTo(Address("203.0.113.10")));
    }

    [Test]
    public void What_is_written_over_IPv6_is_what_the_table_says()
    {
        byte[] expected = Convert.FromHexString("3107ff020001a579fe80000000000000000000000000000120010db8000000000000000000000010");
        var payload = new byte[64];
        int length = VrrpView.Write(payload, Source6, Group6, 7, 255, 10_000_000, [Address("fe80::1"), Address("2001:db8::10")]);
        Assert.That(payload.AsSpan(0, length).ToArray(), Is.EqualTo(expected));
        Assert.That(VrrpView.TryParse(expected, Source6, Group6, 255, out VrrpView view), Is.EqualTo(VrrpReject.None));
        Assert.That((view.RouterId, view.Priority, view.AddressCount, view.IntervalNs), Is.EqualTo(((byte)7, (byte)255, 2, 10_000_000L)));
        Assert.That(view.Address(1), Is.EqualTo(Address("2001:db8::10")));
    }

    [Test]
    public void A_checksum_without_pseudo_header_is_accepted_over_IPv4_only()
    {
        byte[] plain = Advert4;
        (plain[6], plain[7]) = (0xca, 0x84);
        Assert.That(VrrpView.TryParse(plain, Source4, Group4, 255, out _), Is.EqualTo(VrrpReject.None));
        var written = new byte[plain.Length];
        VrrpView.Write(written, Source4, Group4, 10, 200, 1_000_000_000, [Address("203.0.113.10")], pseudoHeader: false);
        Assert.That(written, Is.EqualTo(plain));
        var six = new byte[64];
        int length = VrrpView.Write(six, Source6, Group6, 1, 1, 1, [Source6]);
        (six[6], six[7]) = (0, 0);
        ushort sum = (ushort)~InternetChecksum.Sum(six.AsSpan(0, length));
        (six[6], six[7]) = ((byte)(sum >> 8), (byte)sum);
        Assert.That(VrrpView.TryParse(six.AsSpan(0, length), Source6, Group6, 255, out _), Is.EqualTo(VrrpReject.Checksum));
    }

    [TestCase(0, 0x21, VrrpReject.Version)]
    [TestCase(0, 0x32, VrrpReject.Type)]
    [TestCase(3, 0, VrrpReject.Truncated)]
    [TestCase(3, 2, VrrpReject.Truncated)]
    [TestCase(2, 201, VrrpReject.Checksum)]
    public void What_is_wrong_is_named(int at, int value, VrrpReject expected)
    {
        byte[] payload = Advert4;
        payload[at] = (byte)value;
        Assert.That(VrrpView.TryParse(payload, Source4, Group4, 255, out _), Is.EqualTo(expected));
    }

    [Test]
    public void What_a_router_forwarded_is_refused_and_what_is_too_short()
    {
        Assert.That(VrrpView.TryParse(Advert4, Source4, Group4, 254, out _), Is.EqualTo(VrrpReject.HopLimit));
        for (int length = 0; length < Advert4.Length; length++)
        {
            Assert.That(VrrpView.TryParse(Advert4.AsSpan(0, length), Source4, Group4, 255, out _), Is.EqualTo(VrrpReject.Truncated), $"{length} bytes");
        }
    }

    [TestCase(1, 10_000_000)]
    [TestCase(14_999_999, 10_000_000)]
    [TestCase(15_000_000, 20_000_000)]
    [TestCase(60_000_000_000, 40_950_000_000)]
    public void Intervals_are_hundredths_of_a_second(long asked, long said)
    {
        var payload = new byte[64];
        int length = VrrpView.Write(payload, Source4, Group4, 1, 1, asked, [Source4]);
        Assert.That(VrrpView.TryParse(payload.AsSpan(0, length), Source4, Group4, 255, out VrrpView view), Is.EqualTo(VrrpReject.None));
        Assert.That(view.IntervalNs, Is.EqualTo(said));
    }

    /// <summary>Any bytes: a reason or a view whose fields can all be read.</summary>
    [Test]
    public void Random_bytes_do_no_harm()
    {
        var random = new Random(712);
        var payload = new byte[80];
        int read = 0;
        for (int i = 0; i < 200_000; i++)
        {
            random.NextBytes(payload);
            if (i % 2 == 0) (payload[0], payload[3]) = (0x31, (byte)random.Next(6));
            bool v4 = i % 4 < 2;
            int length = random.Next(payload.Length + 1);
            if (length >= 8 && i % 8 == 0)
            {
                (payload[6], payload[7]) = (0, 0);
                ushort sum = InternetChecksum.Transport(v4 ? Source4 : Source6, v4 ? Group4 : Group6, VrrpView.Protocol, payload.AsSpan(0, length));
                (payload[6], payload[7]) = ((byte)(sum >> 8), (byte)sum);
            }
            if (VrrpView.TryParse(payload.AsSpan(0, length), v4 ? Source4 : Source6, v4 ? Group4 : Group6, 255, out VrrpView view) != VrrpReject.None) continue;
            read++;
            Assert.That(view.IntervalNs, Is.InRange(0, 40_950_000_000));
            for (int a = 0; a < view.AddressCount; a++) Assert.That(view.Address(a).IsV4, Is.EqualTo(v4));
        }
        Assert.That(read, Is.GreaterThan(1000));
    }
}
