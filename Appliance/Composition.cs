using Appliance.Control.Model;
using Appliance.Control.Runtime;

namespace Appliance;

/// <summary>Where a command writes: results to <see cref="Output"/>, complaints and log to <see cref="Error"/>.</summary>
public sealed record Terminal(TextWriter Output, TextWriter Error)
{
    /// <summary>Characters that a line of <see cref="Output"/> has room for; any number if it is no terminal. Asked only by who draws tables.</summary>
    public Func<int> Width { get; init; } = () => int.MaxValue;

    /// <summary>The process's own.</summary>
    public static Terminal OfProcess() => new(Console.Out, Console.Error) { Width = () => Console.IsOutputRedirected || Console.WindowWidth <= 0 ? int.MaxValue : Console.WindowWidth };
}

/// <summary>`appliance run`: a configuration without errors that fits the machine, and a readable key if it names one.</summary>
public sealed record RunRequest(string ConfigurationFile, Configuration Configuration, CompiledConfiguration Compiled, ClusterKey? Key, string RunDirectory, bool JsonLog, Terminal Terminal);

/// <summary>`appliance show`: what, of the appliance that runs in a directory. Page counts from 1.</summary>
public sealed record ShowRequest(string What, string RunDirectory, bool Json, string? Filter, int Page, Terminal Terminal);

/// <summary>`appliance replay`: capture files by the interface that their frames come in on.</summary>
public sealed record ReplayRequest(Configuration Configuration, CompiledConfiguration Compiled, IReadOnlyDictionary<string, string> Inputs, string OutputDirectory, Terminal Terminal);

/// <summary>The appliance behind the command line. Every method returns an exit code and has written a sentence if it is not 0.</summary>
public interface IAppliance
{
    /// <summary>Runs until told to stop.</summary>
    int Run(RunRequest request);

    /// <summary>Shows something of a running appliance.</summary>
    int Show(ShowRequest request);

    /// <summary>Runs captured frames through the data path.</summary>
    int Replay(ReplayRequest request);
}

/// <summary>The one place that decides which implementations the executable consists of.</summary>
public sealed record Composition(IAppliance Appliance, Func<IHostFacts> Host)
{
    /// <summary>Where a running appliance keeps its files unless told otherwise.</summary>
    public const string DefaultRunDirectory = "/run/appliance";

    /// <summary>The appliance as shipped.</summary>
    public static Composition Default() => new(new LinuxAppliance(), () => new LinuxHostFacts());
}
