using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// Refills a box that has no peers from the tables of the engine that ran before it: their memory
/// outlives the process. Each record goes to the worker that it belongs to now, however many there were. What was
/// being written when the engine died has an odd guard and is left out. With peers the peers' records are better, and these are not used.
/// </summary>
public static class TableRefill
{
    /// <summary>Posts every record of an earlier engine to the workers; returns how many. Waits for room.</summary>
    public static int Run(EngineAddress earlier, SpscQueue<SpliceCommand>[] toWorkers, Action wake)
    {
        using EngineFiles? files = EngineFiles.Open(earlier);
        if (files?.OpenTables() is not { } tables) return 0;
        int count = 0;
        foreach (SpliceTables table in tables) count += Copy(table, toWorkers, wake);
        return count;
    }

    private static int Copy(in SpliceTables table, SpscQueue<SpliceCommand>[] toWorkers, Action wake)
    {
        Span<int> found = stackalloc int[64];
        int cursor = 0, count = 0;
        do
        {
            int here = table.Records.Walk(ref cursor, found, 4096);
            for (int i = 0; i < here; i++)
            {
                if (!table.Records.TryRead(found[i], out SpliceRecord record) || record.Id == 0) continue;
                if (!table.Flows.TryRead(record.ToServer, out RewriteEntry toServer) || !table.Flows.TryRead(record.ToClient, out RewriteEntry toClient)) continue;
                SpliceCommand command = new() { Kind = SpliceCommandKind.Import, Node = record.Origin, Record = record, Progress = SpliceProgress.Of(toServer, toClient) };
                SpscQueue<SpliceCommand> queue = toWorkers[ClientShare.Of(record.Client, record.ClientPort, toWorkers.Length)];
                while (queue.Room == 0)
                {
                    wake();
                    Thread.Sleep(1);
                }
                queue.TryEnqueue(command);
                count++;
            }
        }
        while (cursor != 0);
        wake();
        return count;
    }
}
