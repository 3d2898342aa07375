using System.Text;

namespace Appliance.Control.Model;

/// <summary>Help texts and the reference page of the language, made from the statement table alone.</summary>
public static class StatementHelp
{
    /// <summary>One line per statement.</summary>
    public static string Overview()
    {
        var text = new StringBuilder("Statements (CAPITALS stand for values, [ ] for what may be left out):\n\n");
        foreach (Statement statement in StatementTable.All.Where(s => !s.IsLater))
        {
            text.Append("  ").Append(statement.Syntax).Append('\n').Append("      ").Append(statement.Summary).Append('\n');
        }
        text.Append("\nNot available yet: ").AppendJoin(", ", StatementTable.All.Where(s => s.IsLater).Select(s => s.Name)).Append(".\n");
        return text.Append("`appliance help STATEMENT` says more about one of them.\n").ToString();
    }

    /// <summary>Everything about the statements that begin with <paramref name="words"/>; null, with what may have been meant, if there is none.</summary>
    public static string? Of(IReadOnlyList<string> words, out string? suggestion)
    {
        suggestion = null;
        var text = new StringBuilder();
        foreach (Statement statement in StatementTable.Find(words))
        {
            if (text.Length > 0) text.Append('\n');
            text.Append(statement.Syntax).Append("\n  ").Append(statement.Summary).Append('\n');
            if (statement.IsLater) text.Append("  Not available yet in this version.\n");
            if (statement.Details.Length > 0) text.Append("  ").Append(statement.Details).Append('\n');
            foreach (Slot slot in SlotsOf(statement)) text.Append("    ").Append(slot.Name.PadRight(14)).Append(slot.Description).Append('\n');
            if (statement.Example.Length > 0) text.Append("  Example: ").Append(statement.Example).Append('\n');
        }
        if (text.Length > 0) return text.ToString();
        suggestion = words.Count > 0 ? Suggestion.Nearest(words[0], StatementTable.All.Select(s => s.Words[0])) : null;
        return null;
    }

    /// <summary>The page docs/language.md.</summary>
    public static string Markdown()
    {
        var text = new StringBuilder(Introduction);
        foreach (Statement statement in StatementTable.All.Where(s => !s.IsLater))
        {
            text.Append("\n### ").Append(statement.Name).Append("\n\n    ").Append(statement.Syntax).Append("\n\n").Append(statement.Summary);
            if (statement.Details.Length > 0) text.Append(' ').Append(statement.Details);
            text.Append("\n\nExample: `").Append(statement.Example).Append("`\n");
        }
        text.Append("\n## Values\n\n| value | what it is |\n|---|---|\n");
        foreach (Slot slot in StatementTable.All.SelectMany(SlotsOf).DistinctBy(s => s.Name))
        {
            text.Append("| ").Append(slot.Name).Append(" | ").Append(slot.Description).Append(" |\n");
        }
        text.Append("\n## Not available yet\n\nThese words are known, and refused with a sentence that says so:\n\n");
        foreach (Statement statement in StatementTable.All.Where(s => s.IsLater))
        {
            text.Append("- `").Append(statement.Name).Append("`: ").Append(statement.Summary).Append('\n');
        }
        return text.Append("\nSo are `udp`, `nat`, `direct`, `sticky`, `reflect` and `snat` in a `service` statement.\n").ToString();
    }

    private static IEnumerable<Slot> SlotsOf(Statement statement) => Flatten(statement.Parts).DistinctBy(s => s.Name);

    private static IEnumerable<Slot> Flatten(IEnumerable<SyntaxPart> parts) => parts.SelectMany(p => p switch
    {
        SlotPart slot => [slot.Slot],
        OptionalPart optional => Flatten(optional.Body),
        ChoicePart choice => choice.Alternatives.SelectMany(a => Flatten(a)),
        _ => (IEnumerable<Slot>)[],
    });

    private const string Introduction = """
        # The language

        This page is made from the table of statements in `Appliance.Control/Model/StatementTable.cs`
        by a test; edit the table, not the page. `appliance help STATEMENT` prints the same.

        A configuration is a text file with one statement on a line. Blanks separate words; `#` at the
        beginning of a word starts a comment; a word with blanks in it stands in double quotes, in which
        `\"` and `\\` stand for the character. Keywords are lower case. Names are compared exactly. IPv6 addresses may
        stand wherever IPv4 addresses may. The order of lines matters only among services, pools,
        servers and routes of the same kind; a name may be used before the line that defines it.

        `appliance check FILE` reports all errors at once, each with file, line and column, the line
        itself, a caret, what was probably meant, and the remedy where one is known. Warnings say what
        is legal but surprising. `appliance show config -c FILE` prints the file in its canonical
        form, which is read back as the same configuration.

        ## Statements

        CAPITALS stand for values, `[ ]` for what may be left out, `|` for a choice. Bracketed parts
        that stand together may come in any order.

        """;
}
