using System.Globalization;
using Appliance.Lab.Net;
using Spectre.Console;

namespace Appliance.Lab.Demo;

/// <summary>"appliance-lab demo": builds the lab, tells the story, prints the table. Exit code 0 only if nothing broke (contrast: always).</summary>
internal static class DemoProgram
{
    public static async Task<int> Run(bool contrast, string? json, string? directory, DemoPlan plan)
    {
        directory ??= Path.Combine(Path.GetTempPath(), "appliance-demo", DateTime.Now.ToString("yyyyMMdd-HHmmss", CultureInfo.InvariantCulture));
        string rate = plan.ClientMbit.ToString(CultureInfo.InvariantCulture) + "mbit";
        // Before anything is built: a name that cannot be written is said at once.
        using StreamWriter? document = json is null ? null : Create(json);
        DemoResult result;
        await using (var lab = LabNetwork.Create(directory))
        {
            IDemoCluster cluster = contrast ? new HaproxyCluster(lab, rate) : new ApplianceCluster(lab, rate);
            bool terminal = AnsiConsole.Profile.Out.IsTerminal && !Console.IsOutputRedirected;
            if (terminal)
            {
                var screen = new LiveScreen(AnsiConsole.Console);
                result = await screen.Show(() => new DemoScenario(cluster, plan, screen).Run()).ConfigureAwait(false);
            }
            else
            {
                result = await new DemoScenario(cluster, plan, new PlainScreen(Console.Out)).Run().ConfigureAwait(false);
            }
            PrintTable(result, terminal);
            cluster.End();
        }
        if (document is not null)
        {
            await document.WriteLineAsync(result.ToJson()).ConfigureAwait(false);
        }
        PrintNext(result, directory, contrast);
        return contrast || (result.Broken == 0 && result.MismatchedBytes == 0 && result.Sha256Verified == result.Transfers) ? 0 : 1;
    }

    private static StreamWriter Create(string file)
    {
        try
        {
            return new StreamWriter(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CommandFailedException($"--json {file}: {e.Message}", e);
        }
    }

    private static void PrintTable(DemoResult result, bool terminal)
    {
        string[] head = ["", "connections", "broken", "resets", "bytes", "differing", "SHA-256 verified", "requests", "longest silence ms"];
        var rows = result.Traffic.Select(t => Row(t.Name, t.Connections, t.Broken, t.Resets, t.Bytes, t.MismatchedBytes, t.Name == "requests" ? "-" : $"{t.ShaVerified} of {t.Connections}", t.Requests, t.LongestSilenceMs)).ToList();
        rows.Add(Row("all", result.Connections, result.Broken, result.Resets, result.Bytes, result.MismatchedBytes, $"{result.Sha256Verified} of {result.Transfers}", result.Requests, result.LongestSilenceMs));
        if (terminal)
        {
            var table = new Table();
            Array.ForEach(head, h => table.AddColumn(new TableColumn(h).RightAligned()));
            rows.ForEach(r => table.AddRow(r));
            AnsiConsole.Write(table);
        }
        else
        {
            int[] widths = head.Select((h, i) => Math.Max(h.Length, rows.Max(r => r[i].Length))).ToArray();
            foreach (string[] row in rows.Prepend(head))
            {
                Console.WriteLine(string.Join("  ", row.Select((c, i) => c.PadLeft(widths[i]))));
            }
        }
        if (result.PacketsReplayed is { } replayed)
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"packets replayed: {replayed}"));
        }
    }

    private static string[] Row(string name, long connections, long broken, long resets, long bytes, long differing, string verified, long requests, double silence) =>
        [name, N(connections), N(broken), N(resets), N(bytes), N(differing), verified, N(requests), silence.ToString("F1", CultureInfo.InvariantCulture)];

    private static string N(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static void PrintNext(DemoResult result, string directory, bool contrast)
    {
        Console.WriteLine($"capture: {result.Capture}");
        foreach (string file in result.Configurations)
        {
            Console.WriteLine($"configuration: {file}");
        }
        Console.WriteLine($"logs: {directory}");
        Console.WriteLine(contrast ? "next: ./demo" : "next: ./demo --contrast     (the same kill, HAProxy in our place)");
    }
}
