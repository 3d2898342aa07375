using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// Refills a box that has no peers from the tables of the engine that ran before it: their memory
/// outlives the process. What was being written when it died has an odd guard and is left out.
/// With peers the peers' records are better, and these are not used.
/// </summary>
public static class TableRefill
{
    /// <summary>Posts every record of an earlier engine to the worker; returns how many. Waits for room.</summary>
    public static int Run(EngineAddress earlier, SpscQueue<SpliceCommand> toWorker, Action wake)
    {
        try
        {
            using SharedRegion flows = SharedRegion.Open(earlier.Flows, writable: false);
            using SharedRegion records = SharedRegion.Open(earlier.Records, writable: false);
            if (TableReader<RewriteEntry>.Open(flows.Address, flows.Length) is not { } entries) return 0;
            return TableReader<SpliceRecord>.Open(records.Address, records.Length) is { } table ? Copy(table, entries, toWorker, wake) : 0;
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private static int Copy(TableReader<SpliceRecord> table, TableReader<RewriteEntry> entries, SpscQueue<SpliceCommand> toWorker, Action wake)
    {
        Span<int> found = stackalloc int[64];
        int cursor = 0, count = 0;
        do
        {
            int here = table.Walk(ref cursor, found, 4096);
            for (int i = 0; i < here; i++)
            {
                if (!table.TryRead(found[i], out SpliceRecord record) || record.Id == 0) continue;
                if (!entries.TryRead(record.ToServer, out RewriteEntry toServer) || !entries.TryRead(record.ToClient, out RewriteEntry toClient)) continue;
                SpliceCommand command = new() { Kind = SpliceCommandKind.Import, Node = record.Origin, Record = record, Progress = SpliceProgress.Of(toServer, toClient) };
                while (toWorker.Room == 0)
                {
                    wake();
                    Thread.Sleep(1);
                }
                toWorker.TryEnqueue(command);
                count++;
            }
        }
        while (cursor != 0);
        wake();
        return count;
    }
}
