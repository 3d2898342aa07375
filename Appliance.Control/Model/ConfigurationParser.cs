namespace Appliance.Control.Model;

/// <summary>
/// Reads a configuration. All findings of a text are reported at once; one mistake gives one
/// error, not a trail of them: a name whose definition is wrong still counts as defined. The order
/// of lines matters only among services, pools, servers and routes. Any text is answered, none makes
/// it throw: length of text and line, number of findings, services, pools, servers and routes are bounded.
/// </summary>
public static class ConfigurationParser
{
    /// <summary>Longest text, in characters.</summary>
    public const int MaxText = 1 << 20;

    /// <summary>Reads <paramref name="text"/>; <paramref name="fileName"/> only stands in messages.</summary>
    public static ParseResult Parse(string text, string fileName)
    {
        var diagnostics = new DiagnosticBag();
        string[] lines = [];
        if (text.Length > MaxText)
        {
            diagnostics.Error(new SourceSpan(1, 1, 0), "the file is longer than 1 MiB");
            return new ParseResult(fileName, configuration: null, diagnostics.Sorted(), 0, lines, new Dictionary<string, SourceSpan>());
        }
        lines = [.. text.TrimStart('\ufeff').Split('\n').Select(l => l.EndsWith('\r') ? l[..^1] : l)];
        var builder = new ConfigurationBuilder(diagnostics);
        foreach (BoundStatement statement in Bind(lines, builder).OrderBy(s => s.Statement.Phase))
        {
            if (statement.IsComplete) statement.Statement.Apply(statement, builder);
        }
        ConfigurationChecks.Run(builder);
        Configuration? configuration = diagnostics.HasErrors ? null : ConfigurationAssembly.Assemble(builder);
        return new ParseResult(fileName, configuration, diagnostics.Sorted(), diagnostics.Left, lines, ConfigurationAssembly.Places(builder));
    }

    private static List<BoundStatement> Bind(string[] lines, ConfigurationBuilder builder)
    {
        List<BoundStatement> all = [];
        for (int i = 0; i < lines.Length; i++)
        {
            if (!Tokenizer.TrySplit(lines[i], i + 1, builder.Diagnostics, out List<Token> tokens))
            {
                string[] words = lines[i].Split([' ', '\t', '"'], 64, StringSplitOptions.RemoveEmptyEntries);
                if (words.Length > 0 && StatementTable.Starting(words[0]).Count > 0) builder.FailedLine(words[0], words);
                else builder.FailedUnknown(words);
                continue;
            }
            if (tokens.Count == 0 || Choose(tokens, builder) is not { } statement) continue;
            int before = builder.Diagnostics.Errors;
            BoundStatement bound = new StatementMatcher(statement, tokens, builder.Diagnostics).Match();
            if (builder.Diagnostics.Errors > before)
            {
                builder.Failed(statement.Words[0]);
                builder.Failed(statement.Name);
            }
            if (statement.Defines != SymbolKind.None)
            {
                if (bound.TryGet("NAME", out string name)) builder.Define(statement.Defines, name, bound.SpanOf("NAME"));
                else builder.FailedName(statement.Defines);
            }
            all.Add(bound);
        }
        return all;
    }

    private static Statement? Choose(List<Token> tokens, ConfigurationBuilder builder)
    {
        Token first = tokens[0];
        IReadOnlyList<Statement> found = first.Quoted ? [] : StatementTable.Starting(first.Text);
        if (found.Count == 0)
        {
            Unknown(tokens, builder);
            return null;
        }
        if (found[0].IsLater)
        {
            builder.Diagnostics.Error(first.Span, $"'{first.Text}' is not available yet in this version");
            return null;
        }
        if (found.Count == 1) return found[0];
        Statement? exact = tokens.Count > 1 && !tokens[1].Quoted ? found.FirstOrDefault(s => s.Words[1] == tokens[1].Text) : null;
        if (exact is not null) return exact;
        SourceSpan span = tokens.Count > 1 ? tokens[1].Span : first.Span with { Column = first.Span.Column + first.Span.Length, Length = 1 };
        string legal = string.Join(" or ", found.Select(s => $"'{s.Words[1]}'"));
        string problem = tokens.Count > 1 ? $"unexpected '{tokens[1].Text}'; expected {legal}" : $"the statement ends too early; expected {legal}";
        builder.Diagnostics.Error(span, problem, suggestion: tokens.Count > 1 ? Suggestion.Nearest(tokens[1].Text, found.Select(s => s.Words[1])) : null);
        builder.FailedLine(first.Text, []);
        return null;
    }

    private static void Unknown(List<Token> tokens, ConfigurationBuilder builder)
    {
        Token first = tokens[0];
        if (StatementTable.ShellCommands.Contains(first.Text))
        {
            builder.Diagnostics.Error(first.Span, $"'{first.Text}' is a command for a running box, not a statement of a configuration");
            return;
        }
        string? nearest = builder.Diagnostics.IsFull ? null : Suggestion.Nearest(first.Text, StatementTable.All.Where(s => !s.IsLater).Select(s => s.Words[0]).Distinct(StringComparer.Ordinal));
        builder.Diagnostics.Error(first.Span, $"unknown statement '{first.Text}'", nearest is null ? "`appliance help` lists all statements" : null, nearest);
        IEnumerable<string> words = tokens.Skip(1).Select(t => t.Text);
        if (nearest is null) builder.FailedUnknown(words);
        else builder.FailedLine(nearest, words);
    }
}
