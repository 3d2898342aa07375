using System.Collections.Immutable;
using System.Text.RegularExpressions;

namespace Appliance.Control.Model;

/// <summary>
/// One kind of statement: its syntax, its help, and what it does to the configuration that is
/// being built. Parser, help, completion and docs/language.md all read this and nothing else.
/// </summary>
public sealed partial record Statement
{
    internal Statement(string syntax, string summary, string example, Action<BoundStatement, ConfigurationBuilder> apply)
    {
        Syntax = Available(syntax);
        Summary = summary;
        Example = example;
        Apply = apply;
        Parts = SyntaxPart.Parse(syntax);
        Words = [.. Parts.TakeWhile(p => p is WordPart).Cast<WordPart>().Select(p => p.Word)];
    }

    /// <summary>The syntax as shown to people, without what is not available yet.</summary>
    public string Syntax { get; }

    /// <summary>What it says, in a sentence.</summary>
    public string Summary { get; }

    /// <summary>A line that is right.</summary>
    public string Example { get; }

    /// <summary>Further sentences: defaults, limits, consequences.</summary>
    public string Details { get; init; } = "";

    /// <summary>Known, but not available in this version.</summary>
    public bool IsLater { get; init; }

    /// <summary>What its NAME defines.</summary>
    public SymbolKind Defines { get; init; }

    /// <summary>Statements of a lower phase are applied first, so that the order of lines is free: services, then pools, then the rest.</summary>
    internal int Phase => Defines switch { SymbolKind.Service => 0, SymbolKind.Pool => 1, _ => 2 };

    /// <summary>Its first words, up to the first value or choice.</summary>
    public ImmutableArray<string> Words { get; }

    /// <summary>Its name in help: the first words.</summary>
    public string Name => string.Join(' ', Words);

    internal ImmutableArray<SyntaxPart> Parts { get; }

    internal Action<BoundStatement, ConfigurationBuilder> Apply { get; }

    // What stands in brackets behind the mark: one word or several.
    [GeneratedRegex(@" ?\[~[^\]]*\]", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex NotYet();

    private static string Available(string syntax) =>
        string.Join(' ', NotYet().Replace(syntax, "").Split(' ').Select(w => string.Join('|', w.Split('|').Where(x => x.Length == 0 || x[0] != '~'))));
}
