using System.Collections.Immutable;

namespace Appliance.Control.Model;

/// <summary>
/// A part of a statement's syntax. The notation: lower case is a keyword, CAPITALS a slot,
/// `[x]` may be left out, `x|y` one of two words, `(x | y Z)` one of two sequences; a `~` before a
/// word marks one that is known and not available yet. Bracketed parts that stand together may come in any
/// order. What follows is always decided by one word.
/// </summary>
public abstract record SyntaxPart
{
    /// <summary>Reads a syntax; the text is a constant of the statement table, so a mistake in it is a bug.</summary>
    public static ImmutableArray<SyntaxPart> Parse(string syntax)
    {
        foreach (string mark in (string[])["[", "]", "(", ")"]) syntax = syntax.Replace(mark, $" {mark} ", StringComparison.Ordinal);
        string[] words = syntax.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        int at = 0;
        ImmutableArray<SyntaxPart> parts = Sequence(words, ref at);
        return at == words.Length ? parts : throw new FormatException($"unbalanced syntax: {syntax}");
    }

    private static ImmutableArray<SyntaxPart> Sequence(string[] words, ref int at)
    {
        ImmutableArray<SyntaxPart>.Builder parts = ImmutableArray.CreateBuilder<SyntaxPart>();
        for (; at < words.Length && words[at] is not ("]" or ")" or "|"); at++)
        {
            parts.Add(words[at] switch
            {
                "[" => new OptionalPart(Enclosed(words, ref at)[0]),
                "(" => new ChoicePart(Enclosed(words, ref at)),
                string word when word.Contains('|', StringComparison.Ordinal) => new ChoicePart([.. word.Split('|').Select(w => ImmutableArray.Create(Single(w)))]),
                string word => Single(word),
            });
        }
        return parts.ToImmutable();
    }

    private static ImmutableArray<ImmutableArray<SyntaxPart>> Enclosed(string[] words, ref int at)
    {
        ImmutableArray<ImmutableArray<SyntaxPart>>.Builder all = ImmutableArray.CreateBuilder<ImmutableArray<SyntaxPart>>();
        do
        {
            at++;
            all.Add(Sequence(words, ref at));
        }
        while (words[at] == "|");
        return all.ToImmutable();
    }

    private static SyntaxPart Single(string word) =>
        char.IsAsciiLetterUpper(word[0]) ? new SlotPart(Slots.Get(word)) : new WordPart(word.TrimStart('~'), word[0] == '~');
}

/// <summary>A keyword.</summary>
public sealed record WordPart(string Word, bool IsLater) : SyntaxPart;

/// <summary>A value.</summary>
public sealed record SlotPart(Slot Slot) : SyntaxPart;

/// <summary>Something that may be left out.</summary>
public sealed record OptionalPart(ImmutableArray<SyntaxPart> Body) : SyntaxPart;

/// <summary>One of several sequences, told apart by their first part.</summary>
public sealed record ChoicePart(ImmutableArray<ImmutableArray<SyntaxPart>> Alternatives) : SyntaxPart;
