using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Appliance.DataPath.State;

namespace Appliance.Control.Model;

/// <summary>
/// A number that boxes with the same configuration share. Four parts of 16 bits each, so that a difference has a place: cluster (names, sync
/// addresses, heartbeat), services (address, port, durability, sharing), pools (PROXY header, reals, weights), routes. In it is what
/// changes the treatment of a connection that another box may have begun; not in it is each box's own: links, gateways, roles, workers,
/// size of tables, log level, where the key lies (another key is told by the seal). The order of services means nothing, that of pools, reals and
/// routes does. One difference in 65,536 is not seen.
/// </summary>
public static class ConfigurationDigest
{
    private const int PartBits = 16;

    private static readonly string[] Names = ["cluster", "services", "pools", "routes"];

    /// <summary>The number of a configuration.</summary>
    public static ulong Of(IReadOnlyList<Service> services, BoxSettings box)
    {
        Service[] sorted = [.. services.OrderBy(s => s.Name, StringComparer.Ordinal)];
        IEnumerable<string>[] parts =
        [
            [$"{box.HeartbeatIntervalNs} {box.HeartbeatMisses}", .. box.Peers.Select(p => $"{p.Name} {p.Address}").Append($"{box.Hostname} {box.SyncAddress}").Order(StringComparer.Ordinal)],
            sorted.Select(s => $"{s.Name} {s.Address} {s.Port} {s.Acked} {s.Share} {(s.Share == ShareMode.ByPacket ? s.Burst : 0)}"),
            sorted.SelectMany(s => s.Pools, (s, p) => $"{s.Name} {p.Name} {p.SendsProxyHeader} {string.Join(',', p.Reals.Select(r => $"{r.Address} {r.Port} {r.Weight}"))}"),
            sorted.SelectMany(s => s.Routes, (s, r) => $"{s.Name} {r.Kind} {Encoding.ASCII.GetString(r.Value)} {r.Pool.Name}"),
        ];
        ulong digest = 0;
        foreach (IEnumerable<string> part in parts)
        {
            byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', part)));
            digest = digest << PartBits | BinaryPrimitives.ReadUInt16BigEndian(hash);
        }
        return digest;
    }

    /// <summary>The four parts, as log and `show` print them.</summary>
    public static string Text(ulong digest) => string.Join('-', Enumerable.Range(0, Names.Length).Select(i => Part(digest, i).ToString("x4", CultureInfo.InvariantCulture)));

    /// <summary>Names of the parts in which two configurations differ.</summary>
    public static IReadOnlyList<string> Differences(ulong x, ulong y) => [.. Names.Where((_, i) => Part(x, i) != Part(y, i))];

    private static ushort Part(ulong digest, int index) => (ushort)(digest >> (Names.Length - 1 - index) * PartBits);
}
