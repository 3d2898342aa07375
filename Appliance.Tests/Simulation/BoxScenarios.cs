using Appliance.DataPath.Flow;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>Scenarios with real boxes: services, pools and routes from the seed.</summary>
internal static class BoxScenarios
{
    /// <summary>One box that is sharer and proxy at once.</summary>
    public static ScenarioOptions Alone(bool acked = false) => new()
    {
        Name = "one box",
        Servers = 3,
        Tls = true,
        ServerOffers = ServerOffers,
        Boxes = scenario => scenario.AddBox(new BoxNode(scenario, 0, new BoxPlan { Roles = [BoxRoles.Sharer | BoxRoles.Proxy], Services = DrawServices(scenario, ShareMode.ByFlow, acked) })),
        Finish = Finish,
    };

    /// <summary>One sharer that nothing befalls, and two to eight proxies, mostly two to four.</summary>
    public static ScenarioOptions Cluster(ShareMode share, bool acked) => new()
    {
        Name = $"cluster {share} {(acked ? "acked" : "async")}",
        Servers = 3,
        Tls = true,
        ServerOffers = ServerOffers,
        SinglePath = false,
        // Boxes hand frames to each other over these links: a segment crosses each up to three times.
        MaxExternalDelayNs = 20 * SimWorld.Millisecond,
        MaxInternalDelayNs = 5 * SimWorld.Millisecond,
        MaxEvents = 20_000_000,
        Boxes = scenario => AddCluster(scenario, share, acked),
        Finish = Finish,
    };

    /// <summary>One death at a time: the next fault comes when all know each other's tables again.</summary>
    public static bool OneAtATime(Scenario scenario, SimNode hit) =>
        !scenario.Sync.IsPartitioned && scenario.Boxes.Concat(scenario.Spared).All(box => box is BoxNode { IsSettled: true } && box.Ports.TrueForAll(port => port is { IsUp: true, LosesSent: false, LosesReceived: false }));

    /// <summary>Any fault at any time; notes the connections that may be lost with the box to be hit, because no healthy one knows enough.</summary>
    public static bool Anytime(Scenario scenario, SimNode hit)
    {
        scenario.EndsMayBeLost |= !OneAtATime(scenario, hit);
        foreach (ClientApp client in scenario.Clients)
        {
            Knowledge own = client.IsOver ? Knowledge.None : Of((BoxNode)hit, scenario, client);
            if (own == Knowledge.None) continue;
            // Once a response has passed, bytes of the request are not enough to go on with it.
            Knowledge needed = own == Knowledge.Answered ? Knowledge.Record : Knowledge.Bytes;
            if (!Others(scenario, hit).Any(box => Of(box, scenario, client) >= needed)) scenario.Excused.Add(client.Plan.Index);
        }
        return true;
    }

    private static IEnumerable<BoxNode> Others(Scenario scenario, SimNode hit) =>
        scenario.Boxes.Concat(scenario.Spared).OfType<BoxNode>().Where(box => box != hit && box.IsAlive && !box.IsPaused && box.Ports.TrueForAll(port => port is { IsUp: true, LosesSent: false, LosesReceived: false }));

    // What a box knows of a connection that its client cannot bring again.
    private enum Knowledge
    {
        None,

        // Request bytes that were acknowledged early.
        Bytes,

        // The record.
        Record,

        // The record, by which a response has passed.
        Answered,
    }

    private static Knowledge Of(BoxNode box, Scenario scenario, ClientApp client)
    {
        if (!box.IsAlive) return Knowledge.None;
        (IpAddr address, ushort port) = scenario.Addresses.Client(client.Plan);
        FlowKey key = new(address, scenario.Addresses.Service(client.Plan.IsV6), port, scenario.Addresses.ServicePort, Packet.ProtocolTcp);
        SpliceTable splices = box.Box.Splices;
        int entry = splices.Find(key);
        if (entry < 0) return box.Box.Handshakes.Find(key) is { Acked: > 0 } ? Knowledge.Bytes : Knowledge.None;
        ref SpliceRecord record = ref splices.Record(splices.Entry(entry).Record);
        // Of an earlier connection of these ports.
        if (client.Tcp is { } tcp && tcp.Iss.Value != record.A) return Knowledge.None;
        return new TcpSeq(splices.Entry(record.ToClient).SeqNext) > new TcpSeq(record.D) + 1u ? Knowledge.Answered : Knowledge.Record;
    }

    private static void AddCluster(Scenario scenario, ShareMode share, bool acked)
    {
        SimRandom random = SimRandom.For(scenario.World.Seed, 6);
        int proxies = random.Below(8) == 0 ? random.Between(5, 8) : random.Between(2, 4);
        bool both = random.Below(4) == 0;
        BoxRoles[] roles = [.. Enumerable.Repeat(BoxRoles.Proxy, proxies), both ? BoxRoles.Sharer | BoxRoles.Proxy : BoxRoles.Sharer];
        var plan = new BoxPlan { Roles = roles, Services = DrawServices(scenario, share, acked), BeatNs = random.Below(8) == 0 ? 5 * SimWorld.Millisecond : random.Between(20, 50) * SimWorld.Millisecond };
        for (int i = 0; i < proxies; i++) scenario.AddBox(new BoxNode(scenario, i, plan));
        scenario.AddSpared(new BoxNode(scenario, proxies, plan));
        LeaveEarlierConnections(scenario);
    }

    // Every third client has used its ports before: every box still holds the record of that connection, which has ended.
    private static void LeaveEarlierConnections(Scenario scenario)
    {
        SimRandom random = SimRandom.For(scenario.World.Seed, 7);
        foreach (ClientApp client in scenario.Clients.Where((_, i) => i % 3 == 0))
        {
            bool v6 = client.Plan.IsV6;
            (IpAddr address, ushort port) = scenario.Addresses.Client(client.Plan);
            IpAddr service = scenario.Addresses.Service(v6);
            uint a = (uint)random.Next(), b = (uint)random.Next(), d = (uint)random.Next();
            FlowKey key = new(address, service, port, scenario.Addresses.ServicePort, Packet.ProtocolTcp);
            SpliceCommand ended = new() { Kind = SpliceCommandKind.Import };
            ended.Record = new SpliceRecord
            {
                Id = Handshake.IdOf(key, new TcpSeq(a), new TcpSeq(b)),
                Version = 3,
                State = SpliceState.TimeWait,
                Client = address,
                Virtual = service,
                Source = address,
                Real = scenario.Addresses.Server(random.Below(scenario.Servers.Count), v6),
                ClientPort = port,
                VirtualPort = scenario.Addresses.ServicePort,
                SourcePort = port,
                RealPort = scenario.Addresses.ServicePort,
                Service = v6 ? 2u : 1u,
                A = a,
                B = b,
                C = a,
                D = d,
                Y = b - d,
                AckFloor = a + 1,
            };
            ended.Progress.ToServer = new DirectionProgress { Seen = 1, SeqNext = a + 500, AckSeen = b + 5000, FinSeen = 1, FinSeq = a + 499 };
            ended.Progress.ToClient = new DirectionProgress { Seen = 1, SeqNext = d + 5000, AckSeen = a + 500, FinSeen = 1, FinSeq = d + 4999 };
            foreach (BoxNode box in scenario.Boxes.Concat(scenario.Spared).OfType<BoxNode>()) box.Box.Execute(ended);
        }
    }

    /// <summary>Asks every box what it holds at the end.</summary>
    public static void Finish(Scenario scenario)
    {
        // What was said last is still on its way, and gossip takes a second.
        if (scenario.Boxes.Count > 1) scenario.World.RunUntil(Math.Max(scenario.World.Now, scenario.Faults.LastEnd) + (3 * SimWorld.Second));
        foreach (BoxNode box in scenario.Boxes.Concat(scenario.Spared).OfType<BoxNode>())
        {
            string? left = box.Finish();
            if (left is not null) scenario.World.Violate(left);
        }
    }

    /// <summary>What a server offers is the same on all its connections; two servers of a seed may differ.</summary>
    public static TcpProfile ServerOffers(ulong seed, int server, TcpProfile drawn)
    {
        SimRandom random = SimRandom.For(seed, 200 + (seed % 3 == 0 ? (ulong)server : 0));
        TcpProfile own = TcpProfile.Draw(random, seed, drawn.Mss > 2000 ? 9000 : 1500, v6: false);
        bool sack = random.Below(5) != 0, timestamps = random.Below(5) != 0;
        return drawn with
        {
            Mss = seed % 4 == 0 ? Math.Min(1440, own.Mss) : 1440,
            WindowScale = own.WindowScale,
            Sack = sack,
            Timestamps = timestamps,
            ReceiveBuffer = Math.Max(own.ReceiveBuffer, 8192),
        };
    }

    /// <summary>An IPv4 and an IPv6 service, with one pool, or two by route; a pool may want the PROXY header.</summary>
    public static ServiceTable DrawServices(Scenario scenario, ShareMode share, bool acked)
    {
        SimRandom random = SimRandom.For(scenario.World.Seed, 5);
        int routes = random.Below(3);
        bool proxyFirst = random.Below(3) == 0, proxySecond = random.Below(3) == 0;
        var services = new List<Service>();
        for (uint family = 0; family < 2; family++)
        {
            bool v6 = family == 1;
            Real[] reals = [.. Enumerable.Range(0, scenario.Servers.Count).Select(i => new Real(scenario.Addresses.Server(i, v6), scenario.Addresses.ServicePort, 1 + i))];
            bool tls = TrafficPlan.IsTls(scenario.World.Seed, scenario.Options, v6);
            bool one = routes == 0 && !tls;
            var first = new Pool(10 + family, "first", 7, one ? reals : reals[..2], proxyFirst);
            var second = new Pool(20 + family, "second", 8, reals[1..], proxySecond);
            Route[] table = routes switch
            {
                _ when tls => [new Route(RouteKind.Sni, "other.example"u8.ToArray(), second)],
                0 => [],
                1 => [new Route(RouteKind.Path, "/r/1"u8.ToArray(), second)],
                _ => [new Route(RouteKind.Host, "other.example"u8.ToArray(), first), new Route(RouteKind.Host, "sim.example"u8.ToArray(), second)],
            };
            services.Add(new Service(1 + family, v6 ? "W6" : "W4", scenario.Addresses.Service(v6), scenario.Addresses.ServicePort, acked, share, 40, table, one ? [first] : [first, second]));
        }
        return new ServiceTable(services);
    }
}
