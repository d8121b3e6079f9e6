namespace Pipeline.Cli.Tap.Views;

/// <summary>How things are written in lines.</summary>
internal interface ITapFormat
{
    /// <summary>Where news and what was skipped goes; messages, rates and the summary go to the output.</summary>
    TextWriter News { get; }

    string Of(HeardMessage message);

    string Of(TapNews news);

    /// <summary>That so many messages were not shown.</summary>
    string Skipped(long messages);

    /// <summary>How much comes at this moment.</summary>
    string Rates(TapSnapshot now, RateWindow<TapSnapshot> rates);

    /// <summary>The lines at the end.</summary>
    IEnumerable<string> Of(TapResult result);
}
