using System.Globalization;
using System.Text;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Appliance.Lab.Demo;

/// <summary>Where the demo shows itself.</summary>
public interface IDemoScreen
{
    void Topology(IDemoCluster cluster);

    void Say(string text);

    void Happened(DemoEvent what);

    void Tick(TimeSpan now, DemoMeter meter);

    /// <summary>The traffic is over: means of the whole run instead of the last numbers.</summary>
    void End(TimeSpan now, DemoMeter meter);
}

/// <summary>What both screens draw.</summary>
internal static class DemoDrawing
{
    private const string Levels = " ▁▂▃▄▅▆▇█";

    public static string Topology(IDemoCluster cluster)
    {
        var topology = cluster.Topology;
        var text = new StringBuilder();
        text.AppendLine("  " + string.Join("   ", topology.Clients.Select((c, i) => $"{c.Name} {Topologies.Client(i + 1)}")));
        text.AppendLine("      │");
        text.AppendLine("  ════╧═══ ext 203.0.113.0/24 ═════════════════   service " + string.Join(", ", Topologies.Services(cluster)));
        text.AppendLine("      │");
        text.AppendLine("  " + string.Join("   ", topology.Boxes.Select(b => $"[{b.Name}{(cluster.Proxies.Contains(b) ? " proxy" : " sharer")}]")) + "  ══ sync");
        text.AppendLine("      │");
        text.AppendLine("  ════╧═══ int 192.168.1.0/24 ═════════════════");
        text.AppendLine("      │");
        text.AppendLine("  " + string.Join("   ", topology.Backends.Select((b, i) => $"{b.Name} {Topologies.Backend(i + 1)} nginx")));
        text.Append("  " + cluster.Mode);
        return text.ToString();
    }

    /// <summary>One character a bin, the last <paramref name="width"/> bins, full height = the highest shown.</summary>
    public static string Strip(IReadOnlyList<long> bins, int width)
    {
        var shown = bins.Skip(Math.Max(0, bins.Count - width)).ToList();
        long top = Math.Max(1, shown.Count == 0 ? 1 : shown.Max());
        // A bin with any byte in it is never drawn as an empty one: silence must be told from slowness.
        return string.Concat(shown.Select(b => Levels[b == 0 ? 0 : Math.Max(1, (int)(b * (Levels.Length - 1) / top))]));
    }

    public static double Mbit(IReadOnlyList<long> bins, int last) =>
        bins.Count == 0 ? 0 : bins.Skip(Math.Max(0, bins.Count - last)).Average() * 8 / 0.1 / 1e6;

    /// <summary>Mean over all bins.</summary>
    public static double Mean(IReadOnlyList<long> bins) => Mbit(bins, bins.Count);

    public static string Seconds(TimeSpan time) => time.TotalSeconds.ToString("F1", CultureInfo.InvariantCulture);

    private static class Topologies
    {
        public static string Client(int number) => Lab.Topology.ClusterTopology.ClientAddress(number);

        public static string Backend(int number) => Lab.Topology.ClusterTopology.BackendAddress(number);

        public static IEnumerable<string> Services(IDemoCluster cluster) =>
            Enumerable.Range(1, cluster.Topology.Clients.Count).Select(i => cluster.Topology.ServiceAddress(i)).Distinct(StringComparer.Ordinal);
    }
}

/// <summary>Lines of text, for a pipe or a log: one a second, and one for whatever happens.</summary>
public sealed class PlainScreen(TextWriter output) : IDemoScreen
{
    private int _second = -1;

    public void Topology(IDemoCluster cluster) => output.WriteLine(DemoDrawing.Topology(cluster));

    public void Say(string text) => output.WriteLine(text);

    public void Happened(DemoEvent what) =>
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what.Seconds,5:F1} s  *** {what.What}"));

    public void Tick(TimeSpan now, DemoMeter meter)
    {
        if ((int)now.TotalSeconds == _second)
        {
            return;
        }
        _second = (int)now.TotalSeconds;
        string proxies = string.Join("  ", meter.Rates.Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Key} {r.Value:F0}/s")));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{now.TotalSeconds,5:F1} s  down {DemoDrawing.Mbit(meter.Bins("download", now), 10),6:F1} Mb/s  up {DemoDrawing.Mbit(meter.Bins("upload", now), 10),6:F1} Mb/s  broken {meter.Broken}  {proxies}  |{DemoDrawing.Strip(meter.Bins(until: now), 10)}|"));
    }

    public void End(TimeSpan now, DemoMeter meter) => output.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"{now.TotalSeconds,5:F1} s  the traffic is over; means while it ran: down {DemoDrawing.Mean(meter.Bins("download")):F1} Mb/s, up {DemoDrawing.Mean(meter.Bins("upload")):F1} Mb/s"));
}

/// <summary>A live picture for a terminal: topology, strip of throughput, a bar per proxy, what happened.</summary>
public sealed class LiveScreen(IAnsiConsole console) : IDemoScreen
{
    private readonly List<string> _happened = [];
    private readonly Lock _gate = new();
    private IDemoCluster? _cluster;
    private LiveDisplayContext? _live;
    private IRenderable? _traffic;

    /// <summary>Runs the scenario with the picture standing on the screen.</summary>
    public Task<DemoResult> Show(Func<Task<DemoResult>> scenario) => console.Live(new Text(string.Empty)).AutoClear(false).StartAsync(async live =>
    {
        _live = live;
        return await scenario().ConfigureAwait(false);
    });

    public void Topology(IDemoCluster cluster)
    {
        _cluster = cluster;
        Draw(new Text("building the lab"));
    }

    public void Say(string text) => Draw(_traffic is null ? new Text(text) : new Rows(_traffic, new Text(text)));

    public void Happened(DemoEvent what)
    {
        lock (_gate)
        {
            _happened.Add(string.Create(CultureInfo.InvariantCulture, $"{what.Seconds,5:F1} s  {what.What}"));
        }
    }

    public void Tick(TimeSpan now, DemoMeter meter) => DrawTraffic(now, meter, isOver: false);

    public void End(TimeSpan now, DemoMeter meter) => DrawTraffic(now, meter, isOver: true);

    private void DrawTraffic(TimeSpan now, DemoMeter meter, bool isOver)
    {
        int width = Math.Max(20, console.Profile.Width - 34);
        var strips = new Grid().AddColumn().AddColumn().AddColumn();
        foreach (string name in (string[])["download", "upload", "requests"])
        {
            var bins = meter.Bins(name, isOver ? null : now);
            strips.AddRow(
                new Text(name),
                new Text(string.Create(CultureInfo.InvariantCulture, $"{(isOver ? DemoDrawing.Mean(bins) : DemoDrawing.Mbit(bins, 5)),7:F1} Mb/s")),
                new Text(DemoDrawing.Strip(bins, width), new Style(Color.Green)));
        }
        var bars = new BarChart().Width(Math.Max(30, console.Profile.Width - 8)).Label(isOver ? "packets received" : "packets received per second");
        foreach (var (name, value) in isOver ? meter.Packets().Select(p => (p.Key, (double)p.Value)) : meter.Rates.Select(r => (r.Key, r.Value)))
        {
            bars.AddItem(name, Math.Round(value), value > 0 ? Color.Blue : Color.Red);
        }
        string head = isOver ? "throughput, means while it ran; a character = 100 ms" : "throughput, a character = 100 ms";
        string clock = $"{(isOver ? "over after " : "")}{DemoDrawing.Seconds(now)} s, broken connections: {meter.Broken}";
        _traffic = new Rows(new Panel(strips).Header(head).Expand(), bars, new Text(clock, new Style(meter.Broken > 0 ? Color.Red : Color.Green)));
        Draw(_traffic);
    }

    private void Draw(IRenderable body)
    {
        if (_live is null || _cluster is null)
        {
            return;
        }
        lock (_gate)
        {
            var happened = new Text(string.Join('\n', _happened), new Style(Color.Yellow));
            _live.UpdateTarget(new Rows(new Panel(new Text(DemoDrawing.Topology(_cluster))).Header(_cluster.Name), body, happened));
        }
    }
}
