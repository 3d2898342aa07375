using System.Diagnostics;
using System.Globalization;
using Appliance.Control.Runtime;
using Appliance.Lab.Judges;
using Appliance.Lab.Net;
using Appliance.Lab.Topology;

namespace Appliance.Lab.Experiments;

/// <summary>
/// Watches the transfers of a kill run and, when some have not moved for a while after the fault, keeps what explains it while the
/// ends still try: both kernels' view of every open connection, what each box holds, and a capture on every link until the
/// run ends. Writes nothing when all goes well.
/// </summary>
internal sealed class StandstillEvidence : IDisposable
{
    private static readonly TimeSpan Look = TimeSpan.FromSeconds(1);

    private readonly ApplianceLab _lab;
    private readonly Func<long> _moved;
    private readonly Func<int> _inFlight;
    private readonly string _directory;
    private readonly CancellationTokenSource _end = new();
    private readonly Task _watch;
    private readonly List<Capture> _captures = [];

    /// <summary>Starts watching.</summary>
    /// <param name="lab">Cluster of the run.</param>
    /// <param name="inFlight">Transfers that have not ended.</param>
    /// <param name="moved">Bytes that all transfers moved so far.</param>
    /// <param name="still">How long nothing may move before evidence is taken.</param>
    /// <param name="name">Part of the directory's name, below the system's temporary one.</param>
    public StandstillEvidence(ApplianceLab lab, Func<int> inFlight, Func<long> moved, TimeSpan still, string name)
    {
        (_lab, _inFlight, _moved) = (lab, inFlight, moved);
        _directory = Path.Combine(Path.GetTempPath(), "appliance-standstill", name);
        _watch = Watch(still);
    }

    /// <summary>Where evidence was left; null when there was none to take.</summary>
    public string? Directory { get; private set; }

    /// <summary>Ends the captures; what was found is in <see cref="Directory"/>.</summary>
    public void Dispose()
    {
        _end.Cancel();
        _watch.GetAwaiter().GetResult();
        foreach (var capture in _captures)
        {
            File.Copy(capture.Stop(), Path.Combine(_directory, Path.GetFileName(capture.Path)), overwrite: true);
        }
        _end.Dispose();
    }

    private async Task Watch(TimeSpan still)
    {
        long last = -1;
        var since = Stopwatch.StartNew();
        while (!_end.IsCancellationRequested)
        {
            await Task.Delay(Look, _end.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            long now = _moved();
            if (now != last || _inFlight() == 0)
            {
                last = now;
                since.Restart();
            }
            else if (since.Elapsed > still)
            {
                await Task.Run(Take).ConfigureAwait(false);
                return;
            }
        }
    }

    private void Take()
    {
        Directory = System.IO.Directory.CreateDirectory(_directory).FullName;
        foreach (var host in Ends)
        {
            Write(host.Name + ".ss", host.TryRun("ss", "-tinemo").Output);
        }
        foreach (var box in _lab.Boxes)
        {
            Write(box.Host.Name + ".log", box.Log);
            Write(box.Host.Name + ".counters", string.Join('\n', box.Counters().Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Key}={c.Value}"))));
            Write(box.Host.Name + ".peers", box.Show("peers")?.ToJsonString() ?? "no answer");
        }
        foreach (var box in _lab.Boxes)
        {
            Write(box.Host.Name + ".splices", ShowClient.Ask(box.RunDirectory, new ShowQuery("splices", All: true)).Document?.ToJsonString() ?? "no answer");
        }
        foreach (var host in Ends.Concat(_lab.Topology.Boxes))
        {
            foreach (var link in host.Links)
            {
                _captures.Add(Capture.Start(host, link.Interface, $"{host.Name}-{link.Interface}"));
            }
        }
    }

    private IEnumerable<Host> Ends => _lab.Topology.Clients.Concat(_lab.Topology.Backends);

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(_directory, name), text);
}
