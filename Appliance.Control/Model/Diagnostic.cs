using System.Globalization;

namespace Appliance.Control.Model;

/// <summary>A place in a text; line and column count from 1, column and length in UTF-16 units.</summary>
public readonly record struct SourceSpan(int Line, int Column, int Length);

/// <summary>Whether a configuration may be used in spite of it.</summary>
public enum DiagnosticSeverity : byte
{
    Warning,
    Error,
}

/// <summary>One finding about a configuration: a sentence, its place, and the remedy where one is known.</summary>
public sealed record Diagnostic(DiagnosticSeverity Severity, SourceSpan Span, string Message)
{
    /// <summary>What was probably meant; null if nothing is near.</summary>
    public string? Suggestion { get; init; }

    /// <summary>What to do about it.</summary>
    public string? Hint { get; init; }

    /// <summary>Where the same thing was defined first.</summary>
    public SourceSpan? FirstPlace { get; init; }

    /// <summary>Writes `file:line:column: error: message`, the source line, a caret and the notes.</summary>
    public void Write(TextWriter writer, string fileName, IReadOnlyList<string> lines)
    {
        string kind = Severity == DiagnosticSeverity.Error ? "error" : "warning";
        string meant = Suggestion is null ? "" : $"; did you mean '{Suggestion}'?";
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{fileName}:{Span.Line}:{Span.Column}: {kind}: {Clean(Message)}{meant}"));
        WriteSource(writer, lines);
        if (FirstPlace is { } first)
            writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{fileName}:{first.Line}:{first.Column}: note: the first is here"));
        if (Hint is not null) writer.WriteLine($"  hint: {Hint}");
    }

    private void WriteSource(TextWriter writer, IReadOnlyList<string> lines)
    {
        if (Span.Length == 0 || Span.Line > lines.Count) return;
        const int window = 160;
        string line = lines[Span.Line - 1];
        int from = Span.Column > window / 2 && line.Length > window ? Span.Column - window / 2 : 0;
        string shown = line[Math.Min(from, line.Length)..Math.Min(line.Length, from + window)];
        int before = Math.Clamp(Span.Column - 1 - from, 0, shown.Length);
        string indent = string.Concat(shown[..before].Select(c => c == '\t' ? '\t' : ' '));
        writer.WriteLine("    " + Clean(shown));
        writer.WriteLine("    " + indent + "^" + new string('~', Math.Clamp(Span.Length - 1, 0, Math.Max(0, shown.Length - before - 1))));
    }

    // A file is not to be believed: its control characters must not reach a terminal.
    private static string Clean(string text) => string.Concat(text.Select(c => char.IsControl(c) && c != '\t' ? '?' : c));
}

/// <summary>Collects findings; keeps at most <see cref="Max"/> of each severity and counts the rest.</summary>
public sealed class DiagnosticBag
{
    /// <summary>Most findings of one severity that are kept.</summary>
    public const int Max = 100;

    private readonly List<Diagnostic> _kept = [];
    private int _errors;
    private int _warnings;

    /// <summary>True if an error was found.</summary>
    public bool HasErrors => _errors > 0;

    /// <summary>Number of errors found, kept or not.</summary>
    public int Errors => _errors;

    /// <summary>Findings that were not kept.</summary>
    public int Left => Math.Max(0, _errors - Max) + Math.Max(0, _warnings - Max);

    /// <summary>True if further errors are only counted, so that no work need go into them.</summary>
    public bool IsFull => _errors >= Max;

    /// <summary>True if that error was found and kept.</summary>
    public bool HasError(string message) => _kept.Exists(d => d.Severity == DiagnosticSeverity.Error && d.Message == message);

    /// <summary>The findings in the order of the text.</summary>
    public IReadOnlyList<Diagnostic> Sorted() => [.. _kept.OrderBy(d => d.Span.Line).ThenBy(d => d.Span.Column).ThenBy(d => d.Message, StringComparer.Ordinal)];

    /// <summary>Adds a finding.</summary>
    public void Add(Diagnostic diagnostic)
    {
        int number = diagnostic.Severity == DiagnosticSeverity.Error ? ++_errors : ++_warnings;
        if (number <= Max) _kept.Add(diagnostic);
    }

    /// <summary>Adds an error.</summary>
    public void Error(SourceSpan span, string message, string? hint = null, string? suggestion = null, SourceSpan? first = null) =>
        Add(new Diagnostic(DiagnosticSeverity.Error, span, message) { Hint = hint, Suggestion = suggestion, FirstPlace = first });

    /// <summary>Adds a warning.</summary>
    public void Warn(SourceSpan span, string message, string? hint = null, SourceSpan? first = null) =>
        Add(new Diagnostic(DiagnosticSeverity.Warning, span, message) { Hint = hint, FirstPlace = first });
}
