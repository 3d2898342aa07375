using System.Text.Json.Nodes;

namespace Appliance.Lab.Measure;

/// <summary>Tables of a <see cref="SpeedExperiment"/>, as markdown and as JSON.</summary>
public static class SpeedReport
{
    private static readonly (string Load, string Title, string Rate, string Cpu)[] Loads =
    [
        ("put", "bulk PUT", "Mb/s", "CPU ms/GB"), ("get", "bulk GET", "Mb/s", "CPU ms/GB"),
        ("short1k", "1 KB, Connection: close", "conn/s", "CPU us/conn"), ("short4k", "4 KB, Connection: close", "conn/s", "CPU us/conn"),
        ("beside-put", "200 B beside 20 PUTs, nothing fails", "bulk Mb/s", "cores"), ("beside-get", "200 B beside 20 GETs, nothing fails", "bulk Mb/s", "cores"),
        ("beside-paced", "200 B beside 20 PUTs paced to 1 Gb/s together, nothing fails", "bulk Mb/s", "cores"),
        ("rr1", "200 B, 1 connection", "req/s", "CPU us/req"), ("rr10", "200 B, 10 connections", "req/s", "CPU us/req"), ("rr100", "200 B, 100 connections", "req/s", "CPU us/req"),
    ];

    public static void Write(TextWriter to, Machine machine, SpeedPlan plan, IReadOnlyList<SpeedCell> cells)
    {
        to.WriteLine(machine);
        to.WriteLine($"median (least-most) of {plan.Runs} interleaved runs; CPU is the whole machine's; {plan.Congestion}{(plan.BoxFirst ? "; the box's program before all others (SCHED_FIFO)" : string.Empty)}");
        foreach (var (load, title, rate, cpu) in Loads)
        {
            var rows = cells.Where(c => c.Load == load).ToList();
            if (rows.Count == 0)
            {
                continue;
            }
            bool bulk = load is "put" or "get";
            bool beside = load.StartsWith("beside", StringComparison.Ordinal);
            to.WriteLine();
            to.WriteLine($"**{title}**");
            to.WriteLine();
            to.WriteLine($"| box | {rate} | of bare | of haproxy-http | {cpu} |" + (bulk ? string.Empty : " p50 us | p99 us |") + (beside ? " longest gap: middle ms | most ms |" : string.Empty) + " again % | timeouts | broken |");
            to.WriteLine("|---|---|---|---|---|" + (bulk ? string.Empty : "---|---|") + (beside ? "---|---|" : string.Empty) + "---|---|---|");
            foreach (var row in rows)
            {
                string latency = (bulk ? string.Empty : $" {row.P50Us} | {row.P99Us} |") + (beside ? $" {row.GapP50Ms} | {row.GapMaxMs} |" : string.Empty);
                to.WriteLine($"| {row.Box} | {row.Rate} | {Ratio(row, rows, "bare")} | {Ratio(row, rows, "haproxy-http")} | {row.Cpu} |{latency} {row.Retransmitted} | {row.Timeouts} | {row.Broken} |");
            }
        }
    }

    public static string ToJson(Machine machine, IReadOnlyList<SpeedCell> cells)
    {
        static JsonArray Values(Spread spread) => [.. spread.Values.Select(v => JsonValue.Create(v))];
        var list = new JsonArray();
        foreach (var cell in cells)
        {
            list.Add(new JsonObject
            {
                ["load"] = cell.Load,
                ["box"] = cell.Box,
                ["rate"] = Values(cell.Rate),
                ["cpu"] = Values(cell.Cpu),
                ["p50_us"] = Values(cell.P50Us),
                ["p99_us"] = Values(cell.P99Us),
                ["gap_p50_ms"] = Values(cell.GapP50Ms),
                ["gap_max_ms"] = Values(cell.GapMaxMs),
                ["timeouts"] = Values(cell.Timeouts),
                ["again_percent"] = Values(cell.Retransmitted),
                ["broken"] = cell.Broken,
            });
        }
        return new JsonObject { ["machine"] = machine.ToString(), ["cells"] = list }.ToJsonString(new() { WriteIndented = true });
    }

    private static string Ratio(SpeedCell cell, List<SpeedCell> rows, string box)
    {
        var other = rows.Find(r => r.Box == box);
        return other is null || other.Rate.Values.Count == 0 ? "-" : (cell.Rate.Median / other.Rate.Median).ToString("F2", System.Globalization.CultureInfo.InvariantCulture);
    }
}
