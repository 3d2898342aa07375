using System.Text.Json.Nodes;
using Appliance.Control.Model;
using Appliance.Control.Runtime;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Splice;
using Appliance.Tests.Model;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>`show peers` says of each peer whether its configuration is this box's.</summary>
[TestFixture]
public sealed class ShowPeersTests
{
    [Test]
    public void A_peers_configuration_is_unknown_the_same_or_other_in_named_parts()
    {
        Configuration configuration = ConfigurationParser.Parse(ExampleTests.Example, "gw1.conf").Configuration!;
        CompiledConfiguration compiled = ConfigurationCompiler.Compile(configuration);
        string directory = Directory.CreateTempSubdirectory("peers").FullName;
        using EngineFiles files = EngineFiles.Create(Random.Shared.NextInt64(), 16, 1);
        try
        {
            var memory = files.ToBoxMemory(0, 7, new Quiescence());
            _ = new SpliceTable(memory.Flows, memory.Records, 16, 7, memory.Quiescence);
            EngineEventRing.Create(files.Events, 1);
            files.Announce(directory);
            using EngineView view = EngineView.Open(directory)!;
            ShowService show = new(configuration, compiled);
            JsonObject Peer() => show.Document(new ShowQuery("peers", null, 1, All: true), view, "none")["peers"]![0]!.AsObject();
            Assert.That(Peer()["configuration"], Is.Null);
            ref PeerStatus status = ref files.Status.Peer(1);
            (status.LastBeatWallMs, status.Configuration) = (1, (long)compiled.Box.Digest);
            Assert.That(Peer()["configuration"]!.GetValue<string>(), Is.EqualTo("same"));
            status.Configuration ^= 0x0001_0000_0001;
            Assert.That(Peer()["configuration"]!.GetValue<string>(), Is.EqualTo("other services routes"));
            Assert.That(Peer()["details"]!["configuration"]!.GetValue<string>(), Is.EqualTo(ConfigurationDigest.Text((ulong)status.Configuration)));
            Assert.That(ShowText.Render(show.Document(new ShowQuery("peers", null, 1, All: false), view, "none")), Does.Contain(ConfigurationDigest.Text(compiled.Box.Digest)).And.Contain("other services routes"));
        }
        finally
        {
            files.Unlink();
            Directory.Delete(directory, recursive: true);
        }
    }
}
