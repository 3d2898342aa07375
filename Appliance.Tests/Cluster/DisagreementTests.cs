using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>Boxes whose files do not fit together: used as far as that is safe, and told.</summary>
[TestFixture]
[Category("Lab")]
[NonParallelizable]
public sealed class DisagreementTests
{
    private static readonly ApplianceOptions Calm = new() { Heartbeat = "20ms misses 10" };

    [Test]
    public async Task Another_configuration_is_told_until_it_is_the_same_and_the_box_is_used_meanwhile()
    {
        await using var lab = ApplianceLab.Build(Calm);
        var other = lab.Boxes[1];
        string right = File.ReadAllText(other.Configuration);
        File.WriteAllText(other.Configuration, right.Replace(" durability acked", "", StringComparison.Ordinal));
        lab.StartBoxes();
        lab.WaitUsable();
        ApplianceLab.WaitFor(() => Compared(lab.Sharer, "gw2") == "other services", "show says so", () => lab.Sharer.Show("peers")!.ToJsonString());
        Assert.That((Compared(lab.Sharer, "gw3"), Compared(other, "gw1")), Is.EqualTo(("same", "other services")));
        ApplianceLab.WaitFor(() => Lines(lab.Sharer, "configuration-differs").Length > 0, "the log says so", () => lab.Sharer.Log);
        Assert.That(Lines(lab.Sharer, "configuration-differs").Single(), Does.Contain("peer=gw2 parts=services"));

        File.WriteAllText(other.Configuration, right);
        Assert.That(other.Process!.Terminate(ApplianceLab.Patience), Is.True, other.Log);
        other.Start();
        lab.WaitUsable();
        ApplianceLab.WaitFor(() => Lines(lab.Sharer, "configuration-agrees").Length == 1, "the log says so", () => lab.Sharer.Log);
        Assert.That(Lines(lab.Sharer, "configuration-differs"), Has.Length.EqualTo(1));
    }

    [Test]
    public async Task Two_boxes_of_one_name_are_told_by_both_once()
    {
        await using var lab = ApplianceLab.Build(Calm);
        // The third box believes that it is the second; where it takes the third to be, nobody is.
        string third = File.ReadAllText(lab.Boxes[2].Configuration).Replace("hostname gw3", "hostname gw2", StringComparison.Ordinal);
        string second = ClusterTopology.BoxSync(2);
        File.WriteAllText(lab.Boxes[2].Configuration, third.Replace($"peer gw2 at {second}", $"peer gw3 at {second}9", StringComparison.Ordinal));
        lab.StartBoxes();
        foreach (var box in lab.Boxes.Skip(1))
        {
            ApplianceLab.WaitFor(() => Lines(box, "name-taken").Length > 0, "the log says so", () => box.Log);
        }
        foreach (var box in lab.Boxes.Skip(1)) Assert.That(Lines(box, "name-taken").Single(), Does.Contain("name=gw2"));
        var rejected = lab.Boxes[1].Show("peers")!["rejected"]!.AsArray();
        Assert.That(rejected.Any(r => r!["reason"]!.GetValue<string>() == "ownName" && r["datagrams"]!.GetValue<long>() > 0), Is.True, rejected.ToJsonString());
        Assert.That(Lines(lab.Sharer, "name-taken"), Is.Empty);
    }

    private static string? Compared(ApplianceBox box, string peer) =>
        ApplianceBox.Rows(box.Show("peers"), "peers").Single(p => p["peer"]!.GetValue<string>() == peer)["configuration"]?.GetValue<string>();

    private static string[] Lines(ApplianceBox box, string what) => [.. box.Log.Split('\n').Where(l => l.Contains($" engine {what} ", StringComparison.Ordinal))];
}
