namespace Appliance.Lab.Net;

/// <summary>
/// Which congestion controls a network namespace may choose as its default: until disposed, the one that a measurement
/// asks for too. A setting of the whole machine, changed by nothing else here.
/// </summary>
public sealed class CongestionControl : IDisposable
{
    private const string Allowed = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

    private readonly string? _before;

    public CongestionControl(string name)
    {
        string before = File.ReadAllText(Allowed).Trim();
        if (before.Split(' ').Contains(name, StringComparer.Ordinal))
        {
            return;
        }
        File.WriteAllText(Allowed, $"{before} {name}");
        _before = before;
    }

    public void Dispose()
    {
        if (_before is not null)
        {
            File.WriteAllText(Allowed, _before);
        }
    }
}
