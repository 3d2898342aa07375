using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>Neighbour discovery: what we write is read back, and each check of RFC 4861 6.1 and 7.1 refuses.</summary>
public sealed class NeighborTests
{
    [Test]
    public void Solicitation_is_read_back()
    {
        NeighborView message = Read(Solicitation());
        Assert.That((message.Kind, message.Target, message.LinkAddress), Is.EqualTo((NeighborKind.Solicitation, FrameCorpus.B6, FrameCorpus.MacA)));
        Packet packet = FrameCorpus.Parse(Solicitation());
        Assert.That(packet.Destination, Is.EqualTo(FrameCorpus.Ip("ff02::1:ff00:77")));
        Assert.That(packet.DestinationMac.ToString(), Is.EqualTo("33:33:ff:00:00:77"));
    }

    [Test]
    public void Probe_for_a_duplicate_carries_no_mac()
    {
        var f = new byte[100];
        NeighborView message = Read(f[..NeighborWriter.WriteSolicitation(f, FrameCorpus.MacA, default, FrameCorpus.B6)]);
        Assert.That(message.HasLinkAddress, Is.False);
    }

    [Test]
    public void Advertisements_are_read_back()
    {
        NeighborView answer = Read(Advertisement());
        Assert.That((answer.Kind, answer.Target, answer.LinkAddress), Is.EqualTo((NeighborKind.Advertisement, FrameCorpus.A6, FrameCorpus.MacA)));
        Assert.That(answer.IsRouter && answer.IsSolicited && answer.IsOverride, Is.True);
        var f = new byte[100];
        NeighborView news = Read(f[..NeighborWriter.WriteUnsolicitedAdvertisement(f, FrameCorpus.MacA, FrameCorpus.A6, isRouter: false)]);
        Assert.That(!news.IsRouter && !news.IsSolicited && news.IsOverride && news.LinkAddress == FrameCorpus.MacA, Is.True);
    }

    [Test]
    public void Router_messages()
    {
        Assert.That(Read(RouterMessage(NeighborKind.RouterSolicitation, 8, "fe80::1", "ff02::2", withMac: true)).LinkAddress, Is.EqualTo(FrameCorpus.MacA));
        Assert.That(Read(RouterMessage(NeighborKind.RouterAdvertisement, 16, "fe80::1", "ff02::1", withMac: true)).Kind, Is.EqualTo(NeighborKind.RouterAdvertisement));
        Refuse("advertised from afar", RouterMessage(NeighborKind.RouterAdvertisement, 16, "2001:db8::1", "ff02::1", withMac: true));
        Refuse("MAC of nobody", RouterMessage(NeighborKind.RouterSolicitation, 8, "::", "ff02::2", withMac: true));
        Refuse("too short", RouterMessage(NeighborKind.RouterAdvertisement, 8, "fe80::1", "ff02::1", withMac: false));
    }

    [Test]
    public void Checks_of_rfc_4861()
    {
        Refuse("hop limit", Changed(Solicitation(), 14 + 7, 254));
        Refuse("code", Changed(Solicitation(), 54 + 1, 1));
        Refuse("checksum", Changed(Solicitation(), 54 + 2, 0x55, fix: false));
        Refuse("multicast target", Changed(Solicitation(), 54 + 8, 0xff));
        Refuse("option of length 0", Changed(Solicitation(), 54 + 25, 0));
        Refuse("option runs over", Changed(Solicitation(), 54 + 25, 2));
        Refuse("redirect", Changed(Solicitation(), 54, 137));
        byte[] fromNobody = Solicitation();
        fromNobody.AsSpan(14 + 8, 16).Clear();
        Refuse("MAC of nobody", Changed(fromNobody, 54, 135));
        var f = new byte[100];
        byte[] probe = f[..NeighborWriter.WriteSolicitation(f, FrameCorpus.MacA, default, FrameCorpus.B6)];
        Refuse("probe to no solicited-node group", Changed(probe, 14 + 24 + 11, 0x66));
        Refuse("solicited to a group", Changed(f[..NeighborWriter.WriteUnsolicitedAdvertisement(f, FrameCorpus.MacA, FrameCorpus.A6, true)], 54 + 4, 0x60));
        Refuse("fragmented", FrameCorpus.Ip(true, 0, Solicitation()[54..], [Packet.ProtocolIcmp6, 0, 0, 0, 0, 0, 0, 1], Ipv6View.Fragment));
    }

    [Test]
    public void Partial_checksum_is_not_judged()
    {
        byte[] frame = Changed(Solicitation(), 54 + 2, 0x55, fix: false);
        Assert.That(NeighborView.TryParse(FrameCorpus.Parse(frame), checksumPartial: true, out _, out _), Is.True);
    }

    [Test]
    public void Writers_refuse_the_other_family_and_short_spans()
    {
        var f = new byte[100];
        Assert.That(NeighborWriter.WriteSolicitation(f, FrameCorpus.MacA, FrameCorpus.A6, FrameCorpus.A4), Is.Zero);
        Assert.That(NeighborWriter.WriteArpRequest(f, FrameCorpus.MacA, FrameCorpus.A4, FrameCorpus.A6), Is.Zero);
        Assert.That(NeighborWriter.WriteArpRequest(f.AsSpan(0, 41), FrameCorpus.MacA, FrameCorpus.A4, FrameCorpus.B4), Is.Zero);
        Assert.That(NeighborWriter.WriteSolicitation(f.AsSpan(0, 85), FrameCorpus.MacA, FrameCorpus.A6, FrameCorpus.B6), Is.Zero);
    }

    private static byte[] Solicitation()
    {
        var f = new byte[100];
        return f[..NeighborWriter.WriteSolicitation(f, FrameCorpus.MacA, FrameCorpus.A6, FrameCorpus.B6)];
    }

    private static byte[] Advertisement()
    {
        var f = new byte[100];
        return f[..NeighborWriter.WriteAdvertisement(f, FrameCorpus.MacA, FrameCorpus.A6, FrameCorpus.MacB, FrameCorpus.B6, isRouter: true)];
    }

    private static byte[] RouterMessage(NeighborKind kind, int length, string source, string destination, bool withMac)
    {
        var message = new byte[length + (withMac ? 8 : 0)];
        message[0] = (byte)kind;
        if (withMac)
        {
            message[length] = message[length + 1] = 1;
            FrameCorpus.MacA.Write(message.AsSpan(length + 2));
        }
        byte[] frame = FrameCorpus.Ip(true, Packet.ProtocolIcmp6, message);
        FrameCorpus.Ip(source).WriteV6(frame.AsSpan(14 + 8));
        FrameCorpus.Ip(destination).WriteV6(frame.AsSpan(14 + 24));
        return Changed(frame, 14 + 7, 255);
    }

    private static byte[] Changed(byte[] frame, int at, byte value, bool fix = true)
    {
        frame[at] = value;
        if (fix) InternetChecksum.SetTransport(FrameCorpus.Parse(frame));
        return frame;
    }

    private static NeighborView Read(byte[] frame)
    {
        Assert.That(NeighborView.TryParse(FrameCorpus.Parse(frame), checksumPartial: false, out NeighborView message, out DropReason reason), Is.True);
        Assert.That(reason, Is.EqualTo(DropReason.None));
        return message;
    }

    private static void Refuse(string why, byte[] frame)
    {
        Assert.That(NeighborView.TryParse(FrameCorpus.Parse(frame), checksumPartial: false, out _, out DropReason reason), Is.False, why);
        Assert.That(reason, Is.EqualTo(DropReason.NeighborMalformed), why);
    }
}
