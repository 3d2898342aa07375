using System.Globalization;
using System.Runtime.InteropServices;

namespace Appliance.Control.Runtime;

/// <summary>
/// An engine before it is needed: everything compiled, no port opened, no table made. It compiles with what others leave of the
/// processors, says in the run directory that it is ready, and sleeps until its supervisor calls it to go on in the place of one
/// that died. What its start would have cost is spent by then. Killed with its supervisor as the others, and ended by
/// SIGTERM: it holds nothing.
/// </summary>
public static class Standby
{
    private static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(1);

    /// <summary>Path of the file that names a standby which is ready.</summary>
    public static string ReadyPath(string runDirectory) => Path.Combine(runDirectory, "standby");

    /// <summary>Warms, and waits on standard input for the supervisor's call, which may come before the end of the first; false if it will never come.</summary>
    public static bool WaitForCall(string runDirectory, Action rehearse)
    {
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
        var called = new TaskCompletionSource();
        new Thread(() => WarmUp(runDirectory, rehearse, called.Task)) { Name = "warm-up", IsBackground = true }.Start();
        using Stream calls = Console.OpenStandardInput();
        bool isCall = calls.ReadByte() >= 0;
        called.SetResult();
        return isCall;
    }

    /// <summary>"ready", "warming" or "none".</summary>
    public static string State(string runDirectory)
    {
        if (RunState.Read(runDirectory) is not { Standby: > 0 } state) return "none";
        try
        {
            return int.TryParse(File.ReadAllText(ReadyPath(runDirectory)), CultureInfo.InvariantCulture, out int pid) && pid == state.Standby ? "ready" : "warming";
        }
        catch (IOException)
        {
            return "warming";
        }
    }

    private static void WarmUp(string runDirectory, Action rehearse, Task called)
    {
        SchedulingNative.RunLater();
        Warmup.Run();
        rehearse();
        bool isSaid = false;
        do
        {
            isSaid = (isSaid && File.Exists(ReadyPath(runDirectory))) || TrySayReady(runDirectory);
        }
        while (!called.Wait(LookAgain));
    }

    private static bool TrySayReady(string runDirectory)
    {
        try
        {
            File.WriteAllText(ReadyPath(runDirectory), Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is shown as warming until it can be said; it works all the same.
            return false;
        }
    }
}
