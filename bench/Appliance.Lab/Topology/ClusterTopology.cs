using System.Globalization;
using System.Text;
using Appliance.Lab.Net;

namespace Appliance.Lab.Topology;

/// <summary>
/// The standard topology: clients on switch "ext" (203.0.113.0/24, 2001:db8:1::/64), boxes with eth0 on "ext", eth1 on
/// "int" (192.168.1.0/24, fd00:1::/64) and eth2 on "sync" (10.255.0.0/24), backends on "int" whose default route is
/// 192.168.1.1 and fd00:1::1. With the same builder the kernel, HAProxy or nginx can be the box, so that they are
/// measured on the same wires. Numbers of clients, boxes and backends count from 1.
/// </summary>
public sealed class ClusterTopology
{
    public const string VirtualAddress = "203.0.113.10";
    public const string VirtualAddress6 = "2001:db8:1::10";
    public const string ExternalNet = "203.0.113.0/24";
    public const string InternalNet = "192.168.1.0/24";
    public const string InternalGateway = "192.168.1.1";
    public const string InternalGateway6 = "fd00:1::1";

    private ClusterTopology(LabNetwork lab, ClusterOptions options)
    {
        Lab = lab;
        Options = options;
        External = lab.AddSwitch("ext");
        Internal = lab.AddSwitch("int");
        Sync = lab.AddSwitch("sync");
        Clients = Numbers(options.Clients).Select(AddClient).ToList();
        Boxes = Numbers(options.Boxes).Select(AddBox).ToList();
        Backends = Numbers(options.Backends).Select(AddBackend).ToList();
    }

    public LabNetwork Lab { get; }

    public ClusterOptions Options { get; }

    public Switch External { get; }

    public Switch Internal { get; }

    public Switch Sync { get; }

    public IReadOnlyList<Host> Clients { get; }

    public IReadOnlyList<Host> Boxes { get; }

    public IReadOnlyList<Host> Backends { get; }

    /// <summary>Declares the topology, builds it, and starts the boxes' programs unless they are appliances.</summary>
    public static ClusterTopology Build(LabNetwork lab, ClusterOptions options)
    {
        var topology = new ClusterTopology(lab, options);
        lab.Build();
        for (int box = 1; box <= options.Boxes; box++)
        {
            topology.StartBox(box);
        }
        return topology;
    }

    /// <summary>Starts (again) what a box of this kind runs; nothing for appliances.</summary>
    public void StartBox(int box) => BoxPrograms.Start(this, box);

    public static string ClientAddress(int client) => Text($"203.0.113.{99 + client}");

    public static string ClientAddress6(int client) => Text($"2001:db8:1::{99 + client}");

    public static string BackendAddress(int backend) => Text($"192.168.1.{10 + backend}");

    public static string BackendAddress6(int backend) => Text($"fd00:1::{10 + backend}");

    /// <summary>The box's own address on the external link: the appliance's, never the kernel's.</summary>
    public static string BoxExternal(int box) => Text($"203.0.113.{1 + box}");

    public static string BoxExternal6(int box) => Text($"2001:db8:1::{1 + box}");

    public static string BoxInternal(int box) => Text($"192.168.1.{1 + box}");

    public static string BoxInternal6(int box) => Text($"fd00:1::{1 + box}");

    public static string BoxSync(int box) => Text($"10.255.0.{box}");

    /// <summary>
    /// Where a client finds the service: the appliance's virtual address; a backend on the direct path; else the
    /// address of the box that this client was given, round robin.
    /// </summary>
    public string ServiceAddress(int client = 1, bool ipv6 = false)
    {
        int backend = ((client - 1) % Options.Backends) + 1;
        int box = ((client - 1) % Options.Boxes) + 1;
        return Options.Kind switch
        {
            BoxKind.Appliance => ipv6 ? VirtualAddress6 : VirtualAddress,
            BoxKind.Router or BoxKind.Bare => ipv6 ? BackendAddress6(backend) : BackendAddress(backend),
            _ => ipv6 ? HostVirtual6(box) : HostVirtual(box),
        };
    }

    /// <summary>A configuration of the appliance for one box: the plain one, a WWW service with all backends.</summary>
    public string ApplianceConfiguration(int box, string keyFile, string share = "by flow", string durability = "acked", string role = "sharer proxy")
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"hostname gw{box}");
        text.AppendLine(CultureInfo.InvariantCulture, $"interface external eth0 {BoxExternal(box)}/24");
        text.AppendLine(CultureInfo.InvariantCulture, $"interface internal eth1 {BoxInternal(box)}/24");
        text.AppendLine(CultureInfo.InvariantCulture, $"interface sync eth2 {BoxSync(box)}/24");
        text.AppendLine("external gw 203.0.113.1");
        text.AppendLine(CultureInfo.InvariantCulture, $"internal net {InternalNet}");
        text.AppendLine(CultureInfo.InvariantCulture, $"internal gw {InternalGateway}");
        text.AppendLine(CultureInfo.InvariantCulture, $"role {role}");
        text.AppendLine(CultureInfo.InvariantCulture, $"key file {keyFile}");
        foreach (int peer in Numbers(Options.Boxes).Where(p => p != box))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"peer gw{peer} at {BoxSync(peer)}");
        }
        text.AppendLine("heartbeat interval 5ms misses 3");
        text.AppendLine(CultureInfo.InvariantCulture, $"service WWW is {VirtualAddress} tcp {Options.Port} splice durability {durability}");
        text.AppendLine("pool www_pool for WWW");
        foreach (int backend in Numbers(Options.Backends))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"add {BackendAddress(backend)} to www_pool");
        }
        return text.AppendLine(CultureInfo.InvariantCulture, $"share WWW {share}").ToString();
    }

    /// <summary>The address that the n-th box's kernel has on the external link when it is not an appliance.</summary>
    internal static string HostVirtual(int box) => Text($"203.0.113.{9 + box}");

    internal static string HostVirtual6(int box) => Text($"2001:db8:1::{9 + box}");

    private static IEnumerable<int> Numbers(int count) => Enumerable.Range(1, count);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private Host AddClient(int number)
    {
        var host = Lab.AddHost(Text($"client{number}"));
        host.Connect(External, new LinkOptions("eth0")
        {
            Addresses = [ClientAddress(number) + "/24", ClientAddress6(number) + "/64"],
            Rate = Options.ClientRate,
            Mtu = Options.Mtu,
            InOrder = Options.InOrder,
            Offloads = Options.EndOffloads,
        });
        if (Options.Kind is BoxKind.Router or BoxKind.Bare)
        {
            host.Route($"{InternalNet} via {HostVirtual(1)}").Route($"fd00:1::/64 via {HostVirtual6(1)}");
        }
        return WithEndSettings(host);
    }

    private Host AddBox(int number)
    {
        bool plain = Options.Kind is BoxKind.Appliance or BoxKind.Bare;
        var host = Lab.AddHost(Text($"box{number}"));
        var template = new LinkOptions("eth0") { Rate = Options.BoxRate, Mtu = Options.Mtu, InOrder = Options.InOrder, Offloads = Options.BoxOffloads };
        host.Connect(External, template with { Addresses = plain ? [] : [HostVirtual(number) + "/24", HostVirtual6(number) + "/64"] });
        host.Connect(Internal, template with { Interface = "eth1", Addresses = plain ? [] : [Text($"192.168.1.{number}/24"), Text($"fd00:1::{number}/64")] });
        host.Connect(Sync, new LinkOptions("eth2") { Addresses = [BoxSync(number) + "/24"], Mtu = Options.Mtu });
        if (Options.Kind is BoxKind.Router or BoxKind.Dnat)
        {
            host.Setting("ipv4.ip_forward", "1").Setting("ipv6.conf.all.forwarding", "1");
        }
        return WithCongestionControl(host);
    }

    private Host AddBackend(int number)
    {
        var host = Lab.AddHost(Text($"backend{number}"));
        host.Connect(Internal, new LinkOptions("eth0")
        {
            Addresses = [BackendAddress(number) + "/24", BackendAddress6(number) + "/64"],
            Rate = Options.BackendRate,
            Mtu = Options.Mtu,
            InOrder = Options.InOrder,
            Offloads = Options.EndOffloads,
        });
        host.Route($"default via {InternalGateway}").Route($"default via {InternalGateway6}");
        return WithEndSettings(host);
    }

    private Host WithEndSettings(Host host)
    {
        foreach (var (name, value) in Options.EndSettings)
        {
            host.Setting(name, value);
        }
        return WithCongestionControl(host);
    }

    private Host WithCongestionControl(Host host) =>
        Options.CongestionControl is { } name ? host.Setting("ipv4.tcp_congestion_control", name) : host;
}
