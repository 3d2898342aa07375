using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using Appliance.Control.Model;
using Appliance.Control.Runtime;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;

namespace Appliance;

/// <summary>The appliance as shipped: processes on Linux, a socket to ask them, and the data path offline.</summary>
internal sealed class LinuxAppliance : IAppliance
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <inheritdoc/>
    public int Run(RunRequest request)
    {
        using RunDirectory? directory = RunDirectory.Take(request.RunDirectory, out string? problem);
        if (directory is null) return Fail(request.Terminal, problem!);
        var log = new StructuredLog(request.Terminal.Error, request.Configuration.LogLevel, request.JsonLog);
        using Supervisor? supervisor = Supervise(directory, request, log);
        if (supervisor is null) return ExitCodes.Failed;
        using PosixSignalRegistration term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        return supervisor.Run() ? ExitCodes.Ok : ExitCodes.Failed;

        void Stop(PosixSignalContext context)
        {
            context.Cancel = true;
            supervisor.Stop();
        }
    }

    /// <inheritdoc/>
    public int Show(ShowRequest request)
    {
        try
        {
            if (request.What == "splices") SpliceFilter.Parse(request.Filter);
        }
        catch (ShowException e)
        {
            request.Terminal.Error.WriteLine($"appliance: {e.Message}");
            return ExitCodes.Usage;
        }
        ShowAnswer answer = ShowClient.Ask(request.RunDirectory, new ShowQuery(request.What, request.Filter, request.Page, All: request.Json));
        if (answer.Document is not { } document)
        {
            request.Terminal.Error.WriteLine($"appliance: {answer.Error}");
            return answer.Unreachable ? ExitCodes.Unreachable : ExitCodes.Failed;
        }
        if (ShowText.PageProblem(document) is { } beyond)
        {
            if (request.Json) request.Terminal.Output.Write(document.ToJsonString(Json) + "\n");
            request.Terminal.Error.WriteLine($"appliance: {beyond}");
            return ExitCodes.Failed;
        }
        request.Terminal.Output.Write(request.Json ? document.ToJsonString(Json) + "\n" : ShowText.Render(document, request.Terminal.Width()));
        return document["engine"]?.GetValue<string>() is "away" or "starting" ? ExitCodes.Degraded : ExitCodes.Ok;
    }

    /// <inheritdoc/>
    public int Replay(ReplayRequest request)
    {
        if (request.Configuration.Interface(LinkRole.Sync) is { } sync && request.Inputs.ContainsKey(sync.Name))
            return Fail(request.Terminal, $"'{sync.Name}' is the sync link: it belongs to the host, and no frame of it comes to the data path");
        KeyFileResult? key = request.Configuration.KeyFile is { } file ? ClusterKeyFile.Read(file) : null;
        if (key?.Error is { } unusable) request.Terminal.Error.WriteLine($"appliance: {unusable}; a fixed key is used, so cookies of the captures are not recognised");
        if (key is null) request.Terminal.Error.WriteLine("appliance: the configuration names no key file, and a running box without one makes a key of its own: cookies of the captures are not recognised, so what they begin is dropped");
        try
        {
            using ReplayRun replay = new(request.Compiled, key?.Key?.Current ?? new byte[ClusterKey.Length], request.Inputs, request.OutputDirectory);
            foreach (string line in replay.Run().Lines()) request.Terminal.Output.WriteLine(line);
            request.Terminal.Output.WriteLine($"frame by frame: {Path.Combine(request.OutputDirectory, "verdicts.jsonl")}");
            return ExitCodes.Ok;
        }
        catch (Exception e) when (e is PcapException or IOException or UnauthorizedAccessException)
        {
            return Fail(request.Terminal, e.Message);
        }
    }

    private static Supervisor? Supervise(RunDirectory directory, RunRequest request, StructuredLog log)
    {
        try
        {
            return new Supervisor(directory, ConfigurationPrinter.Print(request.Configuration), log, request.JsonLog);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Fail(request.Terminal, $"the run directory {directory.FullPath} cannot be written: {e.Message}");
            return null;
        }
    }

    private static int Fail(Terminal terminal, string sentence)
    {
        terminal.Error.WriteLine($"appliance: {sentence}");
        return ExitCodes.Failed;
    }
}
