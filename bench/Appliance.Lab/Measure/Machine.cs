using System.Globalization;
using Appliance.Lab.Judges;
using Appliance.Lab.Net;

namespace Appliance.Lab.Measure;

/// <summary>The machine that a measurement ran on, and whether it was free for it.</summary>
public sealed record Machine(string Processor, int Cores, double MemoryGb, string Kernel, string Load, double BusyCores, string Date)
{
    /// <summary>More than so many cores in use by others before the run, and the numbers mean little.</summary>
    private const double MostBusy = 0.15;

    private static readonly TimeSpan Look = TimeSpan.FromSeconds(1);

    public bool IsBusy => BusyCores > MostBusy;

    /// <summary>Looks for a second at what the machine does by itself.</summary>
    public static Machine Observe()
    {
        var meter = new CpuMeter();
        Thread.Sleep(Look);
        double busy = meter.Seconds / Look.TotalSeconds;
        return new Machine(
            Field("/proc/cpuinfo", "model name"),
            Environment.ProcessorCount,
            Math.Round(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1e9, 1),
            File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
            string.Join(' ', File.ReadAllText("/proc/loadavg").Split(' ').Take(3)),
            Math.Round(busy, 2),
            DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) + " UTC");
    }

    /// <summary>Observes; on a busy machine says so loudly, and refuses unless told that it may go on.</summary>
    public static Machine ObserveFree(bool anyway)
    {
        var machine = Observe();
        if (machine.IsBusy)
        {
            string what = string.Create(CultureInfo.InvariantCulture, $"the machine is busy: {machine.BusyCores} cores in use by others, load {machine.Load}");
            Console.Error.WriteLine("**** " + what + " ****");
            if (!anyway)
            {
                throw new CommandFailedException(what + "; wait, or say --busy to measure all the same");
            }
        }
        return machine;
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Processor}, {Cores} cores, {MemoryGb} GB, Linux {Kernel}, {Date}; load before {Load}, {BusyCores} cores in use by others{(IsBusy ? " (BUSY: these numbers mean little)" : string.Empty)}");

    private static string Field(string file, string name) =>
        File.ReadLines(file).FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "unknown";
}
