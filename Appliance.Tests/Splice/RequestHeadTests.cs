using System.Text;
using Appliance.DataPath.Splice;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

public class RequestHeadTests
{
    [TestCase("GET /a?b HTTP/1.1\r\nHost: Example.com\r\n\r\n", RequestMethod.Get, "Example.com", "/a")]
    [TestCase("GET /a HTTP/1.1\r\nAccept: */*\r\nhOsT:\t example.com:8080 \r\nX: y\r\n\r\n", RequestMethod.Get, "example.com", "/a")]
    [TestCase("GET / HTTP/1.1\r\nHost: example.com.\r\n\r\n", RequestMethod.Get, "example.com", "/")]
    [TestCase("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", RequestMethod.Get, "[2001:db8::1]", "/")]
    [TestCase("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n", RequestMethod.Get, "192.0.2.1", "/")]
    [TestCase("GET / HTTP/1.1\r\nHost:\r\n\r\n", RequestMethod.Get, "", "/")]
    [TestCase("GET / HTTP/1.0\r\n\r\n", RequestMethod.Get, "", "/")]
    [TestCase("POST /x#y HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Other, "a", "/x")]
    [TestCase("HEAD / HTTP/1.1\nHost: a\n\n", RequestMethod.Head, "a", "/", TestName = "LF alone ends a line")]
    [TestCase("\r\n\r\nPUT / HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Put, "a", "/", TestName = "empty lines in front")]
    [TestCase("DELETE http://b.example:81/p?q HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Delete, "b.example", "/p", TestName = "the authority of an absolute target wins")]
    [TestCase("GET HTTP://b.example HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Get, "b.example", "")]
    [TestCase("GET http://b.example?q HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Get, "b.example", "")]
    [TestCase("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Options, "a", "")]
    [TestCase("CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Connect, "b.example", "")]
    [TestCase("PRI * HTTP/2.0\r\n\r\n", RequestMethod.Pri, "", "", TestName = "HTTP/2 preface")]
    [TestCase("get / HTTP/1.1\r\nHost: a\r\n\r\n", RequestMethod.Other, "a", "/", TestName = "methods are case sensitive")]
    public void Complete(string text, RequestMethod method, string host, string path)
    {
        byte[] bytes = [.. Encoding.Latin1.GetBytes(text), .. "body"u8];
        Assert.That(RequestHead.TryParseHead(bytes, out RequestHead head), Is.EqualTo(HeadResult.Complete), head.Error.ToString());
        Assert.That(head.HeadLength, Is.EqualTo(text.Length));
        Assert.That(head.Method, Is.EqualTo(method));
        Assert.That(Encoding.Latin1.GetString(head.Host.Of(bytes)), Is.EqualTo(host));
        Assert.That(Encoding.Latin1.GetString(head.Path.Of(bytes)), Is.EqualTo(path));

        // Every shorter piece is incomplete, and byte by byte comes to the same.
        RequestHead grown = default;
        for (int n = 0; n < text.Length; n++)
        {
            Assert.That(grown.Parse(bytes.AsSpan(0, n)), Is.EqualTo(HeadResult.Incomplete), $"{n} bytes");
            Assert.That(RequestHead.TryParseHead(bytes.AsSpan(0, n), out _), Is.EqualTo(HeadResult.Incomplete), $"{n} bytes");
        }
        Assert.That(grown.Parse(bytes), Is.EqualTo(HeadResult.Complete));
        Assert.That((grown.Host, grown.Path, grown.HeadLength), Is.EqualTo((head.Host, head.Path, head.HeadLength)));
    }

    [TestCase("GET / HTTP/1.1\r\n\r\n", HeadError.HostMissing)]
    [TestCase("GET http://a/ HTTP/1.1\r\n\r\n", HeadError.HostMissing)]
    [TestCase("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError.HostRepeated)]
    [TestCase("GET / HTTP/1.1\r\nHost: a\nhost: b\r\n\r\n", HeadError.HostRepeated)]
    [TestCase("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", HeadError.Host)]
    [TestCase("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", HeadError.FoldedLine)]
    [TestCase("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError.FieldName)]
    [TestCase("GET / HTTP/1.1\r\nnonsense\r\n\r\n", HeadError.FieldName)]
    [TestCase("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", HeadError.ControlCharacter)]
    [TestCase("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", HeadError.ControlCharacter)]
    [TestCase("GET /\r/ HTTP/1.1\r\n\r\n", HeadError.ControlCharacter)]
    [TestCase("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Method)]
    [TestCase(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Method)]
    [TestCase("GET\r\n\r\n", HeadError.Method)]
    [TestCase("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1", HeadError.Method)]
    [TestCase("\x16\x03\x01\x02", HeadError.Method, TestName = "TLS on a plain port is told by its first byte")]
    [TestCase("GET /\r\n\r\n", HeadError.Version)]
    [TestCase("GET / HTTP/2.0\r\n\r\n", HeadError.Version)]
    [TestCase("GET / HTTP/1.x\r\n\r\n", HeadError.Version)]
    [TestCase("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError.Version)]
    [TestCase("PRI / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Version)]
    [TestCase("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Target)]
    [TestCase("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Target)]
    [TestCase("GET a.example HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Target)]
    [TestCase("GET * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Target)]
    [TestCase("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Target)]
    [TestCase("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Target)]
    [TestCase("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", HeadError.Target)]
    public void Malformed(string text, HeadError error)
    {
        byte[] bytes = Encoding.Latin1.GetBytes(text);
        Assert.That(RequestHead.TryParseHead(bytes, out RequestHead head), Is.EqualTo(HeadResult.Malformed));
        Assert.That(head.Error, Is.EqualTo(error));

        RequestHead grown = default;
        HeadResult result = HeadResult.Incomplete;
        for (int n = 0; n <= bytes.Length; n++)
        {
            HeadResult next = grown.Parse(bytes.AsSpan(0, n));
            Assert.That(next, Is.Not.EqualTo(HeadResult.Complete));
            if (result == HeadResult.Malformed) Assert.That(next, Is.EqualTo(HeadResult.Malformed), "malformed is final");
            result = next;
        }
        Assert.That((result, grown.Error), Is.EqualTo((HeadResult.Malformed, error)));
    }

    [TestCase("GET", true)]
    [TestCase("HEAD", true)]
    [TestCase("OPTIONS", true)]
    [TestCase("PUT", true)]
    [TestCase("DELETE", true)]
    [TestCase("POST", false)]
    [TestCase("PATCH", false)]
    [TestCase("Get", false)]
    public void Idempotent(string method, bool expected)
    {
        Assert.That(RequestHead.TryParseHead(Encoding.Latin1.GetBytes(method + " / HTTP/1.0\n\n"), out RequestHead head), Is.EqualTo(HeadResult.Complete));
        Assert.That(head.IsIdempotent, Is.EqualTo(expected));
    }
}
