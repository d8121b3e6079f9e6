namespace Pipeline.Diagnostics;

/// <summary>What to listen to in order to see what nodes do, with OpenTelemetry for instance.</summary>
/// <remarks><c>docs/concepts/diagnostics.md</c> lists all instruments and activities.</remarks>
public static class PipelineDiagnostics
{
    /// <summary>The name of the meters. Each node has one of its own, with its id as the tag <c>node_id</c>.</summary>
    public const string MeterName = "Pipeline";

    /// <summary>The name of the activity source that all nodes of the process share.</summary>
    public const string ActivitySourceName = "Pipeline";

    internal static string? Version { get; } = typeof(PipelineDiagnostics).Assembly.GetName().Version?.ToString(3);

    /// <summary>How tags and statuses call a direction.</summary>
    internal static string DirectionOf(bool isOutbound) => isOutbound ? "outbound" : "inbound";
}
