using System.Net.NetworkInformation;
using Appliance.Control.Model;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>Facts of the Linux machine and network namespace that this process runs in, as they were when this was made.</summary>
public sealed class LinuxHostFacts : IHostFacts
{
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private readonly Dictionary<IpAddr, string> _owners = [];

    /// <summary>Asks the kernel.</summary>
    public LinuxHostFacts()
    {
        foreach (NetworkInterface link in NetworkInterface.GetAllNetworkInterfaces())
        {
            _names.Add(link.Name);
            foreach (UnicastIPAddressInformation own in link.GetIPProperties().UnicastAddresses) _owners.TryAdd(IpAddr.From(own.Address), link.Name);
        }
    }

    /// <inheritdoc/>
    public int Processors => Environment.ProcessorCount;

    /// <inheritdoc/>
    public bool HasInterface(string name) => _names.Contains(name);

    /// <inheritdoc/>
    public string? OwnerOf(IpAddr address) => _owners.GetValueOrDefault(address);

    /// <inheritdoc/>
    public bool Forwards(string interfaceName, bool ipv6)
    {
        string path = $"/proc/sys/net/{(ipv6 ? "ipv6" : "ipv4")}/conf/{interfaceName}/forwarding";
        try
        {
            return File.Exists(path) && File.ReadAllText(path).Trim() == "1";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
