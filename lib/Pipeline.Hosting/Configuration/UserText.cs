using System.Globalization;

namespace Pipeline.Hosting.Configuration;

/// <summary>What somebody wrote, for a message about it.</summary>
internal static class UserText
{
    private const int Longest = 64;

    /// <summary>The text in quotes, without control characters, and no more of it than one can read.</summary>
    public static string Quote(string text) => text.Length <= Longest
        ? $"\"{Escape(text)}\""
        : string.Create(CultureInfo.InvariantCulture, $"\"{Escape(text[..Longest])}…\" ({text.Length} characters)");

    /// <summary>The text in one line, without control characters and surrogates that have lost each other.</summary>
    public static string Escape(string text) =>
        string.Concat(text.EnumerateRunes().Select(rune => IsUnprintable(rune.Value) ? $"\\u{rune.Value:x4}" : rune.ToString()));

    // The replacement stands for what was no character.
    private static bool IsUnprintable(int value) => value is < ' ' or (>= 0x7f and < 0xa0) or 0x2028 or 0x2029 or 0xfffd or (>= 0x202a and <= 0x202e);
}
