using System.Text;
using System.Text.Json.Nodes;

namespace Appliance.Control.Runtime;

/// <summary>
/// Renders any document of <see cref="ShowService"/> as text: values one below the other,
/// lists of objects as tables with a column per property, lists of words as lines. Cells that hold
/// more than a value are left to --json. Where lines have too little room for a table's row, it goes on in further lines,
/// indented, and its head does the same; only a cell that is too long by itself is broken, between words. A configuration is its statements and nothing else, so that it can be loaded again.
/// </summary>
public static class ShowText
{
    private const string Gap = "  ", Indent = "    ";

    /// <summary>The text, each line ended by a line feed, with tables that fit <paramref name="width"/> characters if that can be.</summary>
    public static string Render(JsonObject document, int width = int.MaxValue)
    {
        var text = new StringBuilder();
        if (document["statements"] is JsonArray statements)
        {
            foreach (JsonNode? line in statements) text.Append(Cell(line)).Append('\n');
            return text.ToString();
        }
        Pairs(text, document, indent: "");
        foreach ((string name, JsonNode? part) in document)
        {
            if (part is JsonArray rows) Table(text.Append('\n'), name, rows, width);
            if (part is not JsonObject group) continue;
            text.Append('\n').Append(Spaced(name, ' ')).Append(":\n");
            if (group.Count == 0) text.Append("  none\n");
            Pairs(text, group, indent: "  ");
        }
        return text.ToString();
    }

    /// <summary>A sentence if the document is a page beyond the last one of its table.</summary>
    public static string? PageProblem(JsonObject document)
    {
        if (document["page"]?.GetValue<long>() is not { } page || document["pages"]?.GetValue<long>() is not { } pages || page <= pages) return null;
        return $"there is no page {page}: the splices that match ({document["matching"]}) have {(pages == 1 ? "1 page" : $"{pages} pages")}";
    }

    /// <summary>"camelCase" or "PascalCase" as lower-case words.</summary>
    public static string Spaced(string name, char between)
    {
        var text = new StringBuilder();
        foreach (char c in name)
        {
            if (char.IsUpper(c) && text.Length > 0) text.Append(between);
            text.Append(char.ToLowerInvariant(c));
        }
        return text.ToString();
    }

    private static void Pairs(StringBuilder text, JsonObject values, string indent)
    {
        List<(string Name, string Value)> pairs = [.. values.Where(p => IsCell(p.Value)).Select(p => (Spaced(p.Key, ' '), Cell(p.Value)))];
        int width = pairs.Count == 0 ? 0 : pairs.Max(p => p.Name.Length);
        foreach ((string name, string value) in pairs) text.Append(indent).Append(name.PadRight(width)).Append("  ").Append(value).Append('\n');
    }

    private static void Table(StringBuilder text, string title, JsonArray rows, int width)
    {
        if (rows.Count == 0)
        {
            text.Append("no ").Append(Spaced(title, ' ')).Append('\n');
            return;
        }
        string[] names = [.. rows.OfType<JsonObject>().SelectMany(r => r.Where(p => IsCell(p.Value)).Select(p => p.Key)).Distinct(StringComparer.Ordinal)];
        List<string[]> lines = [[.. names.Select(n => Spaced(n, '-'))], .. rows.OfType<JsonObject>().Select(r => names.Select(n => Cell(r[n])).ToArray())];
        bool[] right = [.. names.Select(n => rows.OfType<JsonObject>().All(r => r[n] is null or JsonValue { } && (r[n] is null || r[n]!.GetValueKind() == System.Text.Json.JsonValueKind.Number)))];
        int[] widths = [.. names.Select((_, i) => lines.Max(l => l[i].Length))];
        List<Range> folds = Fold(widths, width);
        foreach (string[] line in lines)
        {
            foreach (Range fold in folds)
            {
                (int first, int end) = (fold.Start.Value, fold.End.Value);
                string indent = first == 0 ? "" : Indent;
                string joined = indent + string.Join(Gap, Enumerable.Range(first, end - first).Select(i => right[i] ? line[i].PadLeft(widths[i]) : line[i].PadRight(widths[i])));
                Wrap(text, joined.TrimEnd(), width);
            }
        }
    }

    // Which columns stand together in a line: as many as there is room for.
    private static List<Range> Fold(int[] widths, int width)
    {
        List<Range> folds = [];
        int first = 0, used = 0;
        for (int i = 0; i < widths.Length; i++)
        {
            if (i > first && used + Gap.Length + widths[i] > width)
            {
                folds.Add(first..i);
                (first, used) = (i, Indent.Length);
            }
            used += widths[i] + (i == first ? 0 : Gap.Length);
        }
        folds.Add(first..widths.Length);
        return folds;
    }

    private static void Wrap(StringBuilder text, string line, int width)
    {
        while (line.Length > width)
        {
            int blank = line.LastIndexOf(' ', Math.Max(0, width));
            if (blank <= Indent.Length || line[..blank].Trim().Length == 0) break;
            text.Append(line.AsSpan(0, blank).TrimEnd()).Append('\n');
            line = Indent + line[blank..].TrimStart();
        }
        text.Append(line).Append('\n');
    }

    private static bool IsCell(JsonNode? node) => node is null or JsonValue;

    private static string Cell(JsonNode? node) => node is null ? "-" : node.ToString();
}
