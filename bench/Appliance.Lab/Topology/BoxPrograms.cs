using System.Globalization;
using Appliance.DataPath.State;
using Appliance.Lab.Net;

namespace Appliance.Lab.Topology;

/// <summary>
/// Starts what the other kinds of box run: nftables rules, HAProxy or nginx, from the configurations in Configs/, in
/// which BIND and BIND6 are the box's service addresses and SERVERS the backends.
/// </summary>
internal static class BoxPrograms
{
    public static void Start(ClusterTopology topology, int box)
    {
        var host = topology.Boxes[box - 1];
        switch (topology.Options.Kind)
        {
            case BoxKind.Dnat:
                host.RunWithInput(Fill(topology, box, "dnat.nft", string.Empty), "nft", "-f", "-");
                break;
            case BoxKind.HaproxyHttp:
                Haproxy(topology, box, "haproxy-http.cfg");
                break;
            case BoxKind.HaproxyHttpSplice:
                Haproxy(topology, box, "haproxy-http-splice.cfg");
                break;
            case BoxKind.HaproxyTcpSplice:
                Haproxy(topology, box, "haproxy-tcp-splice.cfg");
                break;
            case BoxKind.NginxStream:
                string file = Write(host, "nginx.conf", Fill(topology, box, "nginx-stream.conf", "        server {0}:{1};\n"));
                var nginx = host.Start(new ProcessSpec("nginx", "nginx", "-p", Path.GetDirectoryName(file)!, "-c", file, "-e", "stderr") { First = topology.Options.BoxFirst });
                host.WaitForListener(topology.Options.Port, TimeSpan.FromSeconds(10), nginx);
                break;
            case BoxKind.Bare:
                Bare(topology, host);
                break;
            default:
                break;
        }
    }

    /// <summary>Nobody answers ARP for such a box: its neighbours are told its MACs.</summary>
    private static void Bare(ClusterTopology topology, Host host)
    {
        var client = topology.Clients[0];
        var backend = topology.Backends[0];
        string outer = BoxLink.MacOf("bare", LinkRole.External, FrameMark.Handed).ToString();
        string inner = BoxLink.MacOf("bare", LinkRole.Internal, FrameMark.Handed).ToString();
        client.Run("ip", "neigh", "replace", ClusterTopology.HostVirtual(1), "lladdr", outer, "dev", "eth0", "nud", "permanent");
        backend.Run("ip", "neigh", "replace", ClusterTopology.InternalGateway, "lladdr", inner, "dev", "eth0", "nud", "permanent");
        var process = host.Start(LabTool.Spec("bare", inline: false, "bare", "eth0", outer, client.Link("eth0").MacAddress(), "eth1", inner, backend.Link("eth0").MacAddress()) with { First = topology.Options.BoxFirst });
        process.WaitForLog("passing", TimeSpan.FromSeconds(20));
    }

    private static void Haproxy(ClusterTopology topology, int box, string template)
    {
        var host = topology.Boxes[box - 1];
        string file = Write(host, "haproxy.cfg", Fill(topology, box, template, "    server s{2} {0}:{1}\n"));
        var process = host.Start(new ProcessSpec("haproxy", "haproxy", "-db", "-f", file) { First = topology.Options.BoxFirst });
        host.WaitForListener(topology.Options.Port, TimeSpan.FromSeconds(10), process);
    }

    private static string Write(Host host, string name, string text)
    {
        string file = Path.Combine(host.DirectoryFor("box"), name);
        File.WriteAllText(file, text);
        return file;
    }

    private static string Fill(ClusterTopology topology, int box, string template, string serverLine)
    {
        int port = topology.Options.Port;
        int count = topology.Options.Backends;
        string Map(Func<int, string> address) => string.Join(", ", Enumerable.Range(0, count).Select(i => $"{i} : {address(i + 1)}"));
        string servers = string.Concat(Enumerable.Range(1, count)
            .Select(b => string.Format(CultureInfo.InvariantCulture, serverLine, ClusterTopology.BackendAddress(b), port, b)));
        return File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Configs", template))
            .Replace("{{BIND6}}", ClusterTopology.HostVirtual6(box), StringComparison.Ordinal)
            .Replace("{{BIND}}", ClusterTopology.HostVirtual(box), StringComparison.Ordinal)
            .Replace("{{PORT}}", port.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{{COUNT}}", count.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{{MAP}}", Map(ClusterTopology.BackendAddress), StringComparison.Ordinal)
            .Replace("{{MAP6}}", Map(ClusterTopology.BackendAddress6), StringComparison.Ordinal)
            .Replace("{{INTERNAL}}", string.Create(CultureInfo.InvariantCulture, $"192.168.1.{box}"), StringComparison.Ordinal)
            .Replace("{{DIRECTORY}}", topology.Boxes[box - 1].DirectoryFor("box"), StringComparison.Ordinal)
            .Replace("{{SERVERS}}", servers, StringComparison.Ordinal);
    }
}
