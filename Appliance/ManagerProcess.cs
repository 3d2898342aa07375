using System.Runtime.InteropServices;
using Appliance.Control.Model;
using Appliance.Control.Runtime;

namespace Appliance;

/// <summary>The manager as a process of its own, started by the supervisor: `appliance manager FILE RUNDIR [--json-log]`. Ends with SIGTERM; SIGINT is the supervisor's business.</summary>
public static class ManagerProcess
{
    /// <summary>Name of the hidden command.</summary>
    public const string Command = "manager";

    /// <summary>Runs until SIGTERM; returns an exit code.</summary>
    public static int Run(string configurationFile, string runDirectory, bool jsonLog, TextWriter error)
    {
        Supervisor.BindChild();
        ManagerHost.RunAfterEngine();
        ParseResult? parsed = ConfigurationFile.Read(configurationFile, out _);
        if (parsed?.Configuration is not { } configuration) return ExitCodes.Failed;
        using ManualResetEvent stop = new(initialState: false);
        using PosixSignalRegistration term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            stop.Set();
        });
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
        try
        {
            using ManagerHost manager = new(configuration, ConfigurationCompiler.Compile(configuration), runDirectory, new StructuredLog(error, configuration.LogLevel, jsonLog));
            manager.Run(stop);
            return ExitCodes.Ok;
        }
        catch (IOException e)
        {
            StructuredLog.TryWriteLine(error, $"appliance: {e.Message}");
            return ExitCodes.Failed;
        }
    }
}
