using System.Globalization;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>An address with a prefix length, counted in the address's own family. Host bits may be set: it names an address on a network.</summary>
public readonly record struct Prefix(IpAddr Address, int Length)
{
    /// <summary>True if there is none (the default value).</summary>
    public bool IsNone => Address.IsNone && Length == 0;

    /// <summary>The prefix length of a single address.</summary>
    public int MaxLength => Address.IsV4 ? 32 : 128;

    /// <summary>The same with host bits cleared.</summary>
    public Prefix Network => new(Mask(Address, Length), Length);

    /// <summary>True if <paramref name="address"/> lies on this network.</summary>
    public bool Contains(IpAddr address) => !IsNone && address.IsWithin(Address, Length);

    /// <summary>The network's first address that a host may have, where there is such a thing as a network (<see cref="NotOfAHost"/>).</summary>
    public IpAddr FirstHost => new(Network.Address.High, Network.Address.Low | 1);

    /// <summary>
    /// What <paramref name="address"/> is, if it lies on this network and no single host can have it: the network's own address (for IPv6
    /// that of all its routers, RFC 4291 2.6.1) or the broadcast address. Links of two (RFC 3021, RFC 6164) and of one have neither. Else null.
    /// </summary>
    public string? NotOfAHost(IpAddr address)
    {
        if (!Contains(address) || Length >= MaxLength - 1) return null;
        if (address == Network.Address) return address.IsV4 ? $"the address of the network {Network} itself" : $"the address of all routers on {Network}";
        bool isLast = address.IsV4 && (address.V4 | (uint.MaxValue << (32 - Length))) == uint.MaxValue;
        return isLast ? $"the broadcast address of {Network}" : null;
    }

    /// <summary>Parses "203.0.113.2/24" or "2001:db8::2/64".</summary>
    public static bool TryParse(string text, out Prefix prefix)
    {
        prefix = default;
        int slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash < 0 || !IpAddr.TryParse(text[..slash], out IpAddr address)) return false;
        if (!int.TryParse(text.AsSpan(slash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int length)) return false;
        if (length > (address.IsV4 ? 32 : 128)) return false;
        prefix = new Prefix(address, length);
        return true;
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Address}/{Length}");

    private static IpAddr Mask(IpAddr address, int length)
    {
        int bits = address.IsV4 ? length + 96 : length;
        ulong high = bits >= 64 ? ulong.MaxValue : bits <= 0 ? 0 : ulong.MaxValue << (64 - bits);
        ulong low = bits >= 128 ? ulong.MaxValue : bits <= 64 ? 0 : ulong.MaxValue << (128 - bits);
        return new IpAddr(address.High & high, address.Low & low);
    }
}
