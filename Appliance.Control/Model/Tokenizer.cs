using System.Text;

namespace Appliance.Control.Model;

/// <summary>One word of a line. A quoted one is never a keyword.</summary>
public readonly record struct Token(string Text, SourceSpan Span, bool Quoted);

/// <summary>
/// Splits a line into words: blanks separate, `#` at the start of a word begins a comment, double
/// quotes hold a word with blanks in which \" and \\ stand for the character. Never throws.
/// </summary>
public static class Tokenizer
{
    /// <summary>Longest line, in characters.</summary>
    public const int MaxLine = 1000;

    /// <summary>The words of <paramref name="line"/>; false if an error was reported and the line is of no use.</summary>
    public static bool TrySplit(string line, int number, DiagnosticBag diagnostics, out List<Token> tokens)
    {
        tokens = [];
        if (line.Length > MaxLine)
        {
            diagnostics.Error(new SourceSpan(number, MaxLine + 1, 1), "the line is longer than 1,000 characters");
            return false;
        }
        int bad = IndexOfControl(line);
        if (bad >= 0)
        {
            diagnostics.Error(new SourceSpan(number, bad + 1, 1), $"control character U+{(int)line[bad]:X4}", "only printable characters, blanks and tabs may stand in a configuration");
            return false;
        }
        int at = 0;
        while (true)
        {
            while (at < line.Length && line[at] is ' ' or '\t') at++;
            if (at >= line.Length || line[at] == '#') return true;
            if (line[at] != '"')
            {
                int start = at;
                while (at < line.Length && line[at] is not (' ' or '\t')) at++;
                tokens.Add(new Token(line[start..at], new SourceSpan(number, start + 1, at - start), Quoted: false));
            }
            else if (!TryQuoted(line, number, ref at, diagnostics, tokens))
            {
                return false;
            }
        }
    }

    /// <summary>True if <paramref name="text"/> must be quoted to be read back as one word that means itself.</summary>
    public static bool NeedsQuotes(string text) =>
        text.Length == 0 || text[0] is '#' or '"' || text.AsSpan().IndexOfAny(" \t\"\\") >= 0;

    /// <summary>The word as it must stand in a file.</summary>
    public static string Quote(string text) =>
        NeedsQuotes(text) ? "\"" + text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + "\"" : text;

    private static bool TryQuoted(string line, int number, ref int at, DiagnosticBag diagnostics, List<Token> tokens)
    {
        int start = at++;
        var text = new StringBuilder();
        while (at < line.Length && line[at] != '"')
        {
            if (line[at] == '\\' && at + 1 < line.Length && line[at + 1] is '"' or '\\') at++;
            text.Append(line[at++]);
        }
        if (at >= line.Length)
        {
            diagnostics.Error(new SourceSpan(number, start + 1, line.Length - start), "the quotation mark is not closed");
            return false;
        }
        at++;
        if (at < line.Length && line[at] is not (' ' or '\t'))
        {
            diagnostics.Error(new SourceSpan(number, at + 1, 1), "a blank must follow the closing quotation mark");
            return false;
        }
        tokens.Add(new Token(text.ToString(), new SourceSpan(number, start + 1, at - start), Quoted: true));
        return true;
    }

    private static int IndexOfControl(string line)
    {
        for (int i = 0; i < line.Length; i++)
        {
            if (char.IsControl(line[i]) && line[i] != '\t') return i;
        }
        return -1;
    }
}
