using System.Globalization;
using Appliance.Lab.Net;

namespace Appliance.Lab.Judges;

/// <summary>A tcpdump on an interface of a host, with a buffer that holds what a slow disk lets pile up.</summary>
public sealed class Capture
{
    private const int BufferKiB = 64 * 1024;
    private static readonly TimeSpan Drain = TimeSpan.FromMilliseconds(150);

    private readonly LabProcess _process;

    private Capture(LabProcess process, string path)
    {
        _process = process;
        Path = path;
    }

    public string Path { get; }

    /// <summary>Starts capturing; returns when packets are seen. A snap length of 0 keeps whole frames.</summary>
    public static Capture Start(Host host, string interfaceName, string name, int snapLength = 128, string? filter = null)
    {
        string path = System.IO.Path.Combine(host.DirectoryFor("captures"), name + ".pcap");
        List<string> arguments =
        [
            "-i", interfaceName, "-n", "-U", "--immediate-mode", "-Z", "root", "-B", BufferKiB.ToString(CultureInfo.InvariantCulture),
            "-s", snapLength.ToString(CultureInfo.InvariantCulture), "-w", path,
        ];
        if (filter is not null)
        {
            arguments.Add(filter);
        }
        var process = host.Start(new ProcessSpec("tcpdump-" + name, "tcpdump", [.. arguments]));
        process.WaitForLog("listening on", TimeSpan.FromSeconds(10));
        return new Capture(process, path);
    }

    /// <summary>Ends the capture and returns its file.</summary>
    public string Stop()
    {
        // On SIGTERM tcpdump leaves unread what the kernel holds for it.
        Thread.Sleep(Drain);
        _process.Terminate(TimeSpan.FromSeconds(5));
        return Path;
    }

    /// <summary>Frames that the capture itself lost (what was lost nobody judged); call after <see cref="Stop"/>.</summary>
    public long LostFrames()
    {
        string line = _process.Log.Split('\n').FirstOrDefault(l => l.Contains("dropped by kernel", StringComparison.Ordinal)) ?? "0";
        return long.Parse(line.Split(' ')[0], CultureInfo.InvariantCulture);
    }
}
