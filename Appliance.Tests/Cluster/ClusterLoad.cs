using System.Globalization;
using Appliance.Lab;
using Appliance.Lab.Judges;
using Appliance.Lab.Load;
using Appliance.Lab.Topology;
using NUnit.Framework;

namespace Appliance.Tests.Cluster;

/// <summary>Runs load through a cluster and asserts that all of it went well.</summary>
internal static class ClusterLoad
{
    private static int _number;

    /// <summary>Starts a client under a name of its own, with deadlines that a busy machine does not reach.</summary>
    public static LoadRun Start(ApplianceLab lab, LoadOptions options, int client = 1)
    {
        string name = string.Create(CultureInfo.InvariantCulture, $"{options.Mode}-{Interlocked.Increment(ref _number)}");
        return LabTool.StartClient(lab.Topology.Clients[client - 1], name, options);
    }

    /// <summary>Runs the load to its end; nothing may be broken or differ.</summary>
    public static async Task<LoadSummary> Good(ApplianceLab lab, LoadOptions options, int? shaVerified = null)
    {
        var summary = await Start(lab, options).Finish();
        AssertGood(lab, summary, shaVerified);
        return summary;
    }

    public static void AssertGood(ApplianceLab lab, LoadSummary summary, int? shaVerified = null)
    {
        string what = new LoadLine { Summary = summary }.ToString();
        if (summary.Broken != 0)
        {
            what += "\n" + string.Join('\n', lab.Boxes.Select(b => $"{b.Host.Name}: {Counters(b)}"));
        }
        Assert.That(summary.Broken, Is.Zero, what);
        Assert.That(summary.MismatchedBytes, Is.Zero, what);
        Assert.That(summary.Requests, Is.Positive, what);
        if (shaVerified is { } expected)
        {
            Assert.That(summary.ShaVerified, Is.EqualTo(expected), what);
        }
    }

    public static string Counters(ApplianceBox box) => string.Join(' ', box.Counters().Where(c => c.Value != 0).Select(c => $"{c.Key}={c.Value}"));

    /// <summary>No segment that an end received had a wrong checksum.</summary>
    public static void ChecksumsGood(ApplianceLab lab)
    {
        foreach (var host in lab.Topology.Clients.Concat(lab.Topology.Backends))
        {
            Assert.That(ChecksumJudge.Errors(host).Tcp, Is.Zero, host.Name);
        }
    }
}
