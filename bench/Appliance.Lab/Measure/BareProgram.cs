using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;
using Appliance.Lab.Net;

namespace Appliance.Lab.Measure;

/// <summary>
/// "appliance-lab bare": the engine's ports, its filter, its waiter and one thread, but in between nothing but new
/// MACs: what moving the bytes through packet sockets costs, whatever the data path does with them.
/// </summary>
internal static class BareProgram
{
    /// <summary>One side: interface, the MAC that frames come to there, and the neighbour's.</summary>
    public sealed record Side(string Interface, MacAddress Own, MacAddress Neighbour);

    public static void Run(Side a, Side b, CancellationToken stop)
    {
        using var portA = AfPacketPort.Open(a.Interface, new MacFilter([a.Own]));
        using var portB = AfPacketPort.Open(b.Interface, new MacFilter([b.Own]));
        using var waiter = new Waiter([.. portA.PollHandles, .. portB.PollHandles]);
        var pass = new BarePassThrough(portA, portB) { ToA = (a.Neighbour, a.Own), ToB = (b.Neighbour, b.Own) };
        using var wake = stop.Register(waiter.Wake);
        var thread = new Thread(() => pass.Run(waiter, stop)) { Name = "worker", IsBackground = true, Priority = ThreadPriority.AboveNormal };
        thread.Start();
        Console.WriteLine($"passing frames between {a.Interface} and {b.Interface}");
        thread.Join();
        Console.WriteLine($"received {portA.Counters.ReceivedFrames} and {portB.Counters.ReceivedFrames} frames, not sent {portA.Counters.SendDrops + portB.Counters.SendDrops}");
    }

    public static Side Parse(string name, string own, string neighbour) =>
        MacAddress.TryParse(own, out var mine) && MacAddress.TryParse(neighbour, out var other)
            ? new Side(name, mine, other)
            : throw new CommandFailedException($"not a MAC address: {own} or {neighbour}");
}
