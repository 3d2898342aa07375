using System.CommandLine;
using System.CommandLine.Parsing;

namespace Appliance.Commands;

/// <summary>What several commands ask of their arguments.</summary>
internal static class Arguments
{
    /// <summary>Refuses what looks like an option: a mistyped option must not become the name of a file.</summary>
    public static Argument<T> WithoutOptions<T>(this Argument<T> argument)
    {
        argument.Validators.Add(result =>
        {
            foreach (Token token in result.Tokens.Where(t => t.Value.StartsWith('-')))
                result.AddError($"Unrecognized option '{token.Value}'.");
        });
        return argument;
    }
}
