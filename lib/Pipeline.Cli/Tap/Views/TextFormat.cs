using System.Globalization;

namespace Pipeline.Cli.Tap.Views;

/// <summary>Lines for people. What remotes wrote is made fit for a terminal.</summary>
internal sealed class TextFormat(TextWriter news) : ITapFormat
{
    private const int MostCharacters = 300;

    public TextWriter News => news;

    public string Of(HeardMessage message)
    {
        string summary = message.Message is { } readable ? MessageSummary.Of(readable) : $"not a message of channel {message.Channel}";
        return $"{Seconds(message.At)}  {message.From.Name,-25}  {message.Channel.Name,-15}  {message.Kind,-17}  {Readable.Bytes(message.Size),8}"
            + (summary.Length == 0 ? "" : $"  {Printable.Of(summary, MostCharacters)}");
    }

    public string Of(TapNews news) => $"{Seconds(news.At)}  {(news.Node is { } node ? $"{node.Name}: " : "")}{Printable.Of(news.Text, MostCharacters)}";

    public string Skipped(long messages) =>
        $"{Readable.Count(messages)} messages are not shown: they come faster than the output takes them. They are counted, and recorded if there is a recording.";

    public string Rates(TapSnapshot now, RateWindow<TapSnapshot> rates)
    {
        (double messages, double bytes) = rates.Of(static snapshot => snapshot.Total);
        string channels = string.Join(
            ", ",
            now.Channels.Select(channel => $"{channel.Name} {Readable.Count(rates.Of(snapshot => snapshot.OfChannel(channel)).Messages)}"));
        return $"{Seconds(now.Elapsed)}  {Readable.Count(now.Total.Messages)} messages, {Readable.Bytes(now.Total.Bytes)}; "
            + $"{Readable.Count(messages)} messages/s, {Readable.Bytes(bytes)}/s{(channels.Length == 0 ? "" : ": ")}{channels}";
    }

    public IEnumerable<string> Of(TapResult result)
    {
        TapSnapshot end = result.End;
        yield return "";
        yield return $"{"",-32}{"messages",10}{"bytes",12}";
        foreach ((string name, Traffic traffic) in Rows(end))
        {
            yield return $"{name,-32}{Readable.Count(traffic.Messages),10}{Readable.Bytes(traffic.Bytes),12}";
        }

        yield return "";
        double seconds = Math.Max(end.Elapsed.TotalSeconds, 1e-6);
        yield return $"{Readable.Count(end.Total.Messages)} messages, {Readable.Bytes(end.Total.Bytes)} in {Readable.Seconds(end.Elapsed)}: "
            + $"{Readable.Count(end.Total.Messages / seconds)} messages/s, {Readable.Bytes(end.Total.Bytes / seconds)}/s.";
        foreach (string sentence in Sentences(result))
        {
            yield return sentence;
        }
    }

    /// <summary>The rows of a table of traffic: channels with their kinds, the nodes, and all.</summary>
    public static IEnumerable<(string Name, Traffic Traffic)> Rows(TapSnapshot snapshot) =>
    [
        .. snapshot.Channels.SelectMany(channel => snapshot.KindsOf(channel)
            .Select(kind => ($"  {kind}", snapshot.OfKind(channel, kind)))
            .Prepend((channel.ToString(), snapshot.OfChannel(channel)))),
        .. snapshot.Nodes.Select(node => (node.Name, snapshot.OfNode(node))),
        ("all", snapshot.Total),
    ];

    private static IEnumerable<string> Sentences(TapResult result)
    {
        if (result.Filtered > 0)
        {
            yield return $"The filters left out {Readable.Count(result.Filtered)} more.";
        }

        if (result.Malformed > 0)
        {
            yield return $"{Readable.Count(result.Malformed)} could not be read{(result.Recording is null ? "" : ", and are not recorded")}.";
        }

        if (result.Skipped > 0)
        {
            yield return $"{Readable.Count(result.Skipped)} were not shown, because the output was too slow.";
        }

        if (result.Recording is { } recording)
        {
            yield return $"Recorded {Readable.Count(recording.Traffic.Messages)} messages, {Readable.Bytes(recording.Traffic.Bytes)}, to {Printable.Of(recording.Path)}.";
        }

        if (result.Recording?.Ended is { } ended && result.Failure is null)
        {
            yield return Printable.Of(ended);
        }
    }

    private static string Seconds(TimeSpan at) => at.TotalSeconds.ToString("0.000", CultureInfo.InvariantCulture).PadLeft(9);
}
