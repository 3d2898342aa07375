using System.CommandLine;
using System.Runtime.InteropServices;
using Appliance.Lab.Experiments;

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
        var loads = new Option<string[]>("--loads") { AllowMultipleArgumentsPerToken = true, Description = string.Join(", ", SpeedExperiment.BulkLoads.Concat(SpeedExperiment.BesideLoads).Concat(SpeedExperiment.SmallLoads)) };
        var seconds = new Option<double>("--seconds") { DefaultValueFactory = _ => 2, Description = "measured seconds of each small load" };
        var congestion = new Option<string>("--congestion") { DefaultValueFactory = _ => "cubic", Description = "TCP congestion control of all hosts" };
        var first = new Option<bool>("--box-first") { Description = "the box's program runs before clients and servers (SCHED_FIFO), whatever it is" };
        var busy = Busy();
        var json = Json();
        var command = new System.CommandLine.Command("speed", "Bulk, short connections and round trips, beside the kernel, HAProxy, nginx and the bare ports.") { runs, quick, boxes, loads, seconds, congestion, first, busy, json };
        command.SetAction(async (r, cancel) =>
        {
            bool reduced = r.GetValue(quick);
            var plan = new SpeedPlan
            {
                Runs = reduced ? 3 : r.GetValue(runs),
                Seconds = reduced ? 1 : r.GetValue(seconds),
                Boxes = r.GetValue(boxes) ?? [],
                Loads = r.GetValue(loads) ?? [],
                Congestion = r.GetValue(congestion)!,
                BoxFirst = r.GetValue(first),
            };
            var machine = Machine.ObserveFree(r.GetValue(busy));
            var cells = await new SpeedExperiment(plan, Log).Run(cancel).ConfigureAwait(false);
            SpeedReport.Write(Console.Out, machine, plan, cells);
            Save(r.GetValue(json), () => SpeedReport.ToJson(machine, cells));
            return 0;
        });
        return command;
    }

    public static System.CommandLine.Command Papers()
    {
        var chapter = new Argument<int>("chapter") { Description = "4: the thesis's tables 4.2 and 4.4" };
        var runs = new Option<int>("--runs") { DefaultValueFactory = _ => 3 };
        var table = new Option<string?>("--table") { Description = "only 4.2 or 4.4" };
        var busy = Busy();
        var command = new System.CommandLine.Command("papers", "The sources' own experiments, ours beside theirs.") { chapter, runs, table, busy };
        command.SetAction(async (r, _) =>
        {
            if (r.GetValue(chapter) != 4)
            {
                throw new Net.CommandFailedException("only chapter 4 is there");
            }
            var machine = Machine.ObserveFree(r.GetValue(busy));
            var papers = new PapersExperiment(r.GetValue(runs), Log);
            await Console.Out.WriteLineAsync(machine.ToString()).ConfigureAwait(false);
            if (r.GetValue(table) is null or "4.2")
            {
                await papers.Table42(Console.Out).ConfigureAwait(false);
            }
            if (r.GetValue(table) is null or "4.4")
            {
                await papers.Table44(Console.Out).ConfigureAwait(false);
            }
            return 0;
        });
        return command;
    }

    public static System.CommandLine.Command Kill()
    {
        var plan = new KillMatrixPlan("kill.jsonl");
        var runs = Count("--runs", plan.Acked, "runs under acked in all, with those that the file has already");
        var async = Count("--async", plan.Async, "runs under async");
        var haproxy = Count("--haproxy", plan.Haproxy, "runs with HAProxy");
        var resume = new Option<string>("--resume") { DefaultValueFactory = _ => plan.File, Description = "file of results, one JSON line a run; what it holds is not run again" };
        var faults = new Option<KillFault[]>("--faults") { AllowMultipleArgumentsPerToken = true, Description = "only these, one after the other: " + string.Join(", ", Enum.GetNames<KillFault>().Except([nameof(KillFault.Standby)])) };
        var proxies = Count("--proxies", 0, "only clusters with so many; 0: all");
        var share = new Option<string?>("--share") { Description = "only clusters that share so: \"by flow\" or \"by packet 40\"" };
        var capture = new Option<bool>("--capture") { Description = "capture small frames on all links, and keep them of runs in which a connection stands still" };
        var command = new System.CommandLine.Command("kill", "Kills proxies under load, run after run, and counts what clients notice.") { runs, async, haproxy, resume, faults, proxies, share, capture };
        command.Validators.Add(r =>
        {
            if (!KillMatrix.Has(r.GetValue(proxies), r.GetValue(share), r.GetValue(haproxy) > 0))
            {
                r.AddError("no cluster of the matrix has so many proxies and shares so (HAProxy, unless --haproxy 0, needs two or more)");
            }
        });
        command.SetAction(async (r, cancel) =>
        {
            var machine = Machine.Observe();
            plan = new KillMatrixPlan(r.GetValue(resume)!)
            {
                Acked = r.GetValue(runs),
                Async = r.GetValue(async),
                Haproxy = r.GetValue(haproxy),
                Faults = r.GetValue(faults) ?? [],
                Proxies = r.GetValue(proxies),
                Share = r.GetValue(share),
                Capture = r.GetValue(capture),
            };
            var results = await new KillMatrix(plan, Log).Run(cancel).ConfigureAwait(false);
            await Console.Out.WriteLineAsync(machine + "\n").ConfigureAwait(false);
            KillMatrix.Write(Console.Out, results);
            return results.All(k => k.Durability == HaproxyKill.Name || (k.MismatchedBytes == 0 && (k.Durability == "async" || k.Broken == 0))) ? 0 : 1;
        });
        return command;

        static Option<int> Count(string name, int standard, string description) => new(name) { DefaultValueFactory = _ => standard, Description = description };
    }

    public static System.CommandLine.Command Silence()
    {
        var plan = new SilencePlan("silence.jsonl");
        var resume = new Option<string>("--resume") { DefaultValueFactory = _ => plan.File, Description = "file of results, one JSON line a fault; what it holds is not done again" };
        var count = new Option<int>("--count") { DefaultValueFactory = _ => plan.Count, Description = "how often each fault is to happen in all" };
        var seconds = new Option<double>("--seconds") { DefaultValueFactory = _ => plan.Seconds, Description = "no further fault after so long; call again to go on" };
        var faults = new Option<KillFault[]>("--faults") { AllowMultipleArgumentsPerToken = true, Description = "only these: " + string.Join(", ", Enum.GetNames<KillFault>()) };
        var proxies = new Option<int>("--proxies") { DefaultValueFactory = _ => plan.Proxies };
        var share = new Option<string>("--share") { DefaultValueFactory = _ => plan.Share };
        var busy = Busy();
        var command = new System.CommandLine.Command("silence", "How long a few request/response connections wait when a proxy dies, on a machine that does nothing else.") { resume, count, seconds, faults, proxies, share, busy };
        command.SetAction(async (r, cancel) =>
        {
            var machine = Machine.ObserveFree(r.GetValue(busy));
            plan = new SilencePlan(r.GetValue(resume)!)
            {
                Count = r.GetValue(count),
                Seconds = r.GetValue(seconds),
                Proxies = r.GetValue(proxies),
                Share = r.GetValue(share)!,
                Faults = r.GetValue(faults) is { Length: > 0 } some ? some : plan.Faults,
            };
            var results = await new SilenceExperiment(plan, Log).Run(cancel).ConfigureAwait(false);
            await Console.Out.WriteLineAsync(machine + "\n").ConfigureAwait(false);
            SilenceExperiment.Write(Console.Out, results);
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
