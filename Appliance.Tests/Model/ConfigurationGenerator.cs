using System.Text;

namespace Appliance.Tests.Model;

/// <summary>Texts of good configurations from a seed: every statement and option, lines of a kind in any place.</summary>
internal sealed class ConfigurationGenerator(int seed)
{
    private static readonly string[] Paths = ["/k", "\"/with blank/k\"", "\"quote\\\"and\\\\\"", "\"#hash\""];
    private readonly Random _random = new(seed);

    public string Next()
    {
        List<string> box =
        [
            "hostname " + Pick("gw1", "A", "x.y-z_1"),
            "interface external " + Pick("eth0", "ens3f0", "ext.100") + Pick(" 203.0.113.2/24 2001:db8::2/64", " 2001:db8::2/64 203.0.113.2/24") + Flags(),
            "interface internal eth1 192.168.1.2/24 fd00::2/64" + Flags(),
            "role " + Pick("sharer", "proxy", "sharer proxy", "proxy sharer"),
            .. Some("external gw 203.0.113.1", "external gw 2001:db8::1", "internal gw 192.168.1.1", "internal gw fd00::1", "internal net 192.168.0.0/16", "internal net fd00::/32",
                $"heartbeat interval {Pick("5ms", "1500us", "2s", "10s", "1ms")} misses {_random.Next(1, 101)}", $"workers {_random.Next(1, 17)}{Pick("", " pinned")}",
                $"table splices {_random.Next(1024, 16_777_217)}", "log level " + Pick("error", "warning", "info", "debug"), "# a comment", ""),
        ];
        if (_random.Next(2) == 0)
        {
            box.Add("interface sync eth2 10.255.0.1/16");
            box.Add("key file " + Pick(Paths));
            for (int i = _random.Next(4); i > 0; i--) box.Add($"peer peer{i} at 10.255.1.{i}");
        }
        for (int i = _random.Next(5); i > 0; i--) box.AddRange(Service(i));
        string[] lines = [.. box];
        _random.Shuffle(lines);
        var text = new StringBuilder();
        foreach (string line in lines) text.Append(Pick("", "", "  ", "\t")).Append(line).Append(Pick("\n", "\n", " # why\n", "\r\n"));
        return text.ToString();
    }

    private IEnumerable<string> Service(int number)
    {
        bool v6 = _random.Next(2) == 0;
        string name = $"S{number}";
        yield return $"service {name} is {(v6 ? "2001:db8::1" : "203.0.113.1")}{number} tcp {_random.Next(1, 65536)} splice{Pick("", " durability async", " durability acked")}";
        if (_random.Next(2) == 0) yield return $"share {name} by {Pick("flow", "packet 40", "packet 1", "packet 10000")}";
        int pools = _random.Next(4);
        for (int p = 0; p < pools; p++)
        {
            yield return $"pool pool{number}_{p} for {name}{Pick("", " proxy")}";
            for (int r = _random.Next(4); r > 0; r--)
            {
                string port = _random.Next(2) == 0 ? "" : $" port {_random.Next(1, 65536)}";
                string weight = _random.Next(2) == 0 ? "" : $" weight {_random.Next(1, 257)}";
                yield return $"add {(v6 ? "fd00::1" : "192.168.1.1")}{r} to pool{number}_{p}{Pick(port + weight, weight + port)}";
            }
        }
        bool tls = _random.Next(2) == 0;
        for (int r = pools == 0 ? 0 : _random.Next(5); r > 0; r--)
        {
            string match = tls ? Pick("sni a.example", "sni B.example", "sni \"q.example\"") : Pick("host a.example", "host [2001:db8::1]", "path /", "path /a\"b", "path \"/x#y\"", "path /Up");
            yield return $"route {name} {match} to pool{number}_{_random.Next(pools)}";
        }
    }

    private string Flags() => Pick("", " promiscuous");

    private IEnumerable<string> Some(params string[] all) => all.Where(_ => _random.Next(2) == 0);

    private string Pick(params string[] all) => all[_random.Next(all.Length)];
}
