namespace Appliance.Control.Runtime;

/// <summary>
/// The manager's read-only sight of one engine: its files mapped, its tables opened. Of a dead
/// engine the last state stays readable. Not for several threads at once.
/// </summary>
public sealed class EngineView : IDisposable
{
    private readonly EngineFiles _files;

    private EngineView(EngineFiles files, SpliceTables[] tables, EngineEventRing events)
    {
        _files = files;
        Tables = tables;
        Events = events;
    }

    /// <summary>Whose files these are.</summary>
    public EngineAddress Address => _files.Address;

    /// <summary>Splices, of each worker.</summary>
    public IReadOnlyList<SpliceTables> Tables { get; }

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
        SpliceTables[]? tables = files.OpenTables();
        EngineEventRing? events = EngineEventRing.Attach(files.Events);
        bool whole = files.Status.Header.Magic == EngineStatus.CurrentMagic && files.StatusRegion.Length >= EngineStatus.BytesFor(files.Address.Workers);
        if (whole && tables is not null && events is not null) return new EngineView(files, tables, events);
        files.Dispose();
        return null;
    }

    /// <inheritdoc/>
    public void Dispose() => _files.Dispose();
}
