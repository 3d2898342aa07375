using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Appliance.Control.Model;

/// <summary>
/// Writes one line per event: `time level component event key=value ... cause="..."`, or the same as
/// one JSON object. Warnings and errors name their cause. Lines of several threads do not mix. What cannot be written is lost,
/// and the next line that can says how many were (`lost`). Not for the packet path.
/// </summary>
public sealed class StructuredLog(TextWriter writer, LogLevel level, bool json = false, TimeProvider? clock = null)
{
    private readonly Lock _lock = new();
    private readonly TimeProvider _clock = clock ?? TimeProvider.System;
    private long _lost;

    /// <summary>True if events of <paramref name="wanted"/> are written.</summary>
    public bool Writes(LogLevel wanted) => wanted <= level;

    /// <summary>Something that only a developer wants to know.</summary>
    public void Debug(string component, string what, params ReadOnlySpan<(string Key, object? Value)> fields) => Write(LogLevel.Debug, component, what, cause: null, fields);

    /// <summary>Something that an operator expects to read.</summary>
    public void Info(string component, string what, params ReadOnlySpan<(string Key, object? Value)> fields) => Write(LogLevel.Info, component, what, cause: null, fields);

    /// <summary>Something is worse than it should be; the box goes on.</summary>
    public void Warning(string component, string what, string cause, params ReadOnlySpan<(string Key, object? Value)> fields) => Write(LogLevel.Warning, component, what, cause, fields);

    /// <summary>Something failed.</summary>
    public void Error(string component, string what, string cause, params ReadOnlySpan<(string Key, object? Value)> fields) => Write(LogLevel.Error, component, what, cause, fields);

    /// <summary>Writes a line if that is possible: a full disk or a terminal that was hung up ends nobody.</summary>
    public static bool TryWriteLine(TextWriter writer, string line)
    {
        try
        {
            writer.WriteLine(line);
            writer.Flush();
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>The line as text.</summary>
    public static string Format(DateTimeOffset time, LogLevel level, string component, string what, string? cause, ReadOnlySpan<(string Key, object? Value)> fields)
    {
        var line = new StringBuilder();
        line.Append(Time(time)).Append(' ').Append(BoxStatements.Name(level)).Append(' ').Append(component).Append(' ').Append(what);
        foreach ((string key, object? value) in fields) line.Append(' ').Append(key).Append('=').Append(Quote(Text(value)));
        if (cause is not null) line.Append(" cause=").Append(Quote(cause, always: true));
        return line.ToString();
    }

    /// <summary>The line as a JSON object; numbers and truth values stay what they are.</summary>
    public static string FormatJson(DateTimeOffset time, LogLevel level, string component, string what, string? cause, ReadOnlySpan<(string Key, object? Value)> fields)
    {
        var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("time", Time(time));
            json.WriteString("level", BoxStatements.Name(level));
            json.WriteString("component", component);
            json.WriteString("event", what);
            foreach ((string key, object? value) in fields)
            {
                json.WritePropertyName(key);
                WriteValue(json, value);
            }
            if (cause is not null) json.WriteString("cause", cause);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    private void Write(LogLevel wanted, string component, string what, string? cause, ReadOnlySpan<(string Key, object? Value)> fields)
    {
        if (!Writes(wanted)) return;
        DateTimeOffset now = _clock.GetUtcNow();
        lock (_lock)
        {
            if (_lost > 0) fields = ((string, object?)[])[.. fields, ("lost", _lost)];
            string line = json ? FormatJson(now, wanted, component, what, cause, fields) : Format(now, wanted, component, what, cause, fields);
            _lost = TryWriteLine(writer, line) ? 0 : _lost + 1;
        }
    }

    private static void WriteValue(Utf8JsonWriter json, object? value)
    {
        switch (value)
        {
            case bool truth:
                json.WriteBooleanValue(truth);
                break;
            case double number when double.IsFinite(number):
                json.WriteNumberValue(number);
                break;
            case ulong number:
                json.WriteNumberValue(number);
                break;
            case byte or short or ushort or int or uint or long:
                json.WriteNumberValue(Convert.ToInt64(value, CultureInfo.InvariantCulture));
                break;
            default:
                json.WriteStringValue(Text(value));
                break;
        }
    }

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    private static string Text(object? value) => value switch
    {
        null => "none",
        bool truth => truth ? "true" : "false",
        _ => Convert.ToString(value, CultureInfo.InvariantCulture) ?? "none",
    };

    private static string Quote(string text, bool always = false)
    {
        if (!always && text.Length > 0 && text.All(c => c > ' ' && c is not ('"' or '\\' or '=') && !char.IsControl(c))) return text;
        var quoted = new StringBuilder("\"");
        foreach (char c in text)
        {
            if (c is '"' or '\\') quoted.Append('\\').Append(c);
            else if (c == '\n') quoted.Append("\\n");
            else quoted.Append(char.IsControl(c) ? '?' : c);
        }
        return quoted.Append('"').ToString();
    }
}
