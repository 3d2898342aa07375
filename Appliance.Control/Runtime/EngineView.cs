using Appliance.DataPath.Flow;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// The manager's read-only sight of one engine: its files mapped, its tables opened. Of a dead
/// engine the last state stays readable. Not for several threads at once.
/// </summary>
public sealed class EngineView : IDisposable
{
    private readonly EngineFiles _files;

    private EngineView(EngineFiles files, TableReader<SpliceRecord> records, TableReader<RewriteEntry> flows, EngineEventRing events)
    {
        _files = files;
        Records = records;
        Flows = flows;
        Events = events;
    }

    /// <summary>Whose files these are.</summary>
    public EngineAddress Address => _files.Address;

    /// <summary>Splice records.</summary>
    public TableReader<SpliceRecord> Records { get; }

    /// <summary>Directed entries.</summary>
    public TableReader<RewriteEntry> Flows { get; }

    /// <summary>Events to be logged.</summary>
    public EngineEventRing Events { get; }

    /// <summary>Statistics segment.</summary>
    public EngineStatus Status => _files.Status;

    /// <summary>What the engine does now: its phase, or "away" if its process is gone.</summary>
    public string State => !ProcessNative.Exists(Address.Pid) ? "away" : (EnginePhase)Status.Header.Phase switch
    {
        EnginePhase.Running => "running",
        EnginePhase.Leaving => "leaving",
        _ => "starting",
    };

    /// <summary>Opens what the run directory announces; null if there is nothing, or not whole.</summary>
    public static EngineView? Open(string runDirectory)
    {
        if (EngineFiles.Open(runDirectory) is not { } files) return null;
        var records = TableReader<SpliceRecord>.Open(files.Records.Address, files.Records.Length);
        var flows = TableReader<RewriteEntry>.Open(files.Flows.Address, files.Flows.Length);
        EngineEventRing? events = EngineEventRing.Attach(files.Events);
        bool whole = files.Status.Header.Magic == EngineStatus.CurrentMagic && files.StatusRegion.Length >= EngineStatus.Bytes;
        if (whole && records is not null && flows is not null && events is not null) return new EngineView(files, records, flows, events);
        files.Dispose();
        return null;
    }

    /// <inheritdoc/>
    public void Dispose() => _files.Dispose();
}
