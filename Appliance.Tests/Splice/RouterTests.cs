using System.Text;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using NUnit.Framework;

namespace Appliance.Tests.Splice;

public class RouterTests
{
    private static Pool MakePool(uint id, params int[] weights) =>
        new(id, $"pool{id}", 77, [.. weights.Select((w, i) => new Real(SpliceKit.Ip($"192.168.1.{i + 1}"), 80, w))], false);

    private static readonly Pool First = MakePool(1, 1), Static = MakePool(2, 1), Host = MakePool(3, 1), Deep = MakePool(4, 1);

    private static Service MakeService(Route[] routes, params Pool[] pools) =>
        new(1, "WWW", SpliceKit.Virtual4, 80, false, ShareMode.ByFlow, 0, routes, pools);

    private static Route Route(RouteKind kind, string value, Pool pool) => new(kind, Encoding.ASCII.GetBytes(value), pool);

    private static readonly Service Www = MakeService(
        [Route(RouteKind.Path, "/static/", Static), Route(RouteKind.Host, "host.example", Host), Route(RouteKind.Path, "/static/deep/", Deep), Route(RouteKind.Path, "/deep/", Deep)], First, Static);

    [TestCase("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1u)]
    [TestCase("GET /static/a HTTP/1.1\r\nHost: host.example\r\n\r\n", 2u, TestName = "the first match wins, not the longest")]
    [TestCase("GET /static/deep/a HTTP/1.1\r\nHost: x\r\n\r\n", 2u)]
    [TestCase("GET /static HTTP/1.1\r\nHost: x\r\n\r\n", 1u)]
    [TestCase("GET /STATIC/ HTTP/1.1\r\nHost: x\r\n\r\n", 1u, TestName = "paths are case sensitive")]
    [TestCase("GET /?/static/ HTTP/1.1\r\nHost: x\r\n\r\n", 1u, TestName = "the query is no path")]
    [TestCase("GET / HTTP/1.1\r\nHost: HOST.example.:8080\r\n\r\n", 3u)]
    [TestCase("GET / HTTP/1.1\r\nHost: a.host.example\r\n\r\n", 1u)]
    [TestCase("GET http://host.example/deep/ HTTP/1.1\r\nHost: x\r\n\r\n", 3u)]
    [TestCase("GET http://x/deep/ HTTP/1.1\r\nHost: host.example\r\n\r\n", 4u)]
    [TestCase("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1u)]
    public void Http(string text, uint pool)
    {
        HeadState state = default;
        Assert.That(Router.Decide(Www, Encoding.ASCII.GetBytes(text), ref state, out RouteDecision decision), Is.EqualTo(RouteResult.Route));
        Assert.That(decision.Pool!.Id, Is.EqualTo(pool));
        Assert.That(decision.HeadLength, Is.EqualTo(text.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4));
    }

    [Test]
    public void EmptyPathOfAnAbsoluteTarget_IsTheRoot()
    {
        HeadState state = default;
        Service service = MakeService([Route(RouteKind.Path, "/", Static)], First);
        Router.Decide(service, "GET http://x HTTP/1.1\r\nHost: x\r\n\r\n"u8, ref state, out RouteDecision decision);
        Assert.That(decision.Pool, Is.SameAs(Static));
    }

    [TestCase("GET / HT", RouteResult.Incomplete)]
    [TestCase("GET / HTTP/1.1\r\n\r\n", RouteResult.Malformed)]
    [TestCase("GET / HTTP/1.0\r\n\r\n", RouteResult.NoRoute)]
    public void OtherOutcomes(string text, RouteResult expected)
    {
        HeadState state = default;
        Assert.That(Router.Decide(MakeService([]), Encoding.ASCII.GetBytes(text), ref state, out RouteDecision decision), Is.EqualTo(expected));
        Assert.That(decision.Pool, Is.Null);
        Assert.That(decision.Error, Is.EqualTo(expected == RouteResult.Malformed ? HeadError.HostMissing : HeadError.None));
    }

    [TestCase("B.example", 2u)]
    [TestCase("b.example.", 2u)]
    [TestCase("c.example", 1u)]
    public void Tls(string name, uint pool)
    {
        Service shop = MakeService([Route(RouteKind.Sni, "b.example", Static)], First);
        byte[] bytes = ClientHelloTests.Records(ClientHelloTests.Message(ClientHelloTests.Sni(name)), 50);
        HeadState state = default;
        Assert.That(Router.Decide(shop, bytes.AsSpan(0, 60), ref state, out _), Is.EqualTo(RouteResult.Incomplete));
        Assert.That(Router.Decide(shop, bytes, ref state, out RouteDecision decision), Is.EqualTo(RouteResult.Route));
        Assert.That((decision.Pool!.Id, decision.IsIdempotent, decision.HeadLength), Is.EqualTo((pool, true, bytes.Length)));
    }

    [Test]
    public void Deciding_AllocatesNothing()
    {
        byte[] http = "GET /deep/ HTTP/1.1\r\nAccept: x\r\nHost: host.example\r\n\r\n"u8.ToArray();
        byte[] tls = ClientHelloTests.Records(ClientHelloTests.Message(ClientHelloTests.Sni("b.example")), 50);
        Service shop = MakeService([Route(RouteKind.Sni, "b.example", Static)], First);
        Loop(100);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Loop(1000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);

        void Loop(int n)
        {
            for (int i = 0; i < n; i++)
            {
                HeadState x = default, y = default;
                Router.Decide(Www, http, ref x, out _);
                Router.Decide(shop, tls, ref y, out RouteDecision decision);
                BackendChooser.Choose(decision.Pool!, (ulong)i, 0);
            }
        }
    }

    [Test]
    public void Chooser_EachAttemptIsAnotherReal_AndThenNone()
    {
        Pool pool = MakePool(9, 3, 1, 0, 5, 2);
        for (ulong id = 1; id < 500; id++)
        {
            int[] tried = [.. Enumerable.Range(0, 4).Select(k => BackendChooser.Choose(pool, id, k))];
            Assert.That(tried, Is.EquivalentTo(new[] { 0, 1, 3, 4 }));
            Assert.That(BackendChooser.Choose(pool, id, 4), Is.EqualTo(-1));
        }
        Assert.That(BackendChooser.Choose(MakePool(9), 1, 0), Is.EqualTo(-1));
        Assert.That(BackendChooser.Choose(MakePool(9, 0, -1), 1, 0), Is.EqualTo(-1));
    }

    [Test]
    public void Chooser_FollowsTheWeights()
    {
        Pool pool = MakePool(9, 1, 2, 7);
        int[] hits = new int[3];
        for (ulong id = 0; id < 100_000; id++) hits[BackendChooser.Choose(pool, id, 0)]++;
        Assert.That(hits[0], Is.InRange(9_500, 10_500));
        Assert.That(hits[1], Is.InRange(19_300, 20_700));
        Assert.That(hits[2], Is.InRange(69_000, 71_000));
    }

    [Test]
    public void Chooser_IsFixedForever()
    {
        // Boxes of two releases must agree while a cluster is upgraded.
        Pool pool = MakePool(9, 1, 2, 7, 4);
        string all = string.Join(",", Enumerable.Range(1, 24).Select(i => BackendChooser.Choose(pool, (ulong)i * 0x1234_5678_9abc_def1, i % 3)));
        Assert.That(all, Is.EqualTo("3,0,3,0,2,2,2,1,3,2,3,1,3,3,3,1,0,1,3,3,2,3,1,1"));
    }

    [Test]
    public void ProxyHeader_Ipv4_WithTlv()
    {
        byte[] to = new byte[64];
        int p = ProxyV2.Write(to, new FlowKey(SpliceKit.Client4, SpliceKit.Virtual4, 40001, 80, 6), []);
        Assert.That(Convert.ToHexString(to.AsSpan(0, p)), Is.EqualTo("0D0A0D0A000D0A515549540A2111000CC6336407CB00710A9C410050"));
        p = ProxyV2.Write(to, new FlowKey(SpliceKit.Client4, SpliceKit.Virtual4, 40001, 80, 6), [4, 0, 1, 0]);
        Assert.That((p, to[15], to[28]), Is.EqualTo((32, (byte)16, (byte)4)));
    }

    [Test]
    public void ProxyHeader_Ipv6()
    {
        byte[] to = new byte[52];
        var flow = new FlowKey(SpliceKit.Client6, SpliceKit.Virtual6, 40001, 443, 6);
        Assert.That(ProxyV2.Write(to, flow, []), Is.EqualTo(52).And.EqualTo(ProxyV2.LengthOf(flow, 0)));
        Assert.That(Convert.ToHexString(to.AsSpan(12)), Is.EqualTo("21210024" + "20010DB8000100000000000000000007" + "20010DB8000200000000000000000010" + "9C4101BB"));
    }
}
