using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Appliance.Control.Model;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>A configuration as a document: its statements in canonical form, and the same as JSON values. The statements can be loaded again.</summary>
public static class ConfigurationDocument
{
    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase), new AsText<IpAddr>(a => a.IsNone ? null : a.ToString()), new AsText<Prefix>(p => p.IsNone ? null : p.ToString()), new AsText<TimeSpan>(Slots.Print) },
    };

    /// <summary>The document.</summary>
    public static JsonObject Of(Configuration configuration)
    {
        var statements = new JsonArray();
        foreach (string line in ConfigurationPrinter.Lines(configuration)) statements.Add(line);
        return new JsonObject { ["statements"] = statements, ["configuration"] = JsonSerializer.SerializeToNode(configuration, Options) };
    }

    private sealed class AsText<T>(Func<T, string?> text) : JsonConverter<T>
    {
        public override T Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => throw new NotSupportedException("a configuration is read from its statements");

        public override void Write(Utf8JsonWriter writer, T value, JsonSerializerOptions options)
        {
            if (text(value) is { } written) writer.WriteStringValue(written);
            else writer.WriteNullValue();
        }
    }
}
