namespace Pipeline.Cli;

/// <summary>A remote's words on their way to a terminal, which must not take them for commands.</summary>
internal static class Printable
{
    /// <summary>The text with everything but printable ASCII and the ellipsis written as <c>\u001b</c>; a dash for no text.</summary>
    public static string Of(string text) => text.Length == 0 ? "-" : Escape(text);

    /// <summary>The same, no longer than <paramref name="most"/> characters, at least 1; one that was cut ends with an ellipsis.</summary>
    public static string Of(string text, int most)
    {
        // What is cut away need not be written.
        string shown = Of(text.Length > most ? text[..most] : text);
        return shown.Length > most || text.Length > most ? shown[..(most - 1)] + "…" : shown;
    }

    /// <summary>JSON text with everything but printable ASCII escaped, which means the same.</summary>
    public static string Json(string json) => json.AsSpan().ContainsAnyExceptInRange(' ', '~') ? string.Concat(json.Select(Escape)) : json;

    private static string Escape(string text) => string.Concat(text.Select(c => c == '…' ? "…" : Escape(c)));

    private static string Escape(char c) => c is >= ' ' and <= '~' ? c.ToString() : $"\\u{(int)c:x4}";
}
