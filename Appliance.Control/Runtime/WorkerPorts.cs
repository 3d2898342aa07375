using Appliance.Control.Model;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// Opens the packet sockets of an engine: one per worker and traffic link, several on a link in one fanout group. All or none.
/// </summary>
internal static class WorkerPorts
{
    private const int ReceiveBuffer = 64 << 20, MinReceiveBuffer = 16 << 20;

    /// <summary>External and internal port of each worker.</summary>
    /// <exception cref="PortException">An interface is missing, or a privilege.</exception>
    public static FramePort[][] Open(BoxSettings settings, BoxConfig config)
    {
        var ports = new FramePort[settings.Workers][];
        try
        {
            // In the order of their numbers on every link: so the fanout program counts them.
            for (int worker = 0; worker < ports.Length; worker++)
            {
                ports[worker] = new FramePort[2];
                for (int i = 0; i < 2; i++) ports[worker][i] = AfPacketPort.Open(config.Links[i].InterfaceName, FilterOf(config, (LinkRole)i), OptionsOf(settings, (LinkRole)i));
            }
            return ports;
        }
        catch
        {
            foreach (FramePort? port in ports.Where(p => p is not null).SelectMany(p => p)) port?.Dispose();
            throw;
        }
    }

    private static AfPacketOptions OptionsOf(BoxSettings settings, LinkRole role)
    {
        AfPacketOptions options = new() { Promiscuous = settings.Interfaces.Any(s => s.Role == role && s.Promiscuous) };
        if (settings.Workers == 1) return options;
        // Of this process alone in the network namespace, however the number of an earlier engine ended.
        int group = (Environment.ProcessId * 2 + (int)role) & 0x3fff;
        return options with
        {
            ReceiveBuffer = Math.Max(ReceiveBuffer / settings.Workers, MinReceiveBuffer),
            Fanout = new FanoutOptions(group, settings.Workers, role == LinkRole.External ? ClientSide.Source : ClientSide.Destination),
        };
    }

    // Own MACs, and the solicited-node groups of IPv6 addresses that the box answers for.
    private static MacFilter FilterOf(BoxConfig config, LinkRole role)
    {
        BoxLink link = config.Links[(int)role];
        List<MacAddress> macs = [.. link.Macs, new MacAddress(0x3333_0000_0001)];
        IEnumerable<IpAddr> answered = role == LinkRole.External
            ? config.Services.Services.Select(s => s.Address)
            : [config.InternalGateway6];
        foreach (IpAddr address in answered.Append(link.Address6))
        {
            if (!address.IsNone && !address.IsV4) macs.Add(MacFilter.SolicitedNode(address));
        }
        return new MacFilter([.. macs]);
    }
}
