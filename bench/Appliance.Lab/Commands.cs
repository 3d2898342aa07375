using System.CommandLine;
using System.Runtime.InteropServices;
using Appliance.Lab.Load;
using Appliance.Lab.Net;
using Appliance.Lab.Servers;

namespace Appliance.Lab;

/// <summary>The command line of appliance-lab: parts of a lab that run as processes of their own, and what people call.</summary>
internal static class Commands
{
    public static RootCommand Root() => new("Network labs on one machine: hosts, links, servers, load, faults, judges.")
    {
        Client(), Server(), Sweep(),
    };

    private static System.CommandLine.Command Client()
    {
        var mode = new Argument<LoadMode>("mode") { Description = "get, put, requests, once or short" };
        var address = new Argument<string>("address") { Description = "IPv4 or IPv6 address of the service" };
        var port = new Option<int>("--port") { DefaultValueFactory = _ => 80 };
        var connections = new Option<int>("--connections") { DefaultValueFactory = _ => 1, Description = "connections, or workers of mode short" };
        var bytes = new Option<long>("--bytes") { DefaultValueFactory = _ => 200, Description = "bytes of each body" };
        var count = new Option<long>("--count") { Description = "requests on each connection (short: in all); 0: until --seconds" };
        var seconds = new Option<double>("--seconds") { DefaultValueFactory = _ => 5 };
        var interval = new Option<double>("--interval-ms") { Description = "pause between requests" };
        var seed = new Option<ulong>("--seed") { DefaultValueFactory = _ => 1, Description = "seed of the content" };
        var stall = new Option<double>("--stall") { DefaultValueFactory = _ => 30, Description = "seconds without progress that count as broken" };
        var limit = new Option<double>("--limit") { DefaultValueFactory = _ => 300, Description = "seconds after which all ends" };
        var spread = new Option<double>("--spread-ms") { Description = "time over which the starts are spread" };
        var unsent = new Option<int>("--unsent") { Description = "TCP_NOTSENT_LOWAT, bytes" };
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
            mode, address, port, connections, bytes, count, seconds, interval, seed, stall, limit, spread, unsent, path, host, sha, bind, noVerify, bins, wait, reconnect,
        };
        command.SetAction(r => RunClient(new LoadOptions(r.GetValue(mode), r.GetValue(address)!, r.GetValue(port))
        {
            Connections = r.GetValue(connections),
            Bytes = r.GetValue(bytes),
            Count = r.GetValue(count),
            Seconds = r.GetValue(seconds),
            IntervalMs = r.GetValue(interval),
            Seed = r.GetValue(seed),
            StallSeconds = r.GetValue(stall),
            LimitSeconds = r.GetValue(limit),
            SpreadMs = r.GetValue(spread),
            UnsentBytes = r.GetValue(unsent),
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
