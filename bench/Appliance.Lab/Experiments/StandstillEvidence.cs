using System.Globalization;
using Appliance.Control.Runtime;
using Appliance.Lab.Judges;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Experiments;

/// <summary>
/// Watches the clients' TCPs during a kill run and, when one has heard nothing for longer than any fault lasts, keeps what explains it
/// while it still waits: both kernels' view of every connection, what each box holds, and a capture on every link until
/// the run ends (or, if asked for, from its start, of small frames). Leaves nothing when all goes well.
/// </summary>
internal sealed class StandstillEvidence : IDisposable
{
    /// <summary>Silence that no fault explains, ms: a link is down for 5 s, and the next retransmission comes at most 6.4 s after that.</summary>
    private const int TooLongMs = 13_000;

    private const string SmallFrames = "less 400";

    private static readonly TimeSpan Look = TimeSpan.FromSeconds(1);

    private readonly ApplianceLab _lab;
    private readonly string _directory, _name;
    private readonly CancellationTokenSource _end = new();
    private readonly List<Capture> _captures = [];
    private readonly Task _watch;

    /// <summary>Starts watching.</summary>
    /// <param name="lab">Cluster of the run.</param>
    /// <param name="name">Name of this run in its lab, and part of the directory's, below appliance-standstill in the system's temporary one.</param>
    /// <param name="fromStart">Capture small frames from now on: it shows the beginning, and costs some of the machine.</param>
    public StandstillEvidence(ApplianceLab lab, string name, bool fromStart)
    {
        _lab = lab;
        _name = name;
        _directory = Path.Combine(Path.GetTempPath(), "appliance-standstill", string.Create(CultureInfo.InvariantCulture, $"{DateTime.UtcNow:yyyyMMdd-HHmmss}-{name}"));
        if (fromStart)
        {
            Capture(SmallFrames);
        }
        _watch = Watch();
    }

    /// <summary>Where evidence was left; null when there was none to take.</summary>
    public string? Directory { get; private set; }

    /// <summary>Ends the captures; what was found is in <see cref="Directory"/>.</summary>
    public void Dispose()
    {
        _end.Cancel();
        _watch.GetAwaiter().GetResult();
        if (Directory is not null)
        {
            Try(() => WriteBoxes("end"));
        }
        foreach (var capture in _captures)
        {
            Try(() => Keep(capture.Stop()));
        }
        _end.Dispose();
    }

    private void Keep(string file)
    {
        if (Directory is not null)
        {
            File.Copy(file, Path.Combine(_directory, Path.GetFileName(file)), overwrite: true);
        }
        File.Delete(file);
    }

    // Evidence that cannot be had must not cost the result.
    private void Try(Action take)
    {
        try
        {
            take();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CommandFailedException or TimeoutException or FormatException)
        {
            System.IO.Directory.CreateDirectory(_directory);
            File.AppendAllText(Path.Combine(_directory, "failed.txt"), e + "\n");
        }
    }

    private async Task Watch()
    {
        while (!_end.IsCancellationRequested)
        {
            await Task.Delay(Look, _end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            bool found = false;
            Try(() => found = _lab.Topology.Clients.Any(WaitsInVain));
            if (found)
            {
                Try(Take);
                return;
            }
        }
    }

    private static bool WaitsInVain(Host host) =>
        host.TryRun("ss", "-tinH", "state", "established").Output.Split('\n').Any(l => Milliseconds(l, "lastrcv:") >= TooLongMs && Milliseconds(l, "lastack:") >= TooLongMs);

    // Of data, or of an acknowledgment; what ss leaves out was just now.
    private static int Milliseconds(string line, string field)
    {
        int at = line.IndexOf(field, StringComparison.Ordinal);
        return at < 0 ? 0 : int.Parse(line.AsSpan(at + field.Length).TrimEnd().ToString().Split(' ')[0], CultureInfo.InvariantCulture);
    }

    private void Take()
    {
        Directory = System.IO.Directory.CreateDirectory(_directory).FullName;
        foreach (var host in Ends)
        {
            Write(host.Name + ".ss", host.TryRun("ss", "-tinemo").Output);
        }
        WriteBoxes("first");
        if (_captures.Count == 0)
        {
            Capture(null);
        }
    }

    private void WriteBoxes(string when)
    {
        foreach (var box in _lab.Boxes)
        {
            Write($"{box.Host.Name}-{when}.log", box.Log);
            Write($"{box.Host.Name}-{when}.counters", string.Join('\n', box.Counters().Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Key}={c.Value}"))));
            Write($"{box.Host.Name}-{when}.peers", box.Show("peers")?.ToJsonString() ?? "no answer");
            Write($"{box.Host.Name}-{when}.splices", ShowClient.Ask(box.RunDirectory, new ShowQuery("splices", All: true)).Document?.ToJsonString() ?? "no answer");
        }
    }

    private void Capture(string? filter)
    {
        foreach (var host in Ends.Concat(_lab.Topology.Boxes))
        {
            foreach (var link in host.Links.Where(l => l.Interface != "eth2"))
            {
                _captures.Add(Judges.Capture.Start(host, link.Interface, $"{host.Name}-{link.Interface}-{_name}", filter: filter));
            }
        }
    }

    private IEnumerable<Host> Ends => _lab.Topology.Clients.Concat(_lab.Topology.Backends);

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(_directory, name), text);
}
