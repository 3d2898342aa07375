using System.Globalization;

namespace Appliance.Lab.Judges;

/// <summary>CPU time that the whole machine spent since the meter was made: kernel, interrupts and all processes.</summary>
public sealed class CpuMeter
{
    private const double TicksPerSecond = 100;

    private readonly double _start = Busy();

    public double Seconds => Busy() - _start;

    private static double Busy()
    {
        // user nice system idle iowait irq softirq steal
        long[] fields = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Skip(1).Select(f => long.Parse(f, CultureInfo.InvariantCulture)).ToArray();
        return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / TicksPerSecond;
    }
}
