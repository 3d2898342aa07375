namespace Appliance.Control.Model;

/// <summary>
/// What became of a text: its findings in the order of the text, and the configuration if none of them is an
/// error. <see cref="Places"/> tells where things stand, for findings that only the host can make:
/// "interface external", "service WWW", "peer gw2", "key file", "internal gw", "workers".
/// </summary>
public sealed class ParseResult(
    string fileName, Configuration? configuration, IReadOnlyList<Diagnostic> diagnostics, int left, IReadOnlyList<string> lines, IReadOnlyDictionary<string, SourceSpan> places)
{
    /// <summary>Name of the file as given.</summary>
    public string FileName { get; } = fileName;

    /// <summary>The configuration; null if there is an error.</summary>
    public Configuration? Configuration { get; } = configuration;

    /// <summary>Errors and warnings.</summary>
    public IReadOnlyList<Diagnostic> Diagnostics { get; } = diagnostics;

    /// <summary>Findings beyond the hundred of each severity that are kept.</summary>
    public int Left { get; } = left;

    /// <summary>Where things stand.</summary>
    public IReadOnlyDictionary<string, SourceSpan> Places { get; } = places;

    /// <summary>True if the text cannot be used.</summary>
    public bool HasErrors => Configuration is null;

    /// <summary>Writes all findings.</summary>
    public void Write(TextWriter writer)
    {
        foreach (Diagnostic diagnostic in Diagnostics) Write(writer, diagnostic);
        if (Left > 0) writer.WriteLine($"{FileName}: {Left} more errors or warnings are not shown");
    }

    /// <summary>Writes one finding, also one that was made later.</summary>
    public void Write(TextWriter writer, Diagnostic diagnostic) => diagnostic.Write(writer, FileName, lines);

    /// <summary>The place of a thing, or the beginning of the file.</summary>
    public SourceSpan PlaceOf(string thing) => Places.TryGetValue(thing, out SourceSpan span) ? span : new SourceSpan(1, 1, 0);
}
