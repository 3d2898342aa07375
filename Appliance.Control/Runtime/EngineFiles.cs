using System.Text.Json;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>What <c>engine.json</c> in the run directory says: where the running engine's memory is. Flows and records hold one table per worker, of <c>Splices</c> each, in parts of equal length.</summary>
public sealed record EngineAddress(int Pid, long Incarnation, int Splices, string Flows, string Records, string Status, string Events, int Workers = 1);

/// <summary>One worker's tables, for reading.</summary>
public readonly record struct SpliceTables(TableReader<SpliceRecord> Records, TableReader<RewriteEntry> Flows);

/// <summary>
/// An engine's shared files: splice entries, records, statistics, and the event ring to the
/// manager. A new engine makes new ones; the old ones are unlinked, and stay readable for whoever has
/// them mapped. They stand on /dev/shm; <c>engine.json</c> in the run directory names them and is replaced at once.
/// </summary>
public sealed class EngineFiles : IDisposable
{
    private const string SharedDirectory = "/dev/shm";

    private bool _announced;

    private EngineFiles(EngineAddress address, SharedRegion flows, SharedRegion records, SharedRegion status, SharedRegion events)
    {
        Address = address;
        Flows = flows;
        Records = records;
        StatusRegion = status;
        Events = events;
        Status = new EngineStatus(status.Address, address.Workers);
    }

    /// <summary>Names and sizes.</summary>
    public EngineAddress Address { get; }

    /// <summary>Directed entries.</summary>
    public SharedRegion Flows { get; }

    /// <summary>Records.</summary>
    public SharedRegion Records { get; }

    /// <summary>Statistics segment.</summary>
    public SharedRegion StatusRegion { get; }

    /// <summary>Ring of events to the manager.</summary>
    public SharedRegion Events { get; }

    /// <summary>The statistics segment, as what it is.</summary>
    public EngineStatus Status { get; }

    /// <summary>Path of the file that names the rest.</summary>
    public static string AddressPath(string runDirectory) => Path.Combine(runDirectory, "engine.json");

    /// <summary>Creates an engine's files for workers with <paramref name="splices"/> each; announce them with <see cref="Announce"/>.</summary>
    public static EngineFiles Create(long incarnation, int splices, int workers)
    {
        string name = $"appliance-{Environment.ProcessId}-{incarnation:x}";
        SharedRegion flows = SharedRegion.Create(SharedDirectory, name + "-flows", workers * PartBytes(SpliceTable.FlowBytes(splices)));
        SharedRegion records = SharedRegion.Create(SharedDirectory, name + "-records", workers * PartBytes(SpliceTable.RecordBytes(splices)));
        SharedRegion status = SharedRegion.Create(SharedDirectory, name + "-status", EngineStatus.BytesFor(workers));
        SharedRegion events = SharedRegion.Create(SharedDirectory, name + "-events", EngineEventRing.Bytes);
        EngineAddress address = new(Environment.ProcessId, incarnation, splices, flows.Path!, records.Path!, status.Path!, events.Path!, workers);
        EngineFiles files = new(address, flows, records, status, events);
        ref EngineHeader header = ref files.Status.Header;
        header.Incarnation = incarnation;
        header.Pid = Environment.ProcessId;
        Volatile.Write(ref header.Magic, EngineStatus.CurrentMagic);
        return files;
    }

    /// <summary>Maps the announced engine's files read-only (the event ring writable: its reader's index stands in it); null if there is none.</summary>
    public static EngineFiles? Open(string runDirectory) => ReadAddress(runDirectory) is { } address ? Open(address) : null;

    /// <summary>The same, of an engine whose address is known.</summary>
    public static EngineFiles? Open(EngineAddress address)
    {
        if (address.Workers is < 1 or > WorkerGroup.Max) return null;
        try
        {
            return new EngineFiles(
                address,
                SharedRegion.Open(address.Flows, writable: false),
                SharedRegion.Open(address.Records, writable: false),
                SharedRegion.Open(address.Status, writable: false),
                SharedRegion.Open(address.Events, writable: true));
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>What the run directory announces, or null.</summary>
    public static EngineAddress? ReadAddress(string runDirectory)
    {
        try
        {
            return JsonSerializer.Deserialize<EngineAddress>(File.ReadAllText(AddressPath(runDirectory)));
        }
        catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Unlinks what an earlier engine of this run directory left.</summary>
    public static void RemoveLeftovers(EngineAddress? address)
    {
        if (address is null) return;
        foreach (string path in new[] { address.Flows, address.Records, address.Status, address.Events }) RunDirectory.TryDelete(path);
    }

    /// <summary>Unlinks what a dead engine left that never came to announce it; announced files stay until there are newer ones.</summary>
    public static void RemoveUnannounced(string runDirectory, int pid)
    {
        if (ReadAddress(runDirectory)?.Pid == pid) return;
        foreach (string path in Directory.EnumerateFiles(SharedDirectory, $"appliance-{pid}-*")) RunDirectory.TryDelete(path);
    }

    /// <summary>Makes these files the run directory's, all at once.</summary>
    public void Announce(string runDirectory)
    {
        string path = AddressPath(runDirectory), fresh = path + ".new";
        File.WriteAllText(fresh, JsonSerializer.Serialize(Address));
        File.Move(fresh, path, overwrite: true);
    }

    /// <summary>The same if it was not done, or undone by somebody, and as far as it can be.</summary>
    public void TryAnnounce(string runDirectory)
    {
        if (_announced && File.Exists(AddressPath(runDirectory))) return;
        try
        {
            Announce(runDirectory);
            _announced = true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The supervisor says that the directory cannot be written.
        }
    }

    /// <summary>The memory of a worker's box.</summary>
    public BoxMemory ToBoxMemory(int worker, ulong seed, Quiescence quiescence) =>
        new(PartOf(Flows, worker).Address, PartOf(Records, worker).Address, Status.Workers[worker].Statistics, seed, quiescence);

    /// <summary>The tables of all workers, for reading; null if one of them is not whole.</summary>
    public SpliceTables[]? OpenTables()
    {
        var tables = new SpliceTables[Address.Workers];
        for (int i = 0; i < tables.Length; i++)
        {
            (nint flows, long flowBytes) = PartOf(Flows, i);
            (nint records, long recordBytes) = PartOf(Records, i);
            if (TableReader<RewriteEntry>.Open(flows, flowBytes) is not { } entries || TableReader<SpliceRecord>.Open(records, recordBytes) is not { } splices) return null;
            tables[i] = new SpliceTables(splices, entries);
        }
        return tables;
    }

    /// <summary>Removes the names; mappings stay.</summary>
    public void Unlink()
    {
        foreach (SharedRegion region in new[] { Flows, Records, StatusRegion, Events }) region.Unlink();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SharedRegion region in new[] { Flows, Records, StatusRegion, Events }) region.Dispose();
    }

    // Parts begin on pages.
    private static long PartBytes(long bytes) => (bytes + 4095) & ~4095L;

    private (nint Address, long Length) PartOf(SharedRegion region, int worker)
    {
        long length = region.Length / Address.Workers;
        return (region.Address + (nint)(worker * length), length);
    }
}
