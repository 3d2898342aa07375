using System.Text.Json.Nodes;
using Appliance.Control.Runtime;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>The text of `show`: as wide as it is for a pipe, folded for a terminal.</summary>
[TestFixture]
public sealed class ShowTextTests
{
    private const string Sentence = "a sentence that is so long that no line of a terminal of eighty columns can hold the whole of it";

    [Test]
    public void Without_a_terminal_a_row_is_a_line() =>
        Assert.That(ShowText.Render(Peers()).Split('\n')[3..6].Select(l => l.Length), Is.All.GreaterThan(100));

    [Test]
    public void On_a_terminal_rows_go_on_in_indented_lines_as_their_head_does() =>
        Assert.That(ShowText.Render(Peers(), 80), Is.EqualTo("""
            box     gw1
            engine  running

            peer  address     live  usable  links                   refilled  factor
                lag-out-us  lag-in-us  waiting  held  resyncs-sent  resyncs-received
                rejected
            gw2   10.255.0.2  true  true    external internal sync  true         100
                       120         80        0    12             1                 1
                       0
            gw3   10.255.0.3  true  true    external internal sync  true         100
                       120         80        0    12             1                 1
                       0

            """.ReplaceLineEndings("\n")));

    [TestCase(80)]
    [TestCase(100)]
    [TestCase(40)]
    public void No_line_is_longer_than_the_terminal_and_nothing_is_lost(int width)
    {
        string text = ShowText.Render(Peers(), width);
        Assert.That(text.Split('\n').Select(l => l.Length), Is.All.LessThanOrEqualTo(width));
        string[] words = ShowText.Render(Peers()).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        Assert.That(text.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries), Is.EquivalentTo(words));
    }

    [Test]
    public void A_long_sentence_is_broken_between_words() =>
        Assert.That(ShowText.Render(new JsonObject { ["drops"] = new JsonArray(new JsonObject { ["reason"] = "noRecord", ["frames"] = 12, ["sentence"] = Sentence }) }, 80), Is.EqualTo("""

            reason    frames
                sentence
            noRecord      12
                a sentence that is so long that no line of a terminal of eighty columns can
                hold the whole of it

            """.ReplaceLineEndings("\n")));

    [Test]
    public void What_cannot_be_broken_stays_whole([Values(1, 3, 10)] int width) =>
        Assert.That(ShowText.Render(Peers(), width), Does.Contain("resyncs-received").And.Contain("10.255.0.2"));

    [TestCase(1L, 1L, null)]
    [TestCase(2L, 2L, null)]
    [TestCase(99L, 1L, "there is no page 99: the splices that match (7) have 1 page")]
    [TestCase(99L, 2L, "there is no page 99: the splices that match (7) have 2 pages")]
    public void A_page_beyond_the_last_is_said(long page, long pages, string? sentence) =>
        Assert.That(ShowText.PageProblem(new JsonObject { ["matching"] = 7, ["page"] = page, ["pages"] = pages }), Is.EqualTo(sentence));

    [Test]
    public void Other_documents_have_no_pages() => Assert.That(ShowText.PageProblem(Peers()), Is.Null);

    private static JsonObject Peers() => new()
    {
        ["box"] = "gw1",
        ["engine"] = "running",
        ["peers"] = new JsonArray(Peer("gw2", "10.255.0.2"), Peer("gw3", "10.255.0.3")),
    };

    private static JsonObject Peer(string name, string address) => new()
    {
        ["peer"] = name,
        ["address"] = address,
        ["live"] = true,
        ["usable"] = true,
        ["links"] = "external internal sync",
        ["refilled"] = true,
        ["factor"] = 100,
        ["lagOutUs"] = 120,
        ["lagInUs"] = 80,
        ["waiting"] = 0,
        ["held"] = 12,
        ["resyncsSent"] = 1,
        ["resyncsReceived"] = 1,
        ["rejected"] = 0,
        ["details"] = new JsonObject { ["incarnation"] = 1 },
    };
}
