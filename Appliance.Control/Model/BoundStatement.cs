using System.Collections.Immutable;

namespace Appliance.Control.Model;

/// <summary>
/// A line matched against a statement: the keywords that stood in it and the values of its slots. <see cref="IsComplete"/> is
/// false if the line broke off; a slot with a bad value is reported and then simply has none.
/// </summary>
internal sealed class BoundStatement(Statement statement, SourceSpan span)
{
    private readonly Dictionary<string, (Token Token, object? Value)> _slots = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Token> _words = new(StringComparer.Ordinal);

    public Statement Statement { get; } = statement;

    /// <summary>The statement's first word.</summary>
    public SourceSpan Span { get; } = span;

    public bool IsComplete { get; set; }

    public void Add(string word, Token token) => _words.TryAdd(word, token);

    public void Add(Slot slot, Token token, object? value) => _slots.TryAdd(slot.Name, (token, value));

    public bool Has(string word) => _words.ContainsKey(word);

    public SourceSpan SpanOf(string name) =>
        _slots.TryGetValue(name, out (Token Token, object? Value) slot) ? slot.Token.Span : _words.TryGetValue(name, out Token token) ? token.Span : Span;

    /// <summary>The value of a slot; false if it is missing or was wrong.</summary>
    public bool TryGet<T>(string slot, out T value)
    {
        bool found = _slots.TryGetValue(slot, out (Token Token, object? Value) entry) && entry.Value is T;
        value = found ? (T)entry.Value! : default!;
        return found;
    }
}

/// <summary>
/// Matches the words of one line with one statement, a word at a time and never back. Knows at
/// every word what would be legal there: that is what an error names, a suggestion is chosen from and
/// completion offers.
/// </summary>
internal sealed class StatementMatcher(Statement statement, IReadOnlyList<Token> tokens, DiagnosticBag diagnostics)
{
    private readonly List<SyntaxPart> _expected = [];
    private readonly BoundStatement _bound = new(statement, tokens.Count > 0 ? tokens[0].Span : default);
    private int _at;
    private bool _reported;

    /// <summary>What could stand after the last word that matched.</summary>
    public IReadOnlyList<SyntaxPart> Expected => _expected;

    /// <summary>True if every word matched, so that <see cref="Expected"/> speaks of the end of the line.</summary>
    public bool IsAtEnd => _at == tokens.Count && !_reported;

    /// <summary>Matches; the result is always usable for what was found before the first error.</summary>
    public BoundStatement Match()
    {
        bool whole = TryAll(statement.Parts);
        if (whole && _at < tokens.Count) whole = false;
        if (!whole && !_reported) Unexpected();
        _bound.IsComplete = whole;
        return _bound;
    }

    private bool TryAll(ImmutableArray<SyntaxPart> parts)
    {
        for (int i = 0; i < parts.Length; i++)
        {
            if (parts[i] is OptionalPart)
            {
                int end = i;
                while (end < parts.Length && parts[end] is OptionalPart) end++;
                if (!TryOptionals(parts.AsSpan()[i..end])) return false;
                i = end - 1;
            }
            else if (!TryOne(parts[i]))
            {
                return false;
            }
        }
        return true;
    }

    private bool TryOptionals(ReadOnlySpan<SyntaxPart> parts)
    {
        ulong used = 0;
        bool again = true;
        while (again)
        {
            again = false;
            for (int i = 0; i < parts.Length && !again; i++)
            {
                ImmutableArray<SyntaxPart> body = ((OptionalPart)parts[i]).Body;
                if ((used >> i & 1) != 0 || !Starts(body[0])) continue;
                if (!TryAll(body)) return false;
                used |= 1UL << i;
                again = true;
            }
        }
        for (int i = 0; i < parts.Length; i++)
        {
            if ((used >> i & 1) == 0) _expected.Add(((OptionalPart)parts[i]).Body[0]);
        }
        return true;
    }

    private bool TryOne(SyntaxPart part)
    {
        if (_at >= tokens.Count || !Starts(part))
        {
            _expected.Add(part);
            return false;
        }
        switch (part)
        {
            case ChoicePart choice:
                return TryAll(choice.Alternatives.First(a => Starts(a[0])));
            case SlotPart slot:
                Take(slot.Slot);
                return true;
            default:
                return Take((WordPart)part);
        }
    }

    private bool Take(WordPart word)
    {
        Token token = Next();
        _bound.Add(word.Word, token);
        if (!word.IsLater) return true;
        diagnostics.Error(token.Span, $"'{word.Word}' is not available yet in this version");
        _reported = true;
        return false;
    }

    private void Take(Slot slot)
    {
        Token token = Next();
        SlotValue read = slot.Read(token.Text);
        _bound.Add(slot, token, read.Value);
        // A name that is none is said where it stands first, not wherever it is used.
        if (read.Problem is not null && (slot.Refers == SymbolKind.None || !diagnostics.HasError(read.Problem))) diagnostics.Error(token.Span, read.Problem, read.Hint);
    }

    private Token Next()
    {
        _expected.Clear();
        return tokens[_at++];
    }

    private bool Starts(SyntaxPart part) => _at < tokens.Count && part switch
    {
        WordPart word => !tokens[_at].Quoted && tokens[_at].Text == word.Word,
        SlotPart slot => slot.Slot.Accepts(tokens[_at].Text),
        ChoicePart choice => choice.Alternatives.Any(a => Starts(a[0])),
        _ => false,
    };

    private void Unexpected()
    {
        if (diagnostics.IsFull)
        {
            diagnostics.Error(_bound.Span, "");
            return;
        }
        IEnumerable<string> words = Legal.Words(_expected);
        string hint = "syntax: " + statement.Syntax;
        if (_at >= tokens.Count)
        {
            SourceSpan last = tokens[^1].Span;
            diagnostics.Error(new SourceSpan(last.Line, last.Column + last.Length, 1), $"the statement ends too early; expected {Legal.Describe(_expected)}", hint);
            return;
        }
        Token token = tokens[_at];
        string problem = _expected.Count == 0 ? $"unexpected '{token.Text}' after the end of the statement"
            : _bound.Has(token.Text) && !words.Contains(token.Text) ? $"'{token.Text}' is given twice or out of place"
            : $"unexpected '{token.Text}'; expected {Legal.Describe(_expected)}";
        diagnostics.Error(token.Span, problem, hint, Suggestion.Nearest(token.Text, words));
    }
}

/// <summary>What may stand at a place, for messages and completion.</summary>
internal static class Legal
{
    public static IEnumerable<string> Words(IEnumerable<SyntaxPart> parts) => parts.SelectMany(p => p switch
    {
        WordPart { IsLater: false } word => [word.Word],
        ChoicePart choice => Words(choice.Alternatives.Select(a => a[0])),
        _ => (IEnumerable<string>)[],
    });

    public static IEnumerable<Slot> Slots(IEnumerable<SyntaxPart> parts) => parts.OfType<SlotPart>().Select(p => p.Slot);

    public static string Describe(IReadOnlyList<SyntaxPart> parts)
    {
        List<string> all = [.. Slots(parts).Select(s => $"{s.Name} ({s.Description})"), .. Words(parts).Select(w => $"'{w}'")];
        return all.Count switch
        {
            0 => "the end of the line",
            1 => all[0],
            _ => string.Join(", ", all.Take(all.Count - 1)) + " or " + all[^1],
        };
    }
}
