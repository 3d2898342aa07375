using System.Text;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Paths;

/// <summary>
/// One scripted end of a connection. Numbers in tests are relative: an end's own SYN is 0, its first byte
/// 1; what it acknowledges counts from its peer's SYN as it saw it. What comes in is judged as a real end would: right edge
/// and TSval never go back, TSecr is one that this end sent.
/// </summary>
internal abstract class TcpEnd(BoxHarness box, LinkRole role, IpAddr local, IpAddr remote, ushort localPort, ushort remotePort, uint isn, Offer offer, uint tsBase)
{
    private uint _firstTsVal, _lastTsVal, _seenTsVal;
    private long _rightEdge = long.MinValue;

    public uint Isn { get; } = isn;

    public uint PeerIsn { get; protected set; }

    public Offer Offer { get; } = offer;

    /// <summary>Timestamps are in use on this connection.</summary>
    public bool Timestamps { get; protected set; }

    /// <summary>Shift of the windows that this end receives; 0 without scaling.</summary>
    public int PeerScale { get; protected set; }

    /// <summary>Next byte that Say sends; next byte that Ack acknowledges.</summary>
    public int Next { get; set; } = 1;

    public int Received { get; set; } = 1;

    /// <summary>Shift of the windows that this end advertises.</summary>
    public int Scale { get; protected set; }

    /// <summary>What is advertised: as much as in the SYN, unless a test says otherwise.</summary>
    public ushort? Window { get; set; }

    /// <summary>The end's own clock.</summary>
    public uint TsVal => unchecked(tsBase + (uint)(Box.Now / 1_000_000));

    /// <summary>Echo of the newest TSval seen.</summary>
    public uint TsEcr => _seenTsVal;

    public bool MayShrink { get; set; }

    protected BoxHarness Box { get; private set; } = box;

    private Queue<Segment> Inbox => role == LinkRole.External ? Box.ToClient : Box.ToServer;

    public static byte[] Bytes(string text) => Encoding.ASCII.GetBytes(text);

    public static TcpSegmentSpec SynOf(Offer offer)
    {
        TcpSegmentSpec spec = new() { Window = offer.Window };
        if (offer.Raw is not null) return spec;
        (spec.Mss, spec.WindowScale, spec.SackPermitted, spec.HasTimestamps) = (offer.Mss, offer.Scale, offer.Sack, offer.Timestamps);
        return spec;
    }

    /// <summary>Header of a segment from this end, to be changed and written.</summary>
    public TcpSegmentSpec Spec(int seq, TcpFlags flags, int? ack = null, ushort? window = null)
    {
        TcpSegmentSpec spec = new()
        {
            SourceMac = BoxHarness.MacOf(local),
            DestinationMac = Box.Links[(int)role].OwnMac,
            Source = local,
            Destination = remote,
            SourcePort = localPort,
            DestinationPort = remotePort,
            Seq = new TcpSeq(Isn) + seq,
            Ack = (flags & TcpFlags.Ack) != TcpFlags.None ? new TcpSeq(PeerIsn) + (ack ?? Received) : default,
            Flags = flags,
            Window = window ?? Window ?? (ushort)((Offer.Window + (1 << Scale) - 1) >> Scale),
        };
        if (Timestamps) (spec.HasTimestamps, spec.TsVal, spec.TsEcr) = (true, TsVal, _seenTsVal);
        return spec;
    }

    /// <summary>From now on this end talks through another box, as after a takeover.</summary>
    public TcpEnd Through(BoxHarness other)
    {
        Box = other;
        return this;
    }

    public byte[] Frame(in TcpSegmentSpec spec, ReadOnlySpan<byte> payload = default, byte[]? extraOptions = null)
    {
        byte[] frame = new byte[FrameWriter.MaxHeaders + payload.Length];
        int length = FrameWriter.WriteTcp(frame, spec, payload, extraOptions);
        Assert.That(length, Is.GreaterThan(0));
        return frame[..length];
    }

    public DropReason[] Inject(byte[] frame, VnetHeader vnet = default) => Box.Inject(role, frame, vnet);

    public DropReason[] Send(in TcpSegmentSpec spec, ReadOnlySpan<byte> payload = default, byte[]? extraOptions = null)
    {
        if (spec.HasTimestamps) NoteSent(spec.TsVal);
        return Inject(Frame(spec, payload, extraOptions));
    }

    public DropReason[] Send(int seq, ReadOnlySpan<byte> payload, TcpFlags flags = TcpFlags.Ack | TcpFlags.Psh, int? ack = null, ushort? window = null, byte[]? extraOptions = null) =>
        Send(Spec(seq, flags, ack, window), payload, extraOptions);

    public DropReason[] Send(int seq, string payload, TcpFlags flags = TcpFlags.Ack | TcpFlags.Psh, int? ack = null, ushort? window = null) =>
        Send(seq, Bytes(payload), flags, ack, window);

    /// <summary>Sends the next bytes.</summary>
    public DropReason[] Say(string payload, TcpFlags more = TcpFlags.None)
    {
        DropReason[] reasons = Send(Next, payload, TcpFlags.Ack | TcpFlags.Psh | more);
        Next += payload.Length + ((more & TcpFlags.Fin) != TcpFlags.None ? 1 : 0);
        return reasons;
    }

    public DropReason[] Ack(int? ack = null, ushort? window = null) => Send(Next, default(ReadOnlySpan<byte>), TcpFlags.Ack, ack, window);

    public DropReason[] Fin()
    {
        DropReason[] reasons = Send(Next, default(ReadOnlySpan<byte>), TcpFlags.Ack | TcpFlags.Fin);
        Next++;
        return reasons;
    }

    /// <summary>The next segment that arrives at this end.</summary>
    public Segment Expect()
    {
        Assert.That(Inbox, Is.Not.Empty, $"a segment to {local} is expected");
        Segment segment = Inbox.Dequeue();
        Assert.That(segment.IsTcp, Is.True, segment.ToString());
        Assert.That((segment.Source, segment.Destination, segment.SourcePort, segment.DestinationPort), Is.EqualTo((remote, local, remotePort, localPort)), segment.ToString());
        Assert.That(segment.DestinationMac, Is.EqualTo(BoxHarness.MacOf(HopTo(local))));
        Judge(segment);
        return segment;
    }

    /// <summary>The next segment, with its position, payload and flags (PSH aside).</summary>
    public Segment Expect(int seq, string payload, int ack, TcpFlags flags = TcpFlags.Ack)
    {
        Segment segment = Expect();
        Assert.That(Encoding.ASCII.GetString(segment.Payload), Is.EqualTo(payload), segment.ToString());
        Assert.That((segment.Seq, segment.Ack, segment.Flags & ~TcpFlags.Psh), Is.EqualTo((seq, ack, flags)), segment.ToString());
        int end = seq + payload.Length + (segment.Has(TcpFlags.Fin) ? 1 : 0);
        if (seq <= Received && end > Received) Received = end;
        return segment;
    }

    public Segment ExpectAck(int ack) => Expect(Received, "", ack);

    public Segment ExpectReset()
    {
        Segment segment = Expect();
        Assert.That(segment.Has(TcpFlags.Rst), Is.True, segment.ToString());
        return segment;
    }

    public void ExpectNothing() => Assert.That(Inbox, Is.Empty, Inbox.Count > 0 ? Inbox.Peek().ToString() : "");

    protected void NoteSent(uint tsVal)
    {
        if (_firstTsVal == 0) _firstTsVal = tsVal;
        _lastTsVal = _lastTsVal == 0 ? tsVal : TcpSeq.Max(new TcpSeq(_lastTsVal), new TcpSeq(tsVal)).Value;
    }

    protected void SetNumbers(Segment segment)
    {
        segment.Seq = new TcpSeq(segment.RawSeq) - new TcpSeq(PeerIsn);
        segment.Ack = new TcpSeq(segment.RawAck) - new TcpSeq(Isn);
    }

    private void Judge(Segment segment)
    {
        SetNumbers(segment);
        if (segment.Has(TcpFlags.Rst)) return;
        if (Timestamps)
        {
            Assert.That(segment.Options.HasTimestamps, Is.True, $"timestamps of {segment}");
            TcpSeq tsVal = new(segment.Options.TsVal);
            if (_seenTsVal != 0) Assert.That(tsVal - new TcpSeq(_seenTsVal), Is.GreaterThanOrEqualTo(0), $"TSval goes back: {segment}");
            _seenTsVal = tsVal.Value;
            if (segment.Has(TcpFlags.Ack))
            {
                Assert.That(new TcpSeq(segment.Options.TsEcr).IsWithin(new TcpSeq(_firstTsVal), new TcpSeq(_lastTsVal)), Is.True, $"TSecr {segment.Options.TsEcr} is none of {_firstTsVal}..{_lastTsVal}: {segment}");
            }
        }
        if (!segment.Has(TcpFlags.Ack)) return;
        long edge = segment.Ack + ((long)segment.Window << (segment.Has(TcpFlags.Syn) ? 0 : PeerScale));
        if (!MayShrink) Assert.That(edge, Is.GreaterThanOrEqualTo(_rightEdge), $"the right edge shrinks: {segment}");
        _rightEdge = Math.Max(_rightEdge, edge);
    }

    private IpAddr HopTo(IpAddr destination) => Box.Links[(int)role].NextHop(destination);
}

/// <summary>The client's end.</summary>
internal sealed class ClientEnd(BoxHarness box, ushort port, uint a, Offer offer)
    : TcpEnd(box, LinkRole.External, box.ClientAddress, box.Virtual, port, BoxHarness.ServicePort, a, offer, tsBase: 50_000_000)
{
    public const string Request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    public ushort Port { get; } = port;

    /// <summary>Sends the SYN.</summary>
    public DropReason[] Syn(string payload = "", byte[]? extraOptions = null)
    {
        TcpSegmentSpec spec = SynSpec();
        if (spec.HasTimestamps) NoteSent(spec.TsVal);
        if (Offer.Raw is not null && TcpOptions.TryParse(Offer.Raw, out TcpOptions raw, out _) && raw.HasTimestamps) NoteSent(raw.TsVal);
        return Inject(Frame(spec, Bytes(payload), extraOptions ?? Offer.Raw));
    }

    /// <summary>Takes the SYN-ACK.</summary>
    public Segment ExpectSynAck()
    {
        Assert.That(Box.ToClient, Is.Not.Empty, "a SYN-ACK is expected");
        Segment peeked = Box.ToClient.Peek();
        PeerIsn = peeked.RawSeq;
        Timestamps = peeked.Options.HasTimestamps;
        PeerScale = peeked.Options.HasWindowScale ? peeked.Options.WindowScale : 0;
        Scale = peeked.Options.HasWindowScale ? Offer.Scale ?? 0 : 0;
        Segment synAck = Expect();
        Assert.That(synAck.Flags & ~TcpFlags.Ece, Is.EqualTo(TcpFlags.Syn | TcpFlags.Ack));
        Assert.That(synAck.Ack, Is.EqualTo(1));
        return synAck;
    }

    /// <summary>The whole three-way handshake.</summary>
    public Segment Connect()
    {
        Syn();
        Segment synAck = ExpectSynAck();
        Ack();
        return synAck;
    }

    /// <summary>Connects, asks, and the backend has the request.</summary>
    public ServerEnd Splice(uint d = 9_000_000, Offer? server = null, string request = Request)
    {
        Connect();
        Say(request);
        ServerEnd end = Box.Accept(d, server);
        end.Expect(1, request, 1);
        Box.ExpectSilence();
        return end;
    }

    private TcpSegmentSpec SynSpec()
    {
        TcpSegmentSpec spec = Spec(0, TcpFlags.Syn | (Offer.Ecn ? TcpFlags.Ece | TcpFlags.Cwr : TcpFlags.None), window: Offer.Window);
        TcpSegmentSpec offered = SynOf(Offer);
        (spec.Mss, spec.WindowScale, spec.SackPermitted, spec.HasTimestamps) = (offered.Mss, offered.WindowScale, offered.SackPermitted, offered.HasTimestamps);
        spec.TsVal = TsVal;
        return spec;
    }
}

/// <summary>A real's end of one connection.</summary>
internal sealed class ServerEnd : TcpEnd
{
    public ServerEnd(BoxHarness box, Segment syn, uint d, Offer offer)
        : base(box, LinkRole.Internal, syn.Destination, syn.Source, syn.DestinationPort, syn.SourcePort, d, offer, tsBase: 7_000_000)
    {
        FirstSyn = syn;
        PeerIsn = syn.RawSeq;
        Timestamps = offer.Timestamps && syn.Options.HasTimestamps;
        PeerScale = offer.Scale is not null && syn.Options.HasWindowScale ? syn.Options.WindowScale : 0;
        Scale = syn.Options.HasWindowScale ? offer.Scale ?? 0 : 0;
        Real = syn.Destination;
    }

    public Segment FirstSyn { get; }

    public IpAddr Real { get; }

    public DropReason[] SynAck(byte[]? extraOptions = null)
    {
        TcpSegmentSpec spec = Spec(0, TcpFlags.Syn | TcpFlags.Ack | (Offer.Ecn && FirstSyn.Has(TcpFlags.Ece) ? TcpFlags.Ece : TcpFlags.None), ack: 1, window: Offer.Window);
        spec.Mss = Offer.Mss;
        spec.WindowScale = FirstSyn.Options.HasWindowScale ? Offer.Scale : null;
        spec.SackPermitted = Offer.Sack && FirstSyn.Options.SackPermitted;
        spec.HasTimestamps = Timestamps;
        spec.TsEcr = FirstSyn.Options.TsVal;
        if (Timestamps) NoteSent(spec.TsVal);
        return Inject(Frame(spec, default, extraOptions));
    }
}
