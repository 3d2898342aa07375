using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Port.TestFrames;

namespace Appliance.Tests.Port;

/// <summary>Which frames come through the socket for SYNs, and that every frame comes through exactly one.</summary>
public sealed class FrameShareTests
{
    private const byte Syn = 0x02, Ack = 0x10, Rst = 0x04, Fin = 0x01;

    private static readonly MacAddress Own = new(0x0200_0000_0001), Other = new(0x0200_0000_0002);
    private static readonly MacFilter Filter = new([Own]);

    [TestCase(Syn, true)]
    [TestCase(Syn | Ack, true)]
    [TestCase(Ack, false)]
    [TestCase(Rst, false)]
    [TestCase(Fin | Ack, false)]
    [TestCase(0, false)]
    public void A_flag_decides(int flags, bool syn)
    {
        Check(V4((byte)flags), syn);
        Check(V6((byte)flags), syn);
        var options = new byte[FrameShareProgram.LongestSyn];
        V6((byte)flags).CopyTo(options, 0);
        Check(options, syn);
    }

    [Test]
    public void What_is_not_a_plain_short_TCP_segment_is_among_the_rest()
    {
        Check(Changed(V4(Syn), 23, 17), false);
        Check(Changed(V4(Syn), 14, 0x46), false);
        Check(Changed(V4(Syn), 20, 0x20), false);
        Check(Changed(V4(Syn), 21, 0x01), false);
        Check(Changed(V6(Syn), 20, 44), false);
        Check(Frame(Own, 0x0806), false);
        var withData = new byte[FrameShareProgram.LongestSyn + 1];
        V4(Syn).CopyTo(withData, 0);
        Check(withData, false);
    }

    [Test]
    public void Every_frame_that_the_filter_lets_in_comes_through_exactly_one_of_the_two()
    {
        var random = new Random(5);
        int syns = 0;
        for (int i = 0; i < 20_000; i++)
        {
            var frame = new byte[random.Next(74, 200)];
            random.NextBytes(frame);
            byte[] head = random.Next(2) == 0 ? V4((byte)random.Next(256)) : V6((byte)random.Next(256));
            head.CopyTo(frame, 0);
            if (random.Next(3) == 0) frame[random.Next(frame.Length)] = (byte)random.Next(256);
            bool first = Run(FrameShare.Syns, frame), rest = Run(FrameShare.AllButSyns, frame), all = Run(FrameShare.All, frame);
            Assert.That(first ^ rest, Is.EqualTo(all), $"frame {i}: {Convert.ToHexString(frame)}");
            Assert.That(first && rest, Is.False);
            if (first) syns++;
        }
        Assert.That(syns, Is.GreaterThan(1000));
    }

    [Test]
    public void Frames_to_others_come_through_neither()
    {
        byte[] frame = V4(Syn);
        Other.Write(frame);
        Assert.That(Run(FrameShare.Syns, frame) || Run(FrameShare.AllButSyns, frame), Is.False);
    }

    private static void Check(byte[] frame, bool syn)
    {
        Assert.That(Run(FrameShare.Syns, frame), Is.EqualTo(syn));
        Assert.That(Run(FrameShare.AllButSyns, frame), Is.EqualTo(!syn));
    }

    private static bool Run(FrameShare share, byte[] frame) => BpfMachine.Run(FrameShareProgram.Build(share, Filter), frame) != 0;

    private static byte[] V4(byte flags) => Changed(Tcp(Own, "10.1.1.1", "10.2.2.2", 1000, 80), 47, flags);

    private static byte[] V6(byte flags)
    {
        var frame = new byte[74];
        Frame(Own, 0x86dd).CopyTo(frame, 0);
        frame[14] = 0x60;
        frame[20] = 6;
        return Changed(frame, 67, flags);
    }

    private static byte[] Changed(byte[] frame, int at, byte value)
    {
        frame[at] = value;
        return frame;
    }
}
