using System.CommandLine;
using System.Runtime.InteropServices;
using Appliance.Lab.Demo;
using Appliance.Lab.Faults;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Servers;
using Appliance.Lab.Topology;

namespace Appliance.Lab;

/// <summary>The command line of appliance-lab: parts of a lab that run as processes of their own, and what people call.</summary>
internal static class Commands
{
    public static RootCommand Root() => new("Network labs on one machine: hosts, links, servers, load, faults, judges.")
    {
        Demonstration(), Up(), Client(), Server(), Emulate(), Sweep(), Measure.MeasureCommands.Bare(), Measure.MeasureCommands.Speed(), Measure.MeasureCommands.Papers(), Measure.MeasureCommands.Kill(), Measure.MeasureCommands.Silence(),
    };

    private static System.CommandLine.Command Demonstration()
    {
        var contrast = new Option<bool>("--contrast") { Description = "do the same kill to two HAProxy boxes" };
        var json = new Option<string?>("--json") { Description = "write the result to this file" };
        var directory = new Option<string?>("--out") { Description = "where capture, configuration and logs stay" };
        var seconds = new Option<double>("--seconds") { DefaultValueFactory = _ => 18, Description = "how long the traffic is to run, about" };
        var rate = new Option<int>("--mbit") { DefaultValueFactory = _ => 200, Description = "rate of each client's link" };
        var command = new System.CommandLine.Command("demo", "Kills a proxy under traffic and shows what the clients notice.") { contrast, json, directory, seconds, rate };
        command.SetAction(r =>
        {
            double length = r.GetValue(seconds);
            var plan = new DemoPlan
            {
                Seconds = length,
                ClientMbit = r.GetValue(rate),
                KillProxyAt = length * 0.22,
                KillManagerAt = length * 0.44,
                ReviveAt = length * 0.66,
            };
            return DemoProgram.Run(r.GetValue(contrast), r.GetValue(json), r.GetValue(directory), plan);
        });
        return command;
    }

    private static System.CommandLine.Command Up()
    {
        var kind = new Option<BoxKind>("--kind") { DefaultValueFactory = _ => BoxKind.Router, Description = "what the boxes are" };
        var clients = new Option<int>("--clients") { DefaultValueFactory = _ => 1 };
        var boxes = new Option<int>("--boxes") { DefaultValueFactory = _ => 1 };
        var backends = new Option<int>("--backends") { DefaultValueFactory = _ => 2 };
        var nginx = new Option<bool>("--nginx") { Description = "backends run nginx with files /200, /1024, /4096 and /big (10 MB) instead of the test server" };
        var command = new System.CommandLine.Command("up", "Builds the standard topology with test servers and keeps it until Ctrl-C.") { kind, clients, boxes, backends, nginx };
        command.SetAction(async (r, cancel) =>
        {
            await using var lab = LabNetwork.Create();
            var topology = ClusterTopology.Build(lab, new ClusterOptions
            {
                Kind = r.GetValue(kind),
                Clients = r.GetValue(clients),
                Boxes = r.GetValue(boxes),
                Backends = r.GetValue(backends),
            });
            Parallel.ForEach(topology.Backends, b =>
            {
                if (r.GetValue(nginx))
                {
                    NginxServer.Start(b, new NginxOptions { Seed = "up", Files = new Dictionary<string, long>(StringComparer.Ordinal) { ["200"] = 200, ["1024"] = 1024, ["4096"] = 4096, ["big"] = 10_000_000 } });
                }
                else
                {
                    LabTool.StartServer(b);
                }
            });
            Console.WriteLine($"service {topology.ServiceAddress()}; enter a host with: nsenter --net={topology.Clients[0].NamespacePath}");
            Console.WriteLine($"hosts: {string.Join(' ', lab.Hosts.Select(h => h.Namespace))}");
            try
            {
                await Task.Delay(Timeout.Infinite, cancel).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                // Ctrl-C or SIGTERM.
            }
            return 0;
        });
        return command;
    }

    private static System.CommandLine.Command Client()
    {
        var mode = new Argument<LoadMode>("mode") { Description = "get, put, both, requests, once or short" };
        var address = new Argument<string>("address") { Description = "IPv4 or IPv6 address of the service" };
        var port = new Option<int>("--port") { DefaultValueFactory = _ => 80 };
        var connections = new Option<int>("--connections") { DefaultValueFactory = _ => 1, Description = "connections, or workers of mode short" };
        var bytes = new Option<long>("--bytes") { DefaultValueFactory = _ => 200, Description = "bytes of each body" };
        var count = new Option<long>("--count") { Description = "requests on each connection (short: in all); 0: until --seconds" };
        var seconds = new Option<double>("--seconds") { DefaultValueFactory = _ => 5 };
        var warmup = new Option<double>("--warmup") { Description = "seconds before them that are not counted (requests, once, short)" };
        var interval = new Option<double>("--interval-ms") { Description = "pause between requests" };
        var seed = new Option<ulong>("--seed") { DefaultValueFactory = _ => 1, Description = "seed of the content" };
        var stall = new Option<double>("--stall") { DefaultValueFactory = _ => 30, Description = "seconds without progress that count as broken" };
        var limit = new Option<double>("--limit") { DefaultValueFactory = _ => 300, Description = "seconds after which all ends" };
        var spread = new Option<double>("--spread-ms") { Description = "time over which the starts are spread" };
        var unsent = new Option<int>("--unsent") { Description = "TCP_NOTSENT_LOWAT, bytes" };
        var pace = new Option<double>("--pace") { Description = "Mb/s to which each connection is paced" };
        var slow = new Option<double>("--slow-ms") { Description = "a line for each request that takes longer" };
        var path = new Option<string?>("--path") { Description = "target instead of the test server's; {bytes} and {seed} are replaced" };
        var host = new Option<string?>("--host") { Description = "Host header" };
        var sha = new Option<string?>("--sha256") { Description = "SHA-256 of the body at --path" };
        var bind = new Option<string?>("--bind") { Description = "source address" };
        var noVerify = new Option<bool>("--no-verify") { Description = "only count bytes" };
        var bins = new Option<bool>("--bins") { Description = "a line for each 100 ms" };
        var wait = new Option<bool>("--wait") { Description = "start when a line comes on standard input" };
        var reconnect = new Option<bool>("--reconnect") { Description = "replace broken connections" };
        var command = new System.CommandLine.Command("client", "Sends load and prints JSON lines: intervals, each connection's end, a summary.")
        {
            mode, address, port, connections, bytes, count, seconds, warmup, interval, seed, stall, limit, spread, unsent, pace, slow, path, host, sha, bind, noVerify, bins, wait, reconnect,
        };
        command.SetAction(r => RunClient(new LoadOptions(r.GetValue(mode), r.GetValue(address)!, r.GetValue(port))
        {
            Connections = r.GetValue(connections),
            Bytes = r.GetValue(bytes),
            Count = r.GetValue(count),
            Seconds = r.GetValue(seconds),
            WarmupSeconds = r.GetValue(warmup),
            IntervalMs = r.GetValue(interval),
            Seed = r.GetValue(seed),
            StallSeconds = r.GetValue(stall),
            LimitSeconds = r.GetValue(limit),
            SpreadMs = r.GetValue(spread),
            UnsentBytes = r.GetValue(unsent),
            PaceMbit = r.GetValue(pace),
            SlowMs = r.GetValue(slow),
            Path = r.GetValue(path),
            HostHeader = r.GetValue(host),
            Sha256 = r.GetValue(sha),
            Bind = r.GetValue(bind),
            Verify = !r.GetValue(noVerify),
            Bins = r.GetValue(bins),
            Wait = r.GetValue(wait),
            Reconnect = r.GetValue(reconnect),
        }));
        return command;
    }

    private static async Task<int> RunClient(LoadOptions options)
    {
        var gate = new Lock();
        void Report(LoadLine line)
        {
            string text = line.ToString();
            lock (gate)
            {
                Console.Out.WriteLine(text);
                Console.Out.Flush();
            }
        }
        if (options.Wait)
        {
            Report(new LoadLine { Ready = true });
            await Console.In.ReadLineAsync().ConfigureAwait(false);
        }
        var summary = await new LoadClient(options, Report).Run().ConfigureAwait(false);
        return summary.Broken == 0 && summary.MismatchedBytes == 0 ? 0 : 1;
    }

    private static System.CommandLine.Command Server()
    {
        var port = new Option<int>("--port") { DefaultValueFactory = _ => 80 };
        var name = new Option<string>("--name") { DefaultValueFactory = _ => "server", Description = "how it calls itself in its answers" };
        var command = new System.CommandLine.Command("server", "The test server: GET /bytes/N?seed=S, PUT /sink?seed=S, GET /rr/B, POST /once/ID.") { port, name };
        command.SetAction(async (r, cancel) =>
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c =>
            {
                c.Cancel = true;
                stop.Cancel();
            });
            try
            {
                await new TestServerProgram(r.GetValue(name)!).Run(r.GetValue(port), stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                // Asked to end.
            }
            return 0;
        });
        return command;
    }

    private static System.CommandLine.Command Emulate()
    {
        var a = new Argument<string>("a") { Description = "interface on one side" };
        var b = new Argument<string>("b") { Description = "interface on the other side" };
        var seed = new Option<ulong>("--seed") { DefaultValueFactory = _ => 1 };
        var forth = new Option<string>("--forth") { DefaultValueFactory = _ => "{}", Description = "plan for frames from a to b, JSON" };
        var back = new Option<string>("--back") { DefaultValueFactory = _ => "{}", Description = "plan for frames from b to a, JSON" };
        var command = new System.CommandLine.Command("emulate", "A wire between two interfaces: delay, loss, duplication, reordering by seed. Prints what it did when asked to end.") { a, b, seed, forth, back };
        command.SetAction(r =>
        {
            using var stop = new CancellationTokenSource();
            using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c =>
            {
                c.Cancel = true;
                stop.Cancel();
            });
            EmulatorProgram.Run(r.GetValue(a)!, r.GetValue(b)!, r.GetValue(seed), r.GetValue(forth)!, r.GetValue(back)!, stop.Token);
            return 0;
        });
        return command;
    }

    private static System.CommandLine.Command Sweep()
    {
        var command = new System.CommandLine.Command("sweep", "Removes namespaces that dead labs left behind.");
        command.SetAction(_ =>
        {
            foreach (string name in Namespaces.Sweep())
            {
                Console.WriteLine(name);
            }
            return 0;
        });
        return command;
    }
}
