using System.Text.Json;
using System.Text.Json.Serialization;
using Appliance.DataPath.Port;
using Appliance.Lab.Net;

namespace Appliance.Lab.Faults;

/// <summary>
/// "appliance-lab emulate A B": carries every frame between two interfaces through the fault plans of both directions.
/// Super-frames are split and partial checksums completed first, so the plans mean wire segments (a direction with an
/// empty plan passes frames through as they are).
/// </summary>
internal static class EmulatorProgram
{
    /// <summary>Longest sleep: how late a request to end may be noticed.</summary>
    private const long LongestWaitNs = 50_000_000;

    public static void Run(string a, string b, ulong seed, string forth, string back, CancellationToken stop)
    {
        using var sideA = Open(a, seed, forth);
        using var sideB = Open(b, seed + 1, back);
        using var waiter = new Waiter([.. sideA.PollHandles, .. sideB.PollHandles]);
        Console.WriteLine($"carrying {a} and {b}, seed {seed}");
        var batch = new FrameBatch(64);
        while (!stop.IsCancellationRequested)
        {
            if (Move(sideA, sideB, batch) + Move(sideB, sideA, batch) == 0)
            {
                long due = Math.Min(sideA.NextDue, sideB.NextDue);
                long wait = Math.Min(LongestWaitNs, due == long.MaxValue ? LongestWaitNs : due - LabNative.MonotonicNs());
                waiter.Wait(Math.Max(0, wait));
            }
        }
        Console.WriteLine(new EmulatorReport(EmulatorReport.Of(sideA.Receiving), EmulatorReport.Of(sideB.Receiving)));
    }

    private static FaultPort Open(string name, ulong seed, string plan)
    {
        var parsed = JsonSerializer.Deserialize(plan, EmulatorJson.Default.FaultPlan);
        var port = AfPacketPort.Open(name, MacFilter.Everything, new AfPacketOptions { Promiscuous = true, Receive = ReceiveMode.Messages, SynsFirst = false });
        return new FaultPort(port, seed, LabNative.MonotonicNs, receive: parsed == new FaultPlan() ? null : parsed, capacity: 16_384);
    }

    private static int Move(FaultPort from, FaultPort to, FrameBatch batch)
    {
        int count = from.Receive(batch);
        for (int i = 0; i < count; i++)
        {
            to.Send(batch[i]);
        }
        if (count > 0)
        {
            to.Flush();
        }
        from.Release();
        return count;
    }
}

/// <summary>What one direction of an emulated link did, in wire segments.</summary>
public sealed record EmulatorCounts(long Segments, long Lost, long Duplicated, long Reordered, long Corrupted, long Overflowed);

/// <summary>What an emulated link did, as it prints it at its end; null for a direction without a plan.</summary>
public sealed record EmulatorReport(EmulatorCounts? Forth, EmulatorCounts? Back)
{
    public static EmulatorReport? Parse(string line) => JsonSerializer.Deserialize(line, EmulatorJson.Default.EmulatorReport);

    public override string ToString() => JsonSerializer.Serialize(this, EmulatorJson.Default.EmulatorReport);

    internal static EmulatorCounts? Of(FaultCounters? c) =>
        c is null ? null : new EmulatorCounts(c.Segments, c.Lost, c.Duplicated, c.Reordered, c.Corrupted, c.Overflowed);
}

[JsonSerializable(typeof(FaultPlan))]
[JsonSerializable(typeof(EmulatorReport))]
internal sealed partial class EmulatorJson : JsonSerializerContext;
