using System.Collections.Frozen;
using System.Text.Json;

namespace Pipeline.Diagnostics;

/// <summary>How tags call the values of an enum: <c>protocol_violation</c>.</summary>
internal static class SnakeCase<TEnum>
    where TEnum : struct, Enum
{
    private static readonly FrozenDictionary<TEnum, string> Names =
        Enum.GetValues<TEnum>().ToFrozenDictionary(value => value, value => JsonNamingPolicy.SnakeCaseLower.ConvertName(value.ToString()));

    // A value that the enum does not have may come from a user's cast.
    public static string Of(TEnum value) => Names.GetValueOrDefault(value, "unknown");
}
