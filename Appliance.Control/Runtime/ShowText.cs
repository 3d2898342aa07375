using System.Text;
using System.Text.Json.Nodes;

namespace Appliance.Control.Runtime;

/// <summary>
/// Renders any document of <see cref="ShowService"/> as text: values one below the other,
/// lists of objects as tables with a column per property, lists of words as lines. Cells that hold
/// more than a value are left to --json. A configuration is its statements and nothing else, so that it can be loaded again.
/// </summary>
public static class ShowText
{
    /// <summary>The text, each line ended by a line feed.</summary>
    public static string Render(JsonObject document)
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
            if (part is JsonArray rows) Table(text.Append('\n'), name, rows);
            if (part is not JsonObject group) continue;
            text.Append('\n').Append(Spaced(name, ' ')).Append(":\n");
            if (group.Count == 0) text.Append("  none\n");
            Pairs(text, group, indent: "  ");
        }
        return text.ToString();
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

    private static void Table(StringBuilder text, string title, JsonArray rows)
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
        foreach (string[] line in lines)
        {
            string joined = string.Join("  ", line.Select((cell, i) => right[i] ? cell.PadLeft(widths[i]) : cell.PadRight(widths[i])));
            text.Append(joined.TrimEnd()).Append('\n');
        }
    }

    private static bool IsCell(JsonNode? node) => node is null or JsonValue;

    private static string Cell(JsonNode? node) => node is null ? "-" : node.ToString();
}
