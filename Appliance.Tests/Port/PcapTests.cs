using System.Buffers.Binary;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using NUnit.Framework;

namespace Appliance.Tests.Port;

public sealed class PcapTests
{
    [Test]
    public void What_is_written_is_read_again()
    {
        byte[] file = Write((new byte[] { 1, 2, 3 }, 5_000_000_007), (new byte[60], 6_999_999_999));
        using var reader = new PcapReader(new MemoryStream(file), "x");
        var buffer = new byte[100];
        Assert.That(reader.TryRead(buffer, out int length, out int original, out long time), Is.True);
        Assert.That((length, original, time, buffer[2]), Is.EqualTo((3, 3, 5_000_000_007L, (byte)3)));
        Assert.That(reader.TryRead(buffer, out length, out _, out time), Is.True);
        Assert.That((length, time), Is.EqualTo((60, 6_999_999_999L)));
        Assert.That(reader.TryRead(buffer, out _, out _, out _), Is.False);
    }

    [Test]
    public void Both_byte_orders_and_both_time_units_are_read([Values] bool big, [Values] bool nano)
    {
        var file = new byte[24 + 16 + 2];
        Put(0, nano ? 0xa1b23c4d : 0xa1b2c3d4);
        Put(20, 1);
        Put(24, 10);
        Put(28, 250_000);
        Put(32, 2);
        Put(36, 1500);
        file[41] = 7;
        using var reader = new PcapReader(new MemoryStream(file), "x");
        var buffer = new byte[2];
        Assert.That(reader.TryRead(buffer, out int length, out int original, out long time), Is.True);
        Assert.That((length, original, buffer[1], time), Is.EqualTo((2, 1500, (byte)7, 10_000_000_000 + (nano ? 250_000L : 250_000_000L))));

        void Put(int at, uint value)
        {
            if (big) BinaryPrimitives.WriteUInt32BigEndian(file.AsSpan(at), value);
            else BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), value);
        }
    }

    [TestCase(10, 0, 0u, "x: the file ends inside its header (record 1, offset 10).")]
    [TestCase(43, 0, 0x0a0d0d0au, "x: this is not a classic pcap file (record 1, offset 24).")]
    [TestCase(43, 20, 113u, "x: the frames are of link type 113, not Ethernet (1) (record 1, offset 24).")]
    [TestCase(30, 0, 0xa1b23c4du, "x: the file ends inside a record's header (record 1, offset 30).")]
    [TestCase(42, 0, 0xa1b23c4du, "x: the file ends inside a frame (record 1, offset 42).")]
    [TestCase(43, 32, 0x7fffffffu, "x: a record of 2147483647 bytes (record 1, offset 40).")]
    [TestCase(43, 28, 0xffffffffu, "x: a time with more than a second of fraction (record 1, offset 40).")]
    public void A_malformed_file_is_refused_with_its_place(int length, int at, uint value, string message)
    {
        byte[] file = Write((new byte[3], 1));
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), value);
        Assert.That(() => Read(file.AsSpan(0, length).ToArray()), Throws.TypeOf<PcapException>().With.Message.EqualTo(message));
    }

    [Test]
    public void Damaged_files_end_in_frames_or_in_a_PcapException()
    {
        byte[] good = Write((new byte[30], 1), (new byte[300], 2), (new byte[70], 3));
        var random = new Random(11);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] file = good.AsSpan(0, random.Next(good.Length + 1)).ToArray();
            for (int k = random.Next(4); k > 0 && file.Length > 0; k--) file[random.Next(file.Length)] = (byte)random.Next(256);
            try
            {
                Read(file);
            }
            catch (PcapException)
            {
                // The only other outcome there may be.
            }
        }
    }

    [Test]
    public void A_pcap_port_gives_frames_when_their_time_has_come_and_writes_what_is_sent()
    {
        var frames = new (byte[], long)[150];
        for (int i = 0; i < frames.Length; i++) frames[i] = (Enumerable.Repeat((byte)i, 60 + i).ToArray(), 1000 * i);
        using var output = new MemoryStream();
        using (var port = new PcapPort("p", new PcapReader(new MemoryStream(Write(frames)), "in"), new PcapWriter(output)))
        {
            var batch = new FrameBatch(100);
            Assert.That(port.NextTime, Is.Zero);
            port.Now = 1999;
            Assert.That(port.Receive(batch), Is.EqualTo(2));
            Assert.That(port.NextTime, Is.EqualTo(2000));
            port.Now = 1_000_000;
            int next = 2;
            while (port.Receive(batch) > 0)
            {
                for (int i = 0; i < batch.Count; i++)
                {
                    Assert.That((batch[i].Bytes[0], batch[i].Length), Is.EqualTo(((byte)next, 60 + next)));
                    next++;
                    port.Send(batch[i]);
                }
                port.Flush();
                port.Release();
            }
            Assert.That(next, Is.EqualTo(150));
            Assert.That(port.NextTime, Is.EqualTo(long.MaxValue));
            Assert.That((port.Counters.ReceivedFrames, port.Counters.SentFrames), Is.EqualTo((150L, 148L)));
        }
        Assert.That(Read(output.ToArray()), Is.EqualTo(148));
    }

    [Test]
    public void A_capture_shows_both_directions_with_the_clocks_time()
    {
        using var wire = new MemoryWire("a", "b");
        using var file = new MemoryStream();
        long now = 42;
        using (var capture = new CapturePort(wire.A, new PcapWriter(file), () => now))
        {
            var memory = new byte[60];
            System.Runtime.InteropServices.GCHandle pin = System.Runtime.InteropServices.GCHandle.Alloc(memory, System.Runtime.InteropServices.GCHandleType.Pinned);
            var frame = new FrameRef { Address = MemoryNative.AddressOf(memory), Length = 60 };
            capture.Send(frame);
            capture.Flush();
            now = 43;
            wire.B.Send(frame with { Length = 50 });
            wire.B.Flush();
            Assert.That(capture.Receive(new FrameBatch(4)), Is.EqualTo(1));
            capture.Release();
            pin.Free();
        }
        using var reader = new PcapReader(new MemoryStream(file.ToArray()), "x");
        Assert.That(reader.TryRead(new byte[60], out int sent, out _, out long sentAt), Is.True);
        Assert.That(reader.TryRead(new byte[60], out int received, out _, out long receivedAt), Is.True);
        Assert.That((sent, sentAt, received, receivedAt), Is.EqualTo((60, 42L, 50, 43L)));
    }

    private static byte[] Write(params (byte[] Bytes, long Time)[] frames)
    {
        using var stream = new MemoryStream();
        using (var writer = new PcapWriter(stream))
            foreach ((byte[] bytes, long time) in frames) writer.Write(bytes, time);
        return stream.ToArray();
    }

    private static int Read(byte[] file)
    {
        using var reader = new PcapReader(new MemoryStream(file), "x");
        var buffer = new byte[128];
        int count = 0;
        while (reader.TryRead(buffer, out _, out _, out _)) count++;
        return count;
    }
}
