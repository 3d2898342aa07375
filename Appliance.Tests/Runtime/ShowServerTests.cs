using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Appliance.Control.Runtime;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>The manager's socket: what comes in may be anything.</summary>
[TestFixture]
public sealed class ShowServerTests
{
    private string _directory = "";
    private ShowServer _server = null!;

    [SetUp]
    public void Listen()
    {
        _directory = Directory.CreateTempSubdirectory("runtime-show").FullName;
        _server = new ShowServer(RunDirectory.SocketPath(_directory), query => query.Show == "bad" ? throw new ShowException("it is bad") : new JsonObject { ["asked"] = query.Show, ["page"] = query.Page });
    }

    [TearDown]
    public void Remove()
    {
        _server.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [TestCase("rubbish\n")]
    [TestCase("\n")]
    [TestCase("[]\n")]
    [TestCase("{}\n")]
    [TestCase("{\"show\":null}\n")]
    [TestCase("{\"show\":7}\n")]
    [TestCase("{\"show\":\"x\",\"page\":\"many\"}\n")]
    [TestCase("{\"show\":\"x\",\"page\":99999999999999}\n")]
    [TestCase("\u0000\u0001\u0002\n")]
    [TestCase("{\"show\":\"x\"")]
    public void What_is_no_request_is_answered_with_an_error(string request) => Assert.That(Exchange(request), Does.StartWith("{\"error\":").And.EndWith("\n"));

    [Test]
    public void A_line_without_end_is_answered_with_an_error() => Assert.That(Exchange(new string('x', 4096)), Does.StartWith("{\"error\":"));

    [Test]
    public void Questions_are_answered_and_refusals_told()
    {
        ShowAnswer good = ShowClient.Ask(_directory, new ShowQuery("ports", Page: 3));
        Assert.That(good.Document!["asked"]!.GetValue<string>(), Is.EqualTo("ports"));
        Assert.That(good.Document["page"]!.GetValue<int>(), Is.EqualTo(3));
        Assert.That(ShowClient.Ask(_directory, new ShowQuery("bad")), Is.EqualTo(new ShowAnswer(null, "it is bad")));
    }

    [Test]
    public void Many_silent_clients_do_not_keep_others_out_for_good()
    {
        List<Socket> silent = [.. Enumerable.Range(0, 15).Select(_ => Connect())];
        Assert.That(ShowClient.Ask(_directory, new ShowQuery("ports")).Document, Is.Not.Null);
        silent.ForEach(s => s.Dispose());
        Parallel.For(0, 64, i => Assert.That(ShowClient.Ask(_directory, new ShowQuery("ports")).Document, Is.Not.Null));
    }

    [Test]
    public void Where_nothing_runs_that_is_said() =>
        Assert.That(ShowClient.Ask(Path.Combine(_directory, "elsewhere"), new ShowQuery("ports")), Has.Property("Unreachable").True.And.Property("Error").Contains("no appliance runs in"));

    [Test]
    public void A_file_in_the_place_of_the_run_directory_is_one_sentence([Values("", "/below")] string below)
    {
        string file = Path.Combine(_directory, "file");
        File.WriteAllText(file, "");
        ShowAnswer answer = ShowClient.Ask(file + below, new ShowQuery("ports"));
        Assert.That(answer.Unreachable, Is.True);
        Assert.That(answer.Error, Is.EqualTo($"{file} is a file, not the run directory of an appliance: name that with --run-dir"));
        Assert.That(RunDirectory.Take(file + below, out string? problem), Is.Null);
        Assert.That(problem, Is.EqualTo($"{file} is a file, so there can be no run directory {file}{below}: name another with --run-dir"));
        Assert.That(new FileInfo(file).Length, Is.Zero, "it is not touched");
    }

    private Socket Connect()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(RunDirectory.SocketPath(_directory)));
        return socket;
    }

    private string Exchange(string request)
    {
        using Socket socket = Connect();
        socket.Send(Encoding.UTF8.GetBytes(request));
        socket.Shutdown(SocketShutdown.Send);
        var reply = new StringBuilder();
        var buffer = new byte[4096];
        while (socket.Receive(buffer) is var got and > 0) reply.Append(Encoding.UTF8.GetString(buffer, 0, got));
        return reply.ToString();
    }
}
