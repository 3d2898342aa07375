using System.Buffers.Binary;
using System.Globalization;
using Appliance.DataPath.Conntrack;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Conntrack;

/// <summary>
/// Conversations as text: "C SA 100 200 w1000 +50" is a segment of the client with SYN and ACK, sequence 100, acknowledgment 200, window field 1000,
/// 50 bytes of data; "s7" a window scale, "k300-400" a SACK block; behind "=" the verdict, and the phase if it is to be looked at.
/// </summary>
[TestFixture]
public sealed class TcpTrackerTests
{
    private const string Handshake = """
        C S 1000 0 w100 s4 = Changed SynSent
        S SA 5000 1001 w200 s3 = Changed SynReceived
        C A 1001 5001 w100 = Changed Established

        """;

    private static readonly string[] Whole =
    [
        """
        C A 1001 5001 w100 +500 = Same
        S A 5001 1501 w200 +1400 = Same
        S A 6401 1501 w200 +200 = Same
        C A 1501 6601 w100 = Same
        C FA 1501 6601 w100 = Changed FinWait
        S A 6601 1502 w200 = Changed CloseWait
        S FA 6601 1502 w200 = Changed LastAck
        C A 1502 6602 w100 = Changed TimeWait
        S FA 6601 1502 w200 = Same TimeWait
        C S 9000 0 w100 = Reopens
        """,
        // The FIN overtakes data; the acknowledgment of the data is none of the FIN.
        """
        S FA 6001 1001 w200 +100 = Changed FinWait
        S A 5001 1001 w200 +1000 = Same
        C A 1001 6001 w100 = Same FinWait
        C A 1001 6102 w100 = Changed CloseWait
        """,
        // Both close at once.
        """
        C FA 1001 5001 w100 = Changed FinWait
        S FA 5001 1001 w200 = Changed LastAck
        C A 1002 5002 w100 = Changed LastAck
        S A 5002 1002 w200 = Changed TimeWait
        """,
        // Windows: 200 << 3 = 1600 may be sent to the server, 100 << 4 = 1600 to the client; the SYNs' own windows are not scaled.
        """
        C A 1201 5001 w100 +10 = Same
        C A 1203 5001 w100 +10 = BeyondWindow
        S A 5001 1001 w200 = Same
        C A 2601 5001 w100 +10 = Same
        C A 2603 5001 w100 +10 = BeyondWindow
        S A 5001 9000 w200 = AckBeyond
        S A 5001 2611 w200 k2700-2800 = AckBeyond
        S A 5001 2611 w200 = Same
        C A 900 5001 w100 +100 = TooOld
        C A 1001 5001 w100 +10 = Same
        C A 2611 4294900000 w100 = AckTooOld
        """,
        // Only the expected number resets (RFC 5961); SYNs do nothing, and are answered by the end.
        """
        S R 5002 0 w0 = Ignored Established
        C R 1100 0 w0 = Ignored Established
        C R 900000 0 w0 = BeyondWindow
        C R 4294000000 0 w0 = TooOld
        C S 7777 0 w100 = Ignored Established
        S SA 8888 1001 w100 = Ignored Established
        S SA 8888 1005 w100 = AckBeyond
        S SA 5000 1001 w200 s3 = Same
        S RA 5001 1001 w0 = Changed Closed
        S RA 5001 1001 w0 = Same
        C S 20000 0 w100 = Reopens
        """,
        // What the box did not see acknowledged was received all the same.
        """
        C A 1001 5001 w100 +100 = Same
        C R 1101 0 w0 = Changed Closed
        """,
        """
        C SF 1001 5001 w100 = BadFlags
        C F 1001 5001 w100 = BadFlags
        C SR 1001 5001 w100 = BadFlags
        C - 1001 5001 w100 = BadFlags
        C FRA 1001 5001 w100 = BadFlags
        """,
    ];

    private static readonly string[] Beginnings =
    [
        // Repeated, begun anew, refused.
        """
        C S 1000 0 w100 = Changed SynSent
        C S 1000 0 w100 = Same
        C S 3000 0 w100 = Changed SynSent
        S RA 0 1001 w0 = AckBeyond
        S R 0 0 w0 = NotBegun
        S RA 0 3001 w0 = Changed Closed
        """,
        // The server has an older connection on the tuple: it says so, the client resets that one and tries again.
        """
        C S 1000 0 w100 = Changed SynSent
        S A 77000 42000 w10 = Ignored SynSent
        C R 41000 0 w0 = BeyondWindow
        C R 42000 0 w0 = Ignored SynSent
        C S 1000 0 w100 = Same
        S SA 5000 1001 w200 = Changed SynReceived
        C A 1001 5001 w100 = Changed Established
        """,
        // Both call each other at once.
        """
        C S 1000 0 w100 = Changed SynSent
        S S 5000 0 w200 = Changed SynReceived
        C SA 1000 5001 w100 = Same
        S SA 5000 1001 w200 = Same
        S A 5001 1001 w200 = Changed
        C A 1001 5001 w100 = Changed Established
        """,
        // A guess at the client's number.
        """
        C S 1000 0 w100 = Changed SynSent
        S SA 5000 900 w200 = AckBeyond
        S SA 5000 1002 w200 = AckBeyond
        S SA 5000 1001 w200 = Changed SynReceived
        C A 1001 5002 w100 = AckBeyond
        """,
        // Data in the SYN; without scale on one side there is none on either.
        """
        C S 1000 0 w100 s7 +20 = Changed
        S SA 5000 1021 w200 = Changed
        C A 1021 5001 w100 = Changed Established
        S A 5101 1021 w200 +1 = Same
        S A 5103 1021 w200 +1 = BeyondWindow
        """,
        // Numbers that wrap.
        """
        C S 4294967290 0 w1000 = Changed
        S SA 4294967200 4294967291 w1000 = Changed
        C A 4294967291 4294967201 w1000 +100 = Changed Established
        S A 4294967201 95 w1000 +200 = Same
        C A 95 105 w1000 = Same
        C A 95 106 w1000 = AckBeyond
        """,
        """
        S A 1000 2000 w100 = NotBegun
        S SA 1000 2000 w100 = NotBegun
        S R 1000 0 w100 = NotBegun
        S SF 1000 0 w100 = BadFlags
        """,
    ];

    [TestCaseSource(nameof(Whole))]
    public void Conversations_behind_a_handshake(string text) => Play(Handshake + text);

    [TestCaseSource(nameof(Beginnings))]
    public void Beginnings_of_conversations(string text) => Play(text);

    [Test]
    public void Of_a_connection_picked_up_windows_refuse_nothing_and_ends_are_seen()
    {
        TcpView view = Parse("C A 1000 2000 w100 +10".Split(' '), out TcpOptions options);
        Assert.That(TcpTracker.Begin(out TcpTrack track, view, options, pickUp: false), Is.EqualTo(TcpVerdict.NotBegun));
        Assert.That(TcpTracker.Begin(out track, view, options, pickUp: true), Is.EqualTo(TcpVerdict.Changed));
        Assert.That((track.Phase, track.IsPickedUp), Is.EqualTo((TcpPhase.Established, true)));
        Continue(ref track, """
            S A 900000 1010 w9 +1000 = Same
            C A 1010 901000 w9 = Same
            C FA 1010 901000 w9 = Changed FinWait
            S FA 901000 1011 w9 = Changed
            C A 1011 901001 w9 = Changed TimeWait
            """);
    }

    [Test]
    public void Copies_merge_in_any_order_to_the_same()
    {
        var random = new Random(5961);
        string[] lines = (Handshake + Whole[0]).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var copies = new List<TcpTrack>();
        TcpTrack track = default;
        foreach (string line in lines[..^1])
        {
            Step(ref track, line, isFirst: copies.Count == 0);
            copies.Add(track);
        }
        for (int round = 0; round < 200; round++)
        {
            TcpTrack merged = default;
            foreach (TcpTrack copy in copies.Concat(copies).OrderBy(_ => random.Next())) merged.Merge(copy);
            Assert.That((merged.Phase, merged.Client.End, merged.Server.End, merged.Client.Limit, merged.Server.Limit, merged.Client.MaxWindow),
                Is.EqualTo((track.Phase, track.Client.End, track.Server.End, track.Client.Limit, track.Server.Limit, track.Client.MaxWindow)));
        }
    }

    /// <summary>Whatever comes, a half never goes back, and what is refused changes nothing.</summary>
    [Test]
    public void Random_segments_never_take_anything_back()
    {
        var random = new Random(793);
        for (int round = 0; round < 2000; round++)
        {
            TcpTrack track = default;
            foreach (string line in Handshake.Split('\n', StringSplitOptions.RemoveEmptyEntries)) Step(ref track, line, track.Client.State == TcpHalfState.None);
            for (int i = 0; i < 50; i++)
            {
                var segment = new byte[20 + random.Next(100)];
                random.NextBytes(segment);
                segment[12] = 0x50;
                if (random.Next(3) > 0) BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(4), (uint)(1000 + random.Next(6000)));
                if (random.Next(3) > 0) BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(8), (uint)(1000 + random.Next(6000)));
                TcpTrack before = track;
                TcpVerdict verdict = TcpTracker.Follow(ref track, (FlowDirection)random.Next(2), new TcpView(segment), default);
                Assert.That(track.Client.State, Is.GreaterThanOrEqualTo(before.Client.State));
                Assert.That(track.Server.State, Is.GreaterThanOrEqualTo(before.Server.State));
                Assert.That(track.Client.End - before.Client.End, Is.GreaterThanOrEqualTo(0));
                if (!TcpTracker.Passes(verdict) || verdict == TcpVerdict.Ignored) Assert.That(track, Is.EqualTo(before), verdict.ToString());
            }
        }
    }

    private static void Play(string text)
    {
        TcpTrack track = default;
        Continue(ref track, text);
    }

    private static void Continue(ref TcpTrack track, string text)
    {
        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries)) Step(ref track, line, isFirst: track.Client.State == TcpHalfState.None);
    }

    private static void Step(ref TcpTrack track, string line, bool isFirst)
    {
        string[] sides = line.Split(" = ");
        string[] words = sides[0].Trim().Split(' ');
        TcpView view = Parse(words, out TcpOptions options);
        TcpVerdict verdict = isFirst
            ? TcpTracker.Begin(out track, view, options, pickUp: false)
            : TcpTracker.Follow(ref track, words[0] == "C" ? FlowDirection.ToServer : FlowDirection.ToClient, view, options);
        string[] expected = sides[1].Trim().Split(' ');
        Assert.That(verdict.ToString(), Is.EqualTo(expected[0]), line);
        if (expected.Length > 1) Assert.That(track.Phase.ToString(), Is.EqualTo(expected[1]), line);
    }

    private static TcpView Parse(string[] words, out TcpOptions options)
    {
        int data = 0;
        var bytes = new List<byte>();
        uint window = 0;
        foreach (string word in words[4..])
        {
            uint[] numbers = [.. word[1..].Split('-').Select(n => uint.Parse(n, CultureInfo.InvariantCulture))];
            if (word[0] == 'w') window = numbers[0];
            else if (word[0] == '+') data = (int)numbers[0];
            else if (word[0] == 's') bytes.AddRange([1, 3, 3, (byte)numbers[0]]);
            else if (word[0] == 'k')
            {
                bytes.AddRange([1, 1, 5, 10]);
                foreach (uint edge in numbers) bytes.AddRange([(byte)(edge >> 24), (byte)(edge >> 16), (byte)(edge >> 8), (byte)edge]);
            }
        }
        var segment = new byte[20 + bytes.Count + data];
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(4), uint.Parse(words[2], CultureInfo.InvariantCulture));
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(8), uint.Parse(words[3], CultureInfo.InvariantCulture));
        segment[12] = (byte)((20 + bytes.Count) / 4 << 4);
        foreach (char flag in words[1])
        {
            segment[13] |= (byte)(flag switch { 'S' => TcpFlags.Syn, 'A' => TcpFlags.Ack, 'F' => TcpFlags.Fin, 'R' => TcpFlags.Rst, _ => TcpFlags.None });
        }
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(14), (ushort)window);
        bytes.CopyTo(segment, 20);
        Assert.That(TcpOptions.TryParse(segment.AsSpan(20, bytes.Count), out options, out _), Is.True);
        return new TcpView(segment);
    }
}
