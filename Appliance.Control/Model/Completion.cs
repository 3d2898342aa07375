namespace Appliance.Control.Model;

/// <summary>What can be typed next: the keywords and names that the statement table allows at the end of a line that was begun.</summary>
public static class Completion
{
    /// <summary>
    /// Candidates for the last word of <paramref name="line"/> (after a blank: for the next word), sorted. Names come
    /// from <paramref name="known"/>; free values have no candidates.
    /// </summary>
    public static IReadOnlyList<string> Candidates(string line, Configuration? known)
    {
        var ignored = new DiagnosticBag();
        if (!Tokenizer.TrySplit(line, 1, ignored, out List<Token> tokens)) return [];
        bool begun = tokens.Count > 0 && line[^1] is not (' ' or '\t');
        string start = begun ? tokens[^1].Text : "";
        if (begun) tokens.RemoveAt(tokens.Count - 1);
        return [.. Next(tokens, known, ignored).Where(w => w.StartsWith(start, StringComparison.Ordinal)).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
    }

    private static IEnumerable<string> Next(List<Token> tokens, Configuration? known, DiagnosticBag ignored)
    {
        string[] words = [.. tokens.Select(t => t.Text)];
        foreach (Statement statement in StatementTable.Find(words).Where(s => !s.IsLater))
        {
            if (words.Length < statement.Words.Length)
            {
                yield return statement.Words[words.Length];
                continue;
            }
            var matcher = new StatementMatcher(statement, tokens, ignored);
            matcher.Match();
            if (!matcher.IsAtEnd) continue;
            foreach (string word in Legal.Words(matcher.Expected)) yield return word;
            foreach (Slot slot in Legal.Slots(matcher.Expected))
            {
                foreach (string name in Names(slot.Refers, known)) yield return name;
            }
        }
    }

    private static IEnumerable<string> Names(SymbolKind kind, Configuration? known) => kind switch
    {
        _ when known is null => [],
        SymbolKind.Service => known.Services.Select(s => s.Name),
        SymbolKind.Pool => known.Services.SelectMany(s => s.Pools).Select(p => p.Name),
        SymbolKind.Peer => known.Peers.Select(p => p.Name),
        _ => [],
    };
}
