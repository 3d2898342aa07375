using System.Runtime.InteropServices;

namespace Appliance.Control.Runtime;

/// <summary>
/// An engine before it is needed: everything compiled, no port opened, no table made. It compiles with what others leave of the
/// processors and then sleeps until its supervisor calls it, to go on in the place of one that died. What its start
/// would have cost is spent by then. Killed with its supervisor as the others, and ended by SIGTERM: it holds nothing.
/// </summary>
public static class Standby
{
    /// <summary>Warms, and waits on standard input for the supervisor's call, which may come before the end of the first; false if it will never come.</summary>
    public static bool WaitForCall(Action rehearse)
    {
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
        new Thread(() => WarmUp(rehearse)) { Name = "warm-up", IsBackground = true }.Start();
        using Stream calls = Console.OpenStandardInput();
        return calls.ReadByte() >= 0;
    }

    private static void WarmUp(Action rehearse)
    {
        SchedulingNative.RunLater();
        Warmup.Run();
        rehearse();
    }
}
