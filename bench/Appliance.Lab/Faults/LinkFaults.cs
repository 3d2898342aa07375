using Appliance.Lab.Net;

namespace Appliance.Lab.Faults;

/// <summary>Which frames of a link are lost, seen from the host.</summary>
public enum Direction
{
    FromHost,
    ToHost,
}

/// <summary>
/// Faults of a link. A blackhole drops everything at the switch's port without the host noticing; the switch keeps what
/// it learned. Down at the host is what an operator's "ip link set down" does; down at the port is a pulled cable.
/// </summary>
public static class LinkFaults
{
    private const string BlockTable = "lab_block";

    /// <summary>Drops all frames of these links at the switch, at one instant as far as one command can.</summary>
    public static void Blackhole(params Link[] links) => PortState(links, 0);

    /// <summary>Ends a blackhole.</summary>
    public static void Unblackhole(params Link[] links) => PortState(links, 3);

    /// <summary>Drops the frames of one direction at the switch.</summary>
    public static void Block(Link link, Direction direction)
    {
        // The table exists only in labs that need it: every frame pays for a hook.
        const string table = $$"""
            table bridge {{BlockTable}} {
                set from { type ifname; }
                set to { type ifname; }
                chain forward {
                    type filter hook forward priority 0;
                    iifname @from drop
                    oifname @to drop
                }
            }

            """;
        if (link.Host.SwitchHost.TryRun("nft", "list", "table", "bridge", BlockTable).ExitCode != 0)
        {
            link.Host.SwitchHost.RunWithInput(table, "nft", "-f", "-");
        }
        Element("add", link, direction);
    }

    /// <summary>Ends a <see cref="Block"/>.</summary>
    public static void Unblock(Link link, Direction direction) => Element("delete", link, direction);

    /// <summary>Takes the interface down in the host.</summary>
    public static void Down(Link link) => link.Host.Run("ip", "link", "set", "dev", link.Interface, "down");

    /// <summary>Takes the interface up again and gives back the routes that the kernel forgot.</summary>
    public static void Up(Link link)
    {
        link.Host.Run("ip", "link", "set", "dev", link.Interface, "up");
        string routes = string.Concat(link.Host.Routes.Select(r => $"route replace {r}\n"));
        // Routes over other links that are down at this moment fail; they come back with theirs.
        Command.TryRun("ip", ["-n", link.Host.Namespace, "-force", "-batch", "-"], routes);
    }

    /// <summary>Pulls the cable: the host sees its carrier go.</summary>
    public static void PortDown(Link link) => link.Host.SwitchHost.Run("ip", "link", "set", "dev", link.Port, "down");

    /// <summary>Puts the cable back.</summary>
    public static void PortUp(Link link) => link.Host.SwitchHost.Run("ip", "link", "set", "dev", link.Port, "up");

    /// <summary>Deletes the interface, and with it the switch's port.</summary>
    public static void Remove(Link link) => link.Host.Run("ip", "link", "del", "dev", link.Interface);

    /// <summary>Makes another one of the same name after <see cref="Remove"/>, unshaped, and takes it up.</summary>
    public static void Remake(Link link)
    {
        string batch = $"""
            link add name {link.Port} mtu {link.Options.Mtu} type veth peer name {link.Interface} mtu {link.Options.Mtu} netns {link.Host.Namespace}
            link set dev {link.Port} master {link.Switch.Name} up

            """;
        link.Host.SwitchHost.RunWithInput(batch, "ip", "-batch", "-");
        foreach (string address in link.Options.Addresses) link.Host.Run("ip", "addr", "add", address, "dev", link.Interface);
        link.Host.Run("ip", "link", "set", "dev", link.Interface, "up");
    }

    private static void PortState(Link[] links, int state)
    {
        if (links.Length > 0)
        {
            string batch = string.Concat(links.Select(l => $"link set dev {l.Port} state {state}\n"));
            links[0].Host.SwitchHost.RunWithInput(batch, "bridge", "-batch", "-");
        }
    }

    private static void Element(string verb, Link link, Direction direction) => link.Host.SwitchHost.Run(
        "nft", verb, "element", "bridge", BlockTable, direction == Direction.FromHost ? "from" : "to", $"{{ \"{link.Port}\" }}");
}
