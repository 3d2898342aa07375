using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

if (args is ["--quick", ..])
{
    Appliance.Bench.Quick.Run(args.Length > 1 ? args[1] : string.Empty);
    return;
}

// In this process and short, so that a run takes a minute or two; numbers to compare, not to publish.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .AddDiagnoser(MemoryDiagnoser.Default)
    .HideColumns(Column.Error, Column.RatioSD);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config);
