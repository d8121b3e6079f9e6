namespace Pipeline.Cli.Tap;

/// <summary>What came of listening.</summary>
/// <param name="End">The figures at its end.</param>
/// <param name="ExitCode">See <see cref="Cli.ExitCode"/>.</param>
internal sealed record TapResult(TapSnapshot End, int ExitCode)
{
    /// <summary>Why it ended before it should, in a sentence; null when it did not.</summary>
    public string? Failure { get; init; }

    /// <summary>Messages that the filters left out.</summary>
    public long Filtered { get; init; }

    /// <summary>Messages that were counted, and recorded, and not shown because the output is too slow.</summary>
    public long Skipped { get; init; }

    /// <summary>The recording, if there is one.</summary>
    public RecordingResult? Recording { get; init; }

    /// <summary>Messages that cannot be read; a recording does not have them.</summary>
    public long Malformed => End.Rows.Where(row => row.Key.Kind == HeardMessage.Malformed).Sum(row => row.Value.Messages);
}

/// <summary>What came of a recording.</summary>
/// <param name="Path">The file.</param>
/// <param name="Traffic">What it holds.</param>
/// <param name="Ended">Why it ended before the listening did, in a sentence; null when it did not.</param>
internal sealed record RecordingResult(string Path, Traffic Traffic, string? Ended);
