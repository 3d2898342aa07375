using System.Globalization;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>What a name in a configuration may name.</summary>
public enum SymbolKind : byte
{
    None,
    Peer,
    Service,
    Pool,
}

/// <summary>What a word in a slot means: a value, or the problem with it.</summary>
public readonly record struct SlotValue(object? Value, string? Problem = null, string? Hint = null);

/// <summary>
/// A place in a statement that takes a value, written in capitals in its syntax. <see cref="Refers"/>
/// names the kind of thing that the value must be the name of.
/// </summary>
public sealed record Slot(string Name, string Description, Func<string, SlotValue> Read)
{
    /// <summary>The kind of thing referred to, or None.</summary>
    public SymbolKind Refers { get; init; }

    /// <summary>True if a word can only be meant for this slot, which decides whether an optional one is present.</summary>
    public Func<string, bool> Accepts { get; init; } = _ => true;
}

/// <summary>All slots by the name that a statement's syntax gives them.</summary>
public static class Slots
{
    private static readonly Dictionary<string, Slot> ByName = new Slot[]
    {
        new("NAME", "a letter, then letters, digits, '_', '.', '-'; at most 63 characters", ReadName),
        new("SERVICE", "name of a service", ReadName) { Refers = SymbolKind.Service },
        new("POOL", "name of a pool", ReadName) { Refers = SymbolKind.Pool },
        new("IFNAME", "name of a network interface, at most 15 characters", ReadInterface),
        new("ADDRESS", "an IPv4 or IPv6 address", ReadAddress),
        new("ADDRESS/LEN", "the box's own address on the link, with its prefix length", ReadOwn),
        new("ADDRESS2/LEN", "a second one, of the other family", ReadOwn) { Accepts = word => word.Contains('/', StringComparison.Ordinal) },
        new("CIDR", "a network: address and prefix length, no host bits set", ReadNetwork),
        Number("PORT", "port", 1, 65535),
        Number("WEIGHT", "weight", 1, 256),
        Number("BURST", "number of packets in a burst", 1, 10_000),
        Number("MISSES", "number of missed heartbeats", 1, 100),
        Number("WORKERS", "number of workers", 1, 16),
        Number("SPLICES", "number of splices", 1024, 16_777_216),
        new("DURATION", "a whole number with its unit: us, ms or s", ReadDuration),
        new("FILE", "path of a file", ReadFile),
        new("VALUE", "a host name, a path that starts with '/', or a TLS server name", ReadText),
    }.ToDictionary(s => s.Name, StringComparer.Ordinal);

    /// <summary>The slot of that name.</summary>
    public static Slot Get(string name) => ByName[name];

    /// <summary>Shortest duration that prints to the same value: 5ms, 1500us, 2s.</summary>
    public static string Print(TimeSpan duration)
    {
        long microseconds = duration.Ticks / TimeSpan.TicksPerMicrosecond;
        (long value, string unit) = microseconds % 1_000_000 == 0 ? (microseconds / 1_000_000, "s")
            : microseconds % 1000 == 0 ? (microseconds / 1000, "ms") : (microseconds, "us");
        return string.Create(CultureInfo.InvariantCulture, $"{value}{unit}");
    }

    private static Slot Number(string name, string what, int min, int max) =>
        new(name, string.Create(CultureInfo.InvariantCulture, $"{what}, {min} to {max}"), text =>
            TryDigits(text, out long value) && value >= min && value <= max
                ? new SlotValue((int)value)
                : new SlotValue(null, string.Create(CultureInfo.InvariantCulture, $"'{text}' is not a {what} from {min} to {max}")));

    private static SlotValue ReadName(string text)
    {
        bool good = text.Length is >= 1 and <= 63 && char.IsAsciiLetter(text[0]) && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-');
        return good ? new SlotValue(text)
            : new SlotValue(null, $"'{text}' is not a name", "a name is a letter, then letters, digits, '_', '.' and '-', at most 63 characters");
    }

    private static SlotValue ReadInterface(string text)
    {
        bool good = text.Length is >= 1 and <= 15 && text is not ("." or "..") && text.All(c => c is > ' ' and < (char)127 and not '/' and not ':');
        return good ? new SlotValue(text) : new SlotValue(null, $"'{text}' is not the name of an interface", "at most 15 characters, no blank, '/' or ':'");
    }

    private static SlotValue ReadAddress(string text)
    {
        if (text.AsSpan().IndexOfAny("%[]") < 0 && IpAddr.TryParse(text, out IpAddr address))
            return IsLoopback(address) ? Loopback(text) : IsUnicast(address) ? new SlotValue(address) : new SlotValue(null, $"'{text}' is not the address of one host");
        return new SlotValue(null, $"'{text}' is not an address", text.Contains('/', StringComparison.Ordinal) ? "no prefix length is needed here" : null);
    }

    private static SlotValue ReadPrefix(string text)
    {
        if (text.AsSpan().IndexOfAny("%[]") < 0 && Prefix.TryParse(text, out Prefix prefix) && prefix.Length > 0 && IsUnicast(prefix.Address)) return new SlotValue(prefix);
        return IpAddr.TryParse(text, out IpAddr address)
            ? new SlotValue(null, $"'{text}' lacks its prefix length", $"for example {address}/{(address.IsV4 ? 24 : 64)}")
            : new SlotValue(null, $"'{text}' is not an address with a prefix length", "for example 203.0.113.2/24 or 2001:db8::2/64");
    }

    private static SlotValue ReadOwn(string text)
    {
        SlotValue read = ReadPrefix(text);
        if (read.Value is not Prefix prefix) return read;
        if (IsLoopback(prefix.Address)) return Loopback(text);
        return prefix.NotOfAHost(prefix.Address) is { } what
            ? new SlotValue(null, $"{prefix.Address} is {what}, not an address of a box", $"a box may have {prefix.FirstHost}/{prefix.Length}, for example")
            : read;
    }

    // What the kernel itself answers for can never be the data path's, and nobody on a link can reach it.
    private static SlotValue Loopback(string text) =>
        new(null, $"'{text}' is a loopback address: it never leaves a machine", "name an address that the other machines on the link can reach and that no host has");

    private static bool IsLoopback(IpAddr address) => address.IsV4 ? address.V4 >> 24 == 127 : address is { High: 0, Low: 1 };

    private static bool IsUnicast(IpAddr address) =>
        address.IsV4 ? address.V4 is >= 0x0100_0000 and < 0xe000_0000 : !address.IsNone && address.High >> 56 != 0xff;

    private static SlotValue ReadNetwork(string text)
    {
        SlotValue read = ReadPrefix(text);
        if (read.Value is Prefix prefix && prefix != prefix.Network)
            return new SlotValue(null, $"'{text}' is not a network: bits behind the prefix are set", $"the network is {prefix.Network}");
        return read;
    }

    private static SlotValue ReadDuration(string text)
    {
        int digits = text.AsSpan().IndexOfAnyExceptInRange('0', '9');
        long scale = digits <= 0 ? 0 : text[digits..] switch { "us" => 1, "ms" => 1000, "s" => 1_000_000, _ => 0 };
        const long longest = 3600L * 1_000_000;
        if (scale > 0 && TryDigits(text[..digits], out long value) && value > 0 && value <= longest / scale)
            return new SlotValue(TimeSpan.FromTicks(value * scale * TimeSpan.TicksPerMicrosecond));
        return new SlotValue(null, $"'{text}' is not a duration", "a whole number and its unit, for example 500us, 5ms or 2s; at most an hour");
    }

    private static SlotValue ReadFile(string text) =>
        text.Length > 0 ? new SlotValue(text) : new SlotValue(null, "a path is needed");

    private static SlotValue ReadText(string text) =>
        text.Length > 0 ? new SlotValue(text) : new SlotValue(null, "an empty value matches nothing");

    private static bool TryDigits(string text, out long value)
    {
        value = 0;
        return text.Length <= 12 && long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
    }
}
