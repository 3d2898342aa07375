using System.Net.Sockets;
using System.Runtime.InteropServices;
using Appliance.Control.Model;
using Appliance.Control.Runtime;
using Appliance.DataPath.Port;

namespace Appliance;

/// <summary>
/// The engine as a process of its own, started by the supervisor: `appliance engine FILE RUNDIR [standby]`.
/// SIGTERM makes it leave: it announces it, forwards what still comes, and exits with 0.
/// </summary>
public static class EngineProcess
{
    /// <summary>Name of the hidden command.</summary>
    public const string Command = "engine";

    private static readonly TimeSpan
        LeaveGrace = TimeSpan.FromMilliseconds(200), LinkPatience = TimeSpan.FromMilliseconds(100), AnnounceAgain = TimeSpan.FromSeconds(1);

    /// <summary>Runs until SIGTERM; as a standby it waits for a call first. Returns an exit code.</summary>
    public static int Run(string configurationFile, string runDirectory, bool standby, TextWriter error)
    {
        Supervisor.BindChild();
        if (standby && !Standby.WaitForCall(runDirectory, () => Load(configurationFile, out _, out _))) return ExitCodes.Ok;
        if (Load(configurationFile, out CompiledConfiguration compiled, out ClusterKey key) is { } problem) return Fail(error, problem);
        EngineAddress? earlier = EngineFiles.ReadAddress(runDirectory);
        using ManualResetEventSlim stop = new();
        using PosixSignalRegistration term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => Stop(context, stop));
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => Stop(context, stop));
        // In the place of one that ran: what is missing now was there, and is waited for. At the first start the supervisor says what is missing.
        if (earlier is not null && !WaitForLinks(compiled.Box, stop, error)) return ExitCodes.Ok;
        try
        {
            using EngineHost engine = new(compiled, key, Clock.WallMs);
            engine.Start(earlier);
            engine.Files.TryAnnounce(runDirectory);
            EngineFiles.RemoveLeftovers(earlier);
            // Packets do not wait for a directory that is full or gone; who looks for this engine finds it when it is back.
            while (!stop.Wait(AnnounceAgain)) engine.Files.TryAnnounce(runDirectory);
            engine.Leave(LeaveGrace);
            return ExitCodes.Ok;
        }
        catch (Exception e) when (e is PortException or IOException or SocketException)
        {
            return Fail(error, e.Message);
        }
    }

    private static string? Load(string configurationFile, out CompiledConfiguration compiled, out ClusterKey key)
    {
        (compiled, key) = (null!, null!);
        ParseResult? parsed = ConfigurationFile.Read(configurationFile, out string? problem);
        if (parsed?.Configuration is not { } configuration) return problem ?? $"{configurationFile} has errors";
        compiled = ConfigurationCompiler.Compile(configuration);
        KeyFileResult? keyFile = compiled.Box.KeyFile is { } file ? ClusterKeyFile.Read(file) : null;
        key = keyFile?.Key ?? new ClusterKey(System.Security.Cryptography.RandomNumberGenerator.GetBytes(ClusterKey.Length), null);
        return keyFile?.Error;
    }

    private static bool WaitForLinks(BoxSettings settings, ManualResetEventSlim stop, TextWriter error)
    {
        foreach (string name in (string[])[settings.External.InterfaceName, settings.Internal.InterfaceName])
        {
            if (LinkInfo.Exists(name)) continue;
            StructuredLog.TryWriteLine(error, $"appliance: {name}: there is no such network interface; the engine waits for it.");
            while (!LinkInfo.Exists(name))
            {
                if (stop.Wait(LinkPatience)) return false;
            }
        }
        return true;
    }

    private static int Fail(TextWriter error, string sentence)
    {
        StructuredLog.TryWriteLine(error, $"appliance: {sentence}");
        return ExitCodes.Failed;
    }

    private static void Stop(PosixSignalContext context, ManualResetEventSlim stop)
    {
        context.Cancel = true;
        stop.Set();
    }
}
