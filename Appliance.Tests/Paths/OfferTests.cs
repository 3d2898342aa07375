using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>SPLICE 12, Handshake: what the ends offer each other, and what becomes of it.</summary>
public sealed class OfferTests(int workers, bool astray) : BoxTests(workers, astray)
{
    // Window scale, SACK, timestamps, MSS: each alone missing, and all.
    private static readonly Offer[] Poor =
    [
        new() { Scale = null }, new() { Sack = false }, new() { Timestamps = false }, new() { Mss = null }, Offer.Plain, new() { Scale = 0 }, new() { Scale = 14 },
    ];

    [TestCaseSource(nameof(Poor))]
    public void What_the_client_does_not_offer_is_offered_to_nobody(Offer offer)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client(offer: offer);
        Segment synAck = client.Connect();
        Assert.That((synAck.Options.HasWindowScale, synAck.Options.SackPermitted, synAck.Options.HasTimestamps), Is.EqualTo((offer.Scale is not null, offer.Sack, offer.Timestamps)));
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        TcpOptions asked = server.FirstSyn.Options;
        Assert.That((asked.HasWindowScale, asked.SackPermitted, asked.HasTimestamps), Is.EqualTo((offer.Scale is not null, offer.Sack, offer.Timestamps)));
        if (offer.Scale is byte scale) Assert.That(asked.WindowScale, Is.EqualTo(scale), "the client's own");
        Assert.That(asked.Mss, Is.EqualTo(offer.Mss ?? 536));
        Assert.That(server.FirstSyn.RawSeq, Is.EqualTo(client.Isn), "c = a");
        server.Expect(1, ClientEnd.Request, 1);
        server.Say("answer");
        client.Expect(1, "answer", client.Next);
        client.Ack();
        server.ExpectAck(server.Next);
    }

    // The class below it is promised to the server; what is longer than the client's MSS never goes to it.
    [TestCase((ushort)64, 536)]
    [TestCase((ushort)536, 536)]
    [TestCase((ushort)1359, 536)]
    [TestCase((ushort)1360, 1360)]
    [TestCase((ushort)1459, 1360)]
    [TestCase((ushort)1460, 1460)]
    [TestCase((ushort)9000, 1460)]
    [TestCase((ushort)65535, 1460)]
    public void The_server_is_offered_the_MSS_class_of_the_client(ushort mss, int promised)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client(offer: new Offer { Mss = mss });
        Assert.That(client.Connect().Options.Mss, Is.EqualTo(1460), "the pool's");
        client.Say(ClientEnd.Request);
        Assert.That(box.Accept().FirstSyn.Options.Mss, Is.EqualTo(promised));
    }

    [TestCase((ushort)9000, 8940, false)]
    [TestCase((ushort)8940, 8940, false)]
    [TestCase((ushort)1220, 1220, true)]
    [TestCase((ushort)9000, 8920, true)]
    public void Jumbo_frames_are_agreed_when_all_offer_them(ushort mss, int promised, bool v6)
    {
        Offer jumbo = new() { Mss = 8960 };
        using BoxHarness box = new(new BoxOptions { Mtu = 9000, Backend = jumbo, V6 = v6 });
        ClientEnd client = box.Client(offer: new Offer { Mss = mss });
        Assert.That(client.Connect().Options.Mss, Is.EqualTo(8960));
        client.Say(ClientEnd.Request);
        Assert.That(box.Accept().FirstSyn.Options.Mss, Is.EqualTo(promised));
    }

    private static readonly TestCaseData[] Layouts =
    [
        new TestCaseData(new byte[] { 1, 2, 4, 5, 0xb4, 8, 10, 0, 0, 1, 1, 0, 0, 0, 0, 1, 4, 2, 3, 3, 5 }, true).SetName("odd offsets"),
        new TestCaseData(new byte[] { 2, 4, 5, 0xb4, 0, 99, 1, 0 }, false).SetName("end of list early, garbage behind"),
        new TestCaseData(new byte[] { 99, 6, 1, 2, 3, 4, 2, 4, 5, 0xb4, 253, 4, 0, 0 }, false).SetName("unknown kinds"),
    ];

    [TestCaseSource(nameof(Layouts))]
    public void Options_in_any_layout_are_understood(byte[] raw, bool all)
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client(offer: new Offer { Raw = raw });
        client.Syn();
        Segment synAck = client.ExpectSynAck();
        Assert.That((synAck.Options.HasWindowScale, synAck.Options.SackPermitted, synAck.Options.HasTimestamps), Is.EqualTo((all, all, all)));
    }

    [TestCase(new byte[] { 2, 0, 5, 180 })]
    [TestCase(new byte[] { 2, 1, 5, 180 })]
    [TestCase(new byte[] { 1, 1, 1, 2 })]
    [TestCase(new byte[] { 2, 40, 5, 180 })]
    public void Impossible_option_lengths_are_dropped_by_name(byte[] raw)
    {
        using BoxHarness box = new();
        Assert.That(box.Client(offer: new Offer { Raw = raw }).Syn(), Is.EqualTo(new[] { DropReason.TcpOptionsMalformed }));
        box.ExpectSilence();
    }

    [Test]
    public void MD5_and_AO_cannot_be_spliced([Values(TcpOptions.KindMd5, TcpOptions.KindAo)] byte kind)
    {
        using BoxHarness box = new();
        byte[] signature = new byte[18];
        (signature[0], signature[1]) = (kind, 18);
        Assert.That(box.Client(offer: Offer.Plain).Syn(extraOptions: signature), Is.EqualTo(new[] { DropReason.SynTcpMd5OrAo }));
        box.ExpectSilence();
    }

    [Test]
    public void MPTCP_is_stripped()
    {
        using BoxHarness box = new();
        ClientEnd client = box.Client();
        client.Syn(extraOptions: [TcpOptions.KindMptcp, 12, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        Assert.That(client.ExpectSynAck().Options.HasMptcp, Is.False);
        client.Ack();
        client.Say(ClientEnd.Request);
        ServerEnd server = box.Accept();
        Assert.That(server.FirstSyn.Options.HasMptcp, Is.False);
    }

    [TestCase(true, true, true)]
    [TestCase(true, false, false)]
    [TestCase(false, true, false)]
    public void ECN_is_agreed_only_by_all(bool client, bool server, bool agreed)
    {
        using BoxHarness box = new(new BoxOptions { Backend = new Offer { Ecn = server } });
        ClientEnd end = box.Client(offer: new Offer { Ecn = client });
        Assert.That(end.Connect().Has(TcpFlags.Ece), Is.EqualTo(agreed));
        end.Say(ClientEnd.Request);
        Assert.That(box.Accept().FirstSyn.Has(TcpFlags.Ece | TcpFlags.Cwr), Is.EqualTo(agreed));
    }

    [Test]
    public void An_accurate_ECN_SYN_falls_back_to_plain_ECN_or_none()
    {
        using BoxHarness box = new(new BoxOptions { Backend = new Offer { Ecn = true } });
        ClientEnd client = box.Client(offer: new Offer { Ecn = true });
        TcpSegmentSpec spec = client.Spec(0, TcpFlags.Syn | TcpFlags.Ece | TcpFlags.Cwr);
        byte[] frame = client.Frame(spec);
        frame[14 + 20 + 12] |= 1;
        Assert.That(Packet.TryParse(frame, out Packet packet, out _) && InternetChecksum.SetTransport(packet), Is.True);
        client.Inject(frame);
        Segment synAck = client.ExpectSynAck();
        Assert.That(synAck.Transport[12] & 1, Is.Zero, "AE is not echoed");
    }

    [Test]
    public void An_unprobed_pool_promises_little_and_nothing_while_it_may_still_answer()
    {
        using BoxHarness box = new(new BoxOptions { Backend = null });
        ClientEnd client = box.Client();
        Assert.That(client.Syn(), Is.EqualTo(new[] { DropReason.BackendsNotHeard }));
        box.Advance(1_000);
        Segment synAck = client.Connect();
        Assert.That((synAck.Options.Mss, synAck.Options.HasWindowScale, synAck.Options.SackPermitted, synAck.Options.HasTimestamps), Is.EqualTo(((ushort)536, false, false, false)));
    }
}
