using System.Globalization;
using System.Text;

namespace Appliance.Tests.Simulation;

/// <summary>
/// A whole small internet from one seed: a router with all clients behind it, an external link, boxes, an internal link, servers.
/// Boxes are attached by the options; without any, the first server stands on the external link and has the service's address.
/// </summary>
internal sealed class Scenario
{
    private const long LookEvery = 256, SilentNs = 20 * SimWorld.Second;

    private const ulong HostMacs = 0x0200_0000_0100;

    public Scenario(ulong seed, ScenarioOptions options, FaultCoverage coverage, TextWriter? log)
    {
        Options = options;
        World = new SimWorld(seed) { Log = log, JudgesEdges = options.JudgesEdges, JudgesAcks = options.JudgesAcks };
        Addresses = new ScenarioAddresses(options);
        Traffic = TrafficPlan.Draw(seed, options);
        Ledger = new RequestLedger(World);
        Sync = new SimDatagramNet(World, options.Sync);
        Bell = new SimBell(World);
        Faults = new FaultPlan(this, coverage);
        SimRandom links = SimRandom.For(seed, 4);
        ExternalProfile = options.External ?? DrawLink(links, options.Corruption, options.MaxExternalDelayNs);
        InternalProfile = options.Internal ?? DrawLink(links, options.Corruption, options.MaxInternalDelayNs);
        External = new SimLan(World, "ext", 1, options.Mtu);
        Internal = new SimLan(World, "int", 2, options.Mtu);
        PathKeepsOrder = options.SinglePath && ExternalProfile.ReorderPpm == 0 && InternalProfile.ReorderPpm == 0;
        Router = AddRouter();
        for (int i = 0; i < options.Servers; i++) Servers.Add(AddServer(i));
        for (int i = 0; i < Traffic.Connections.Length; i++) Clients.Add(new ClientApp(World, Router, Traffic.Connections[i], Addresses));
        options.Boxes?.Invoke(this);
        Faults.Draw();
        for (int i = 0; i < Clients.Count; i++) Clients[i].Start();
    }

    public ScenarioOptions Options { get; }

    public SimWorld World { get; }

    public ScenarioAddresses Addresses { get; }

    public TrafficPlan Traffic { get; }

    public RequestLedger Ledger { get; }

    public SimDatagramNet Sync { get; }

    public SimBell Bell { get; }

    public FaultPlan Faults { get; }

    public SimLan External { get; }

    public SimLan Internal { get; }

    public LinkProfile ExternalProfile { get; }

    public LinkProfile InternalProfile { get; }

    public bool PathKeepsOrder { get; }

    /// <summary>Has all clients' addresses and is the external link's default gateway.</summary>
    public SimHost Router { get; }

    public List<SimHost> Servers { get; } = [];

    public List<SimNode> Boxes { get; } = [];

    /// <summary>Connections that a fault took whole: no box that was left knew them.</summary>
    public HashSet<int> Excused { get; } = [];

    /// <summary>True once two boxes were hit at a time: how a connection ended may have been known to them alone.</summary>
    public bool EndsMayBeLost { get; set; }

    /// <summary>Boxes that no fault hits.</summary>
    public List<SimNode> Spared { get; } = [];

    public List<ClientApp> Clients { get; } = [];

    public List<ServerApp> ServerApps { get; } = [];

    /// <summary>Makes a box known to sync network, bell and faults; the box attaches its own ports.</summary>
    public void AddBox(SimNode box)
    {
        Boxes.Add(box);
        Sync.Attach(box);
        Bell.Attach(box);
        box.Trigger = Faults;
        box.Rearm();
    }

    /// <summary>Makes a box known that no fault will hit (the sharer, while it is a single point of failure).</summary>
    public void AddSpared(SimNode box)
    {
        Spared.Add(box);
        Sync.Attach(box);
        Bell.Attach(box);
        box.Rearm();
    }

    /// <summary>Runs until all clients are done and servers have seen it, or the limit; returns the result.</summary>
    public ScenarioResult Run()
    {
        long limit = Options.LimitNs;
        while (World.Events < Options.MaxEvents && !(World.Events % LookEvery == 0 && Clients.TrueForAll(IsDone)) && World.RunOne(limit))
        {
        }
        long end = World.Now + Options.LingerNs;
        while (World.Events < Options.MaxEvents && !ServersDone() && World.RunOne(end))
        {
        }
        if (World.Events >= Options.MaxEvents) World.Violate("event storm");
        Options.Finish?.Invoke(this);
        ScenarioResult result = Judge();
        Router.FreeBuffers();
        foreach (SimHost server in Servers) server.FreeBuffers();
        return result;
    }

    private static LinkProfile DrawLink(SimRandom random, bool corruption, long maxDelay)
    {
        var profile = new LinkProfile { DelayNs = random.Below(3) switch { 0 => random.Between(5_000L, 100_000), 1 => random.Between(100_000L, 5_000_000), _ => random.Between(1_000_000L, 60_000_000) } };
        profile = profile with { DelayNs = Math.Min(profile.DelayNs, maxDelay) };
        return random.Below(7) switch
        {
            0 => profile,
            1 => profile with { LossPpm = random.Between(1000, 20_000) },
            2 => profile with { LossPpm = random.Between(20_000, 50_000), JitterNs = profile.DelayNs / 2 },
            3 => profile with { ReorderPpm = random.Between(1000, 200_000), ReorderNs = random.Between(10_000L, 2 * profile.DelayNs) },
            4 => profile with { DuplicatePpm = random.Between(1000, 100_000), LossPpm = random.Between(0, 10_000) },
            5 => profile with { CorruptPpm = corruption ? random.Between(1000, 20_000) : 0 },
            _ => profile with
            {
                LossPpm = random.Between(0, 30_000),
                DuplicatePpm = random.Between(0, 30_000),
                ReorderPpm = random.Between(0, 50_000),
                CorruptPpm = corruption ? random.Between(0, 10_000) : 0,
                JitterNs = profile.DelayNs,
            },
        };
    }

    private SimHost AddRouter()
    {
        var host = new SimHost(World, "clients", 60, HostMacs) { PathKeepsOrder = PathKeepsOrder, Own4 = Addresses.Router(false), Own6 = Addresses.Router(true) };
        host.AddAddress(host.Own4);
        host.AddAddress(host.Own6);
        for (int i = 0; i < Addresses.ClientCount; i++)
        {
            host.AddAddress(Addresses.ClientAddress(i, false));
            host.AddAddress(Addresses.ClientAddress(i, true));
        }
        host.Attach(External, ExternalProfile, Options.Offloads);
        return host;
    }

    private SimHost AddServer(int index)
    {
        bool direct = Options.Boxes is null;
        var host = new SimHost(World, $"server{index}", 40 + index, HostMacs + 1 + (ulong)index)
        {
            PathKeepsOrder = PathKeepsOrder,
            Own4 = direct ? Addresses.Service(false) : Addresses.Server(index, false),
            Own6 = direct ? Addresses.Service(true) : Addresses.Server(index, true),
            Gateway4 = direct ? Addresses.Router(false) : Addresses.InternalGateway(false),
            Gateway6 = direct ? Addresses.Router(true) : Addresses.InternalGateway(true),
        };
        host.OnLink4 = host.Gateway4;
        host.OnLink6 = host.Gateway6;
        host.AddAddress(host.Own4);
        host.AddAddress(host.Own6);
        if (direct && index > 0) return host;
        host.Attach(direct ? External : Internal, direct ? ExternalProfile : InternalProfile, Options.Offloads);
        SimRandom random = SimRandom.For(World.Seed, 100 + (ulong)index);
        host.Accept = (at, key) =>
        {
            if (key.LocalPort != Addresses.ServicePort) return null;
            var app = new ServerApp(Traffic, Ledger, index, World);
            ServerApps.Add(app);
            TcpProfile profile = TcpProfile.Draw(random, SimRandom.Hash(World.Seed ^ (1000 + (ulong)index)), Options.Mtu, !key.Local.IsV4);
            profile = Options.ServerOffers(World.Seed, index, profile);
            return (Options.AdjustServer(profile with { SuperFrameBytes = Options.Offloads ? 60_000 : 0 }), app);
        };
        return host;
    }

    // A client whose server aborted, and that has nothing to send, waits for ever if the RST was lost, and one that was excused may: no need to watch.
    private bool IsDone(ClientApp client) =>
        client.IsOver || (Excused.Contains(client.Plan.Index) && World.Now - client.LastProgress > SilentNs) || (client.Plan.Close == CloseKind.ServerAborts && client.MayEndHere && World.Now - client.LastProgress > SilentNs
            && client.Tcp is { } tcp && tcp.Sender.Una == tcp.Sender.Max && ServerApps.Exists(server => server.Connection == client.Plan && server.End != TcpEnd.None));

    private bool ServersDone() => ServerApps.TrueForAll(server => server.End != TcpEnd.None || !IsOwed(server));

    // One that never got a request is a backend that was tried and left; one whose client aborted may have lost the RST.
    private static bool IsOwed(ServerApp server) => server is { Tcp: not null, Connection.Close: not CloseKind.ClientAborts };

    private ScenarioResult Judge()
    {
        var result = new ScenarioResult { Seed = World.Seed, Name = Options.Name, Connections = Clients.Count };
        foreach (ClientApp client in Clients)
        {
            // A lost RST leaves its peer waiting for ever: that is TCP's way, not the path's fault.
            bool resetLost = client.Plan.Close == CloseKind.ServerAborts && client.Outcome == Outcome.Stuck && client.MayEndHere;
            Outcome outcome = resetLost ? Outcome.Complete : client.Outcome;
            result.Outcomes[(int)outcome]++;
            result.BytesRead += client.BytesRead;
            if (outcome == Outcome.Complete) continue;
            if (Excused.Contains(client.Plan.Index)) result.Lost++;
            else result.NotComplete.Add(Describe(client));
        }
        foreach (ServerApp server in ServerApps)
        {
            if (server.End == TcpEnd.None && IsOwed(server) && !Excused.Contains(server.Connection!.Index))
            {
                result.ServersOpen++;
                result.NotComplete.Add(Describe(server));
            }
            if (server.Tcp is not null) result.Retransmissions += server.Tcp.Output.Retransmissions;
        }
        result.Violations.AddRange(World.Violations);
        result.Requests = Ledger.Requests;
        result.Repeats = Ledger.Repeats;
        result.FaultsFired = Faults.Fired;
        result.Faults = string.Join("; ", Faults.Events);
        result.Events = World.Events;
        result.TraceHash = World.TraceHash;
        result.EndNs = World.Now;
        result.BadChecksums = Router.BadChecksums + Servers.Sum(server => server.BadChecksums);
        return result;
    }

    private static string Describe(ServerApp server)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"open: {server.Tcp}");
        server.Tcp?.Judge.Dump(text);
        return text.ToString();
    }

    private static string Describe(ClientApp client)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{client}");
        client.Tcp?.Judge.Dump(text);
        return text.ToString();
    }
}
