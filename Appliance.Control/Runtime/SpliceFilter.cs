using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>A request that cannot be answered; the message is one sentence for the operator.</summary>
public sealed class ShowException : Exception
{
    /// <summary>With the sentence.</summary>
    public ShowException(string message) : base(message)
    {
    }

    /// <summary>With the sentence and what led to it.</summary>
    public ShowException(string message, Exception inner) : base(message, inner)
    {
    }

    /// <summary>Without a sentence; for serialisers only.</summary>
    public ShowException()
    {
    }
}

/// <summary>
/// Which splices to show: all of client=ADDRESS, real=ADDRESS, service=NAME, state=STATE that are given, separated
/// by blanks or commas. A part that is not given matches everything.
/// </summary>
public sealed record SpliceFilter(IpAddr Client, IpAddr Real, string? Service, SpliceState State)
{
    /// <summary>Matches everything.</summary>
    public static SpliceFilter All { get; } = new(default, default, null, SpliceState.Free);

    /// <summary>Reads the text.</summary>
    /// <exception cref="ShowException">It is not a filter.</exception>
    public static SpliceFilter Parse(string? text)
    {
        SpliceFilter filter = All;
        foreach (string part in (text ?? "").Split([' ', ','], StringSplitOptions.RemoveEmptyEntries))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string name = equals < 0 ? part : part[..equals], value = equals < 0 ? "" : part[(equals + 1)..];
            filter = name switch
            {
                "client" => filter with { Client = Address(value) },
                "real" => filter with { Real = Address(value) },
                "service" when value.Length > 0 => filter with { Service = value },
                "state" => filter with { State = StateOf(value) },
                _ => throw new ShowException($"'{part}' does not filter splices: client=ADDRESS, real=ADDRESS, service=NAME and state=STATE do"),
            };
        }
        return filter;
    }

    /// <summary>True if a record is to be shown; <paramref name="service"/> is the name of its service.</summary>
    public bool Matches(in SpliceRecord record, string service) =>
        (Client.IsNone || record.Client == Client) && (Real.IsNone || record.Real == Real)
        && (Service is null || service == Service) && (State == SpliceState.Free || record.State == State);

    private static IpAddr Address(string text) =>
        IpAddr.TryParse(text, out IpAddr address) && !address.IsNone ? address : throw new ShowException($"'{text}' is not an address");

    private static SpliceState StateOf(string text)
    {
        foreach (SpliceState state in Enum.GetValues<SpliceState>())
        {
            if (state != SpliceState.Free && string.Equals(text.Replace("-", "", StringComparison.Ordinal), state.ToString(), StringComparison.OrdinalIgnoreCase)) return state;
        }
        throw new ShowException($"'{text}' is not a state: established, half-closed, time-wait and reset are");
    }
}
