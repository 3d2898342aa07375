using System.Diagnostics;
using Appliance.DataPath.Paths;

namespace Appliance.Bench;

/// <summary>
/// The per-packet benchmarks in a few seconds, for work on the code: each is repeated and the fastest and the middle
/// repetition are printed, which a busy machine disturbs least. BenchmarkDotNet is for what is published.
/// </summary>
internal static class Quick
{
    private const int Repetitions = 60;

    public static void Run(string filter)
    {
        foreach (int flows in (int[])[1_000, 1_000_000])
        {
            var rewrite = new RewriteBench { Flows = flows };
            rewrite.Setup();
            Time(filter, $"{flows} flows: arrive and parse (A)", RewriteBench.Packets, () => rewrite.Arrive());
            Time(filter, $"{flows} flows: A + rewrite", RewriteBench.Packets, () => rewrite.Rewrite());
            Time(filter, $"{flows} flows: A + observe", RewriteBench.Packets, () => rewrite.Observe());
            Time(filter, $"{flows} flows: A + lookup + rewrite", RewriteBench.Packets, () => rewrite.LookupAndRewrite());
            Time(filter, $"{flows} flows: A + prefetch + lookup + rewrite", RewriteBench.Packets, () => rewrite.PrefetchLookupAndRewrite());
            rewrite.Cleanup();
            var lookup = new FlowLookup { Flows = flows };
            lookup.Setup();
            Time(filter, $"{flows} flows: hash", FlowLookup.Packets, () => lookup.Hash());
            Time(filter, $"{flows} flows: hash + find", FlowLookup.Packets, () => lookup.FindOnly());
            Time(filter, $"{flows} flows: hash + prefetch + find", FlowLookup.Packets, () => lookup.FindInBatches());
            lookup.Cleanup();
            foreach (BoxRoles roles in (BoxRoles[])[BoxRoles.Sharer | BoxRoles.Proxy, BoxRoles.Proxy])
            {
                var forward = new ForwardBench { Splices = flows, Roles = roles };
                forward.Setup();
                Time(filter, $"{flows} splices, {roles}: to server", ForwardBench.Packets, () => forward.ToServer());
                Time(filter, $"{flows} splices, {roles}: to client", ForwardBench.Packets, () => forward.ToClient());
                Time(filter, $"{flows} splices, {roles}: receive only", ForwardBench.Packets, () => forward.Receive());
            }
        }
    }

    private static void Time(string filter, string name, int packets, Action action)
    {
        if (!name.Contains(filter, StringComparison.Ordinal)) return;
        var times = new List<double>();
        long allocated = 0;
        for (int i = 0; i < Repetitions; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread(), start = Stopwatch.GetTimestamp();
            action();
            times.Add(Stopwatch.GetElapsedTime(start).TotalNanoseconds / packets);
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }
        times.Sort();
        Console.WriteLine($"{name,-55} {times[0],7:F1} ns {times[times.Count / 2],7:F1} ns {allocated,6} B");
    }
}
