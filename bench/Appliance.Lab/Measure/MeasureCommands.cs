using System.CommandLine;
using System.Runtime.InteropServices;

namespace Appliance.Lab.Measure;

/// <summary>The measurement programs' command lines; bench/speed and its siblings call them.</summary>
internal static class MeasureCommands
{
    public static System.CommandLine.Command Bare()
    {
        var words = new Argument<string[]>("sides") { Arity = new ArgumentArity(6, 6), Description = "INTERFACE OWN-MAC NEIGHBOUR-MAC, twice" };
        var command = new System.CommandLine.Command("bare", "Passes frames between two interfaces, only their MACs rewritten.") { words };
        command.SetAction(r =>
        {
            using var stop = new CancellationTokenSource();
            using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c =>
            {
                c.Cancel = true;
                stop.Cancel();
            });
            string[] w = r.GetValue(words)!;
            BareProgram.Run(BareProgram.Parse(w[0], w[1], w[2]), BareProgram.Parse(w[3], w[4], w[5]), stop.Token);
            return 0;
        });
        return command;
    }

    public static System.CommandLine.Command Speed()
    {
        var runs = new Option<int>("--runs") { DefaultValueFactory = _ => 5, Description = "runs of each load on each box" };
        var quick = new Option<bool>("--quick") { Description = "3 short runs: under 6 minutes" };
        var boxes = new Option<string[]>("--boxes") { AllowMultipleArgumentsPerToken = true, Description = string.Join(", ", SpeedExperiment.Boxes.Select(b => b.Name)) };
        var loads = new Option<string[]>("--loads") { AllowMultipleArgumentsPerToken = true, Description = string.Join(", ", SpeedExperiment.BulkLoads.Concat(SpeedExperiment.SmallLoads)) };
        var seconds = new Option<double>("--seconds") { DefaultValueFactory = _ => 2, Description = "measured seconds of each small load" };
        var busy = Busy();
        var json = Json();
        var command = new System.CommandLine.Command("speed", "Bulk, short connections and round trips, beside the kernel, HAProxy, nginx and the bare ports.") { runs, quick, boxes, loads, seconds, busy, json };
        command.SetAction(async (r, cancel) =>
        {
            bool reduced = r.GetValue(quick);
            var plan = new SpeedPlan
            {
                Runs = reduced ? 3 : r.GetValue(runs),
                Seconds = reduced ? 1 : r.GetValue(seconds),
                Boxes = r.GetValue(boxes) ?? [],
                Loads = r.GetValue(loads) ?? [],
            };
            var machine = Machine.ObserveFree(r.GetValue(busy));
            var cells = await new SpeedExperiment(plan, Log).Run(cancel).ConfigureAwait(false);
            SpeedReport.Write(Console.Out, machine, plan, cells);
            Save(r.GetValue(json), () => SpeedReport.ToJson(machine, cells));
            return 0;
        });
        return command;
    }

    internal static Option<bool> Busy() => new("--busy") { Description = "measure although the machine is busy" };

    internal static Option<string?> Json() => new("--json") { Description = "write the values of every run to this file" };

    internal static void Log(string line) => Console.Error.WriteLine(line);

    internal static void Save(string? file, Func<string> text)
    {
        if (file is not null)
        {
            File.WriteAllText(file, text() + "\n");
        }
    }
}
