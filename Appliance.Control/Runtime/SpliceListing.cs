using System.Globalization;
using System.Text.Json.Nodes;
using Appliance.DataPath.Flow;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>What is done with each splice that a walk meets; its entries stand in <paramref name="flows"/>.</summary>
internal delegate void SpliceVisitor(in SpliceRecord record, TableReader<RewriteEntry> flows);

/// <summary>
/// Splices out of the tables that an engine's workers share: walked slice by slice, each record copied under its
/// seqlock, never the whole table at once. What is opened or closed meanwhile may be in it or not.
/// </summary>
public sealed class SpliceListing(IReadOnlyList<SpliceTables> workers, Func<uint, string> serviceName, Func<byte, string> nodeName)
{
    /// <summary>Splices on a page.</summary>
    public const int PageSize = 50;

    private const int Slice = 1024, Tries = 100;

    /// <summary>One page of what the filter lets through, the totals of all that it lets through, by state; times against <paramref name="now"/>, the engine's monotonic clock.</summary>
    public JsonObject Page(SpliceFilter filter, int page, long now)
    {
        long first = (page - 1L) * PageSize, matching = 0, total = 0;
        var states = new long[(int)SpliceState.Reset + 1];
        var rows = new JsonArray();
        Walk((in SpliceRecord record, TableReader<RewriteEntry> flows) =>
        {
            total++;
            string service = serviceName(record.Service);
            if (!filter.Matches(record, service)) return;
            states[(int)record.State % states.Length]++;
            if (matching >= first && rows.Count < PageSize) rows.Add(Row(record, flows, service, now));
            matching++;
        });
        var byState = new JsonObject();
        foreach (SpliceState state in Enum.GetValues<SpliceState>().Where(s => s != SpliceState.Free)) byState[Name(state)] = states[(int)state];
        return new JsonObject
        {
            ["total"] = total,
            ["matching"] = matching,
            ["page"] = (long)page,
            ["pages"] = Math.Max(1, (matching + PageSize - 1) / PageSize),
            ["states"] = byState,
            ["splices"] = rows,
        };
    }

    /// <summary>Calls <paramref name="visit"/> for every splice.</summary>
    internal void Walk(SpliceVisitor visit)
    {
        var found = new int[Slice];
        foreach ((TableReader<SpliceRecord> records, TableReader<RewriteEntry> flows) in workers)
        {
            int cursor = 0;
            do
            {
                int count = records.Walk(ref cursor, found, Slice);
                for (int i = 0; i < count; i++)
                {
                    if (TryRead(records, found[i], out SpliceRecord record)) visit(record, flows);
                }
            }
            while (cursor != 0);
        }
    }

    /// <summary>"address:port", with brackets around IPv6.</summary>
    internal static string Endpoint(IpAddr address, ushort port) => address.IsV4 ? $"{address}:{port}" : $"[{address}]:{port}";

    private JsonObject Row(in SpliceRecord record, TableReader<RewriteEntry> flows, string service, long now)
    {
        _ = TryRead(flows, record.ToServer, out RewriteEntry up);
        _ = TryRead(flows, record.ToClient, out RewriteEntry down);
        long last = Math.Max(up.LastSeen, down.LastSeen);
        return new JsonObject
        {
            ["client"] = Endpoint(record.Client, record.ClientPort),
            ["service"] = service,
            ["real"] = Endpoint(record.Real, record.RealPort),
            ["state"] = Name(record.State),
            ["origin"] = nodeName(record.Origin),
            ["idleMs"] = last == 0 ? null : Math.Max(0, (now - last) / 1_000_000),
            ["packetsUp"] = up.Packets,
            ["bytesUp"] = up.Bytes,
            ["packetsDown"] = down.Packets,
            ["bytesDown"] = down.Bytes,
            ["details"] = Details(record, up, down, now),
        };
    }

    private static JsonObject Details(in SpliceRecord record, in RewriteEntry up, in RewriteEntry down, long now) => new()
    {
        ["id"] = record.Id.ToString("x16", CultureInfo.InvariantCulture),
        ["version"] = record.Version,
        ["generation"] = record.Generation,
        ["imported"] = record.Imported != 0,
        ["ageMs"] = Math.Max(0, (now - record.Created) / 1_000_000),
        ["virtual"] = Endpoint(record.Virtual, record.VirtualPort),
        ["source"] = Endpoint(record.Source, record.SourcePort),
        ["options"] = record.Options.ToString(),
        ["prefixBytes"] = record.P,
        ["mssClient"] = record.MssClient,
        ["mssServer"] = record.MssServer,
        ["x"] = record.X,
        ["y"] = record.Y,
        ["floorOpen"] = record.FloorOpen != 0,
        ["clientSeqNext"] = up.SeqNext,
        ["serverSeqNext"] = down.SeqNext,
        ["pathMtuUp"] = up.PathMtu,
        ["pathMtuDown"] = down.PathMtu,
    };

    private static string Name(SpliceState state) => ShowText.Spaced(state.ToString(), '-');

    // A record that is being changed is read again; one that is gone is left out.
    private static bool TryRead<T>(TableReader<T> table, int index, out T copy) where T : unmanaged
    {
        for (int i = 0; i < Tries; i++)
        {
            if (table.TryRead(index, out copy)) return true;
        }
        copy = default;
        return false;
    }
}
