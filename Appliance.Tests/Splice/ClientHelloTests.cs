using System.Buffers.Binary;
using System.Text;
using Appliance.DataPath.Splice;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

public class ClientHelloTests
{
    internal static byte[] Number(int value, int size)
    {
        byte[] all = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(all, value);
        return all[(4 - size)..];
    }

    internal static byte[] Vector(int size, params byte[] body) => [.. Number(body.Length, size), .. body];

    internal static byte[] Extension(int type, params byte[] body) => [.. Number(type, 2), .. Vector(2, body)];

    internal static byte[] Sni(string name, byte type = 0) => Extension(0, Vector(2, [type, .. Vector(2, Encoding.Latin1.GetBytes(name))]));

    internal static byte[] Message(params byte[][] extensions) =>
        [1, .. Vector(3, [3, 3, .. new byte[32], .. Vector(1, new byte[32]), .. Vector(2, 0x13, 1, 0x13, 2), .. Vector(1, 0), .. Vector(2, [.. extensions.SelectMany(e => e)])])];

    internal static byte[] Records(byte[] message, int size) =>
        [.. message.Chunk(size).SelectMany(piece => (byte[])[22, 3, 1, .. Vector(2, piece)])];

    private static string Name(in ClientHello hello, ReadOnlySpan<byte> bytes) => Encoding.Latin1.GetString(hello.CopyName(bytes, new byte[ClientHello.MaxName]));

    [TestCase(16384)]
    [TestCase(100)]
    [TestCase(7)]
    [TestCase(1)]
    public void ServerName_OverRecordsAndSegments(int recordSize)
    {
        // A key share of 1,216 bytes, as with ML-KEM, and GREASE in front of the name.
        byte[] head = Records(Message(Extension(0x0a0a), Extension(51, new byte[1216]), Sni("Shop.Example."), Extension(43, 2, 3, 4)), recordSize), bytes = [.. head, 20, 3, 3];
        ClientHello grown = default;
        for (int n = 0; n < head.Length; n++)
        {
            Assert.That(grown.Parse(bytes.AsSpan(0, n)), Is.EqualTo(HeadResult.Incomplete), $"{n} bytes");
            if (n % 97 == 0) Assert.That(default(ClientHello).Parse(bytes.AsSpan(0, n)), Is.EqualTo(HeadResult.Incomplete));
        }
        Assert.That(grown.Parse(bytes), Is.EqualTo(HeadResult.Complete));
        Assert.That((grown.HeadLength, Name(grown, bytes), grown.HasEarlyData), Is.EqualTo((head.Length, "Shop.Example", false)));
        ClientHello once = default;
        Assert.That(once.Parse(bytes), Is.EqualTo(HeadResult.Complete));
        Assert.That((once.HeadLength, Name(once, bytes)), Is.EqualTo((head.Length, "Shop.Example")));
    }

    [Test]
    public void WithoutExtensions_OrWithoutName_IsComplete()
    {
        byte[] old = [1, .. Vector(3, [3, 1, .. new byte[32], .. Vector(1), .. Vector(2, 0, 47), .. Vector(1, 0)])];
        foreach (byte[] message in new[] { old, Message(), Message(Extension(43, 2, 3, 4)) })
        {
            byte[] bytes = Records(message, 16384);
            ClientHello hello = default;
            Assert.That(hello.Parse(bytes), Is.EqualTo(HeadResult.Complete), hello.Error.ToString());
            Assert.That((hello.NameLength, hello.HeadLength), Is.EqualTo((0, bytes.Length)));
        }
    }

    [Test]
    public void EncryptedHello_GivesTheOuterName_AndEarlyDataIsSeen()
    {
        byte[] bytes = Records(Message(Extension(0xfe0d, new byte[200]), Sni("public.example"), Extension(42)), 16384);
        ClientHello hello = default;
        Assert.That(hello.Parse(bytes), Is.EqualTo(HeadResult.Complete));
        Assert.That((Name(hello, bytes), hello.HasEarlyData), Is.EqualTo(("public.example", true)));
    }

    private static IEnumerable<TestCaseData> Bad()
    {
        byte[] good = Message(Sni("a.example"));
        yield return new TestCaseData("GET / HTTP/1.1\r\n\r\n"u8.ToArray(), HeadError.NotTls).SetArgDisplayNames("plain HTTP");
        yield return new TestCaseData(new byte[] { 22, 2 }, HeadError.NotTls).SetArgDisplayNames("SSL 2");
        yield return new TestCaseData(new byte[] { 22, 3, 1, 0, 0, 22 }, HeadError.RecordLength).SetArgDisplayNames("empty record");
        yield return new TestCaseData(new byte[] { 22, 3, 1, 0x40, 1 }, HeadError.RecordLength).SetArgDisplayNames("record too long");
        yield return new TestCaseData(new byte[] { 22, 3, 1, 0, 5, 2 }, HeadError.NotClientHello).SetArgDisplayNames("ServerHello");
        yield return new TestCaseData(new byte[] { 22, 3, 1, 0, 5, 1, 0, 0x40, 0 }, HeadError.HelloTooLong).SetArgDisplayNames("hello too long");
        yield return new TestCaseData((byte[])[.. Records(good, 16)[..21], 21, 3, 1, 0, 2, 1, 0], HeadError.NotTls).SetArgDisplayNames("alert between records");
        yield return new TestCaseData(Records([1, .. Vector(3, [.. good[4..], 0])], 999), HeadError.HelloLengths).SetArgDisplayNames("byte behind the extensions");
        yield return new TestCaseData(Records([1, .. Vector(3, good[4..^1])], 999), HeadError.HelloLengths).SetArgDisplayNames("extensions cut");
        yield return new TestCaseData(Records(Message([0, 43, 0, 9, 1]), 999), HeadError.HelloLengths).SetArgDisplayNames("extension too long");
        yield return new TestCaseData(Records(Message(Sni("a"), Sni("b")), 999), HeadError.ServerName).SetArgDisplayNames("two name extensions");
        yield return new TestCaseData(Records(Message(Sni("")), 999), HeadError.ServerName).SetArgDisplayNames("empty name");
        yield return new TestCaseData(Records(Message(Sni("a\0b")), 999), HeadError.ServerName).SetArgDisplayNames("NUL in the name");
        yield return new TestCaseData(Records(Message(Sni(new string('a', 256))), 999), HeadError.ServerName).SetArgDisplayNames("name too long");
        yield return new TestCaseData(Records(Message(Sni("a", type: 1)), 999), HeadError.ServerName).SetArgDisplayNames("no host name in the list");
        yield return new TestCaseData(Records(Message(Extension(0, 0, 9, 0, 0, 1, 97)), 999), HeadError.ServerName).SetArgDisplayNames("list length wrong");
    }

    [TestCaseSource(nameof(Bad))]
    public void Malformed(byte[] bytes, HeadError error)
    {
        ClientHello once = default, grown = default;
        Assert.That((once.Parse(bytes), once.Error), Is.EqualTo((HeadResult.Malformed, error)));
        HeadResult result = HeadResult.Incomplete;
        for (int n = 0; n <= bytes.Length; n++)
        {
            result = grown.Parse(bytes.AsSpan(0, n));
            Assert.That(result, Is.Not.EqualTo(HeadResult.Complete));
        }
        Assert.That((result, grown.Error), Is.EqualTo((HeadResult.Malformed, error)));
    }
}
