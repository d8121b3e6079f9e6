namespace Pipeline.Cli.Demo;

/// <summary>When recorded messages are sent again.</summary>
/// <param name="Speed">How many times as fast as they were recorded; <see cref="Max"/> for as fast as the receiver takes them.</param>
/// <param name="Duration">After how long nothing is sent any more; null when all is to be sent.</param>
internal sealed record ReplayPace(double Speed, TimeSpan? Duration)
{
    /// <summary>The speed at which everything is due at once.</summary>
    public const double Max = double.PositiveInfinity;

    /// <summary>The slowest speed that is not <see cref="Max"/>.</summary>
    public const double SlowestSpeed = 0.001;

    /// <summary>The fastest speed that is not <see cref="Max"/>.</summary>
    public const double FastestSpeed = 1_000_000;

    /// <summary>When what was recorded <paramref name="at"/> is due, since the start of the replay.</summary>
    public TimeSpan DueAt(TimeSpan at) => at / Speed;

    /// <summary>Whether it is too late to send anything <paramref name="elapsed"/> after the start.</summary>
    public bool IsOver(TimeSpan elapsed) => elapsed >= Duration;
}
