using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>What the checks ask of the machine; implemented over the kernel, and by tables in tests.</summary>
public interface IHostFacts
{
    /// <summary>True if an interface of that name exists.</summary>
    bool HasInterface(string name);

    /// <summary>The interface on which the host itself has <paramref name="address"/>, or null.</summary>
    string? OwnerOf(IpAddr address);

    /// <summary>True if the host's IP stack forwards what it receives on that interface.</summary>
    bool Forwards(string interfaceName, bool ipv6);

    /// <summary>Processors that a process may use.</summary>
    int Processors { get; }
}

/// <summary>
/// Findings that depend on the machine. `run` refuses to start on errors; `check` shows all of
/// them as warnings, since a file may be checked on another machine than the one it is for.
/// </summary>
public static class HostChecks
{
    /// <summary>True if this looks like the machine that the configuration is for: one of its interfaces exists.</summary>
    public static bool LooksLikeTheBox(Configuration configuration, IHostFacts host) => configuration.Interfaces.Any(i => host.HasInterface(i.Name));

    /// <summary>All findings, in the order of the text. <paramref name="parsed"/> must be free of errors.</summary>
    public static IReadOnlyList<Diagnostic> Check(ParseResult parsed, IHostFacts host)
    {
        Configuration c = parsed.Configuration ?? throw new ArgumentException("the configuration has errors", nameof(parsed));
        var found = new DiagnosticBag();
        foreach (InterfaceSettings link in c.Interfaces)
        {
            SourceSpan place = parsed.PlaceOf($"interface {BoxStatements.Name(link.Role)}");
            if (!host.HasInterface(link.Name))
            {
                found.Error(place, $"there is no interface '{link.Name}' on this machine", "`ip link` lists those that exist");
                continue;
            }
            if (link.Role == LinkRole.Sync) Sync(found, host, place, link);
            else Traffic(found, host, c, place, link);
        }
        foreach (ServiceSettings service in c.Services)
        {
            NotOfTheHost(found, host, c, parsed.PlaceOf($"service {service.Name}"), service.Address, $"service '{service.Name}'");
        }
        NotOfTheHost(found, host, c, parsed.PlaceOf("internal gw"), c.InternalGateway4, "internal gw");
        NotOfTheHost(found, host, c, parsed.PlaceOf("internal gw"), c.InternalGateway6, "internal gw");
        if (c.Workers > host.Processors)
            found.Warn(parsed.PlaceOf("workers"), $"{c.Workers} workers on {Count(host.Processors)}: they wait for each other", $"workers {host.Processors}");
        return found.Sorted();
    }

    private static string Count(int processors) => processors == 1 ? "1 processor" : $"{processors} processors";

    private static void Traffic(DiagnosticBag found, IHostFacts host, Configuration c, SourceSpan place, InterfaceSettings link)
    {
        string what = $"the data path's address on '{link.Name}'";
        NotOfTheHost(found, host, c, place, link.Address4.Address, what);
        NotOfTheHost(found, host, c, place, link.Address6.Address, what);
        foreach (bool ipv6 in (bool[])[false, true])
        {
            if ((ipv6 ? link.Address6 : link.Address4).IsNone || !host.Forwards(link.Name, ipv6)) continue;
            found.Warn(place, $"the host forwards {(ipv6 ? "IPv6" : "IPv4")} on '{link.Name}' and would handle the same packets",
                $"sysctl -w net.{(ipv6 ? "ipv6" : "ipv4")}.conf.{link.Name}.forwarding=0");
        }
    }

    private static void Sync(DiagnosticBag found, IHostFacts host, SourceSpan place, InterfaceSettings link)
    {
        foreach (Prefix address in (Prefix[])[link.Address4, link.Address6])
        {
            if (!address.IsNone && host.OwnerOf(address.Address) != link.Name)
                found.Error(place, $"the host does not have {address} on '{link.Name}', but peers talk to it there", $"ip address add {address} dev {link.Name}");
        }
    }

    // Only on the data path's own links is it likely that the address should go, and not another be chosen: elsewhere the host needs it.
    private static void NotOfTheHost(DiagnosticBag found, IHostFacts host, Configuration c, SourceSpan place, IpAddr address, string what)
    {
        if (address.IsNone || host.OwnerOf(address) is not { } owner) return;
        string remedy = c.Interfaces.Any(i => i.Role != LinkRole.Sync && i.Name == owner)
            ? $"name another, or take it off the host, which ends whatever uses it there, perhaps your own session: ip address del {address} dev {owner}"
            : "name an address that the host does not have";
        found.Error(place, $"{address} ({what}) is an address of the host itself, on '{owner}'", remedy);
    }
}
