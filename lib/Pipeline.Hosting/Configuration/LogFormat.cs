namespace Pipeline.Hosting.Configuration;

/// <summary>What the lines of a log are.</summary>
public enum LogFormat
{
    /// <summary>Text for people.</summary>
    Plain,

    /// <summary>A JSON object each.</summary>
    Json,
}
