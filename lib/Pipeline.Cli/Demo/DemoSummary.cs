using System.Collections.Immutable;
using System.Text.Json;
using Pipeline.Protocols;

namespace Pipeline.Cli.Demo;

/// <summary>What came of a run.</summary>
/// <param name="End">The figures at its end.</param>
internal sealed record DemoSummary(DemoSnapshot End)
{
    // More would only hide the first ones.
    private const int MostDifferences = 20;

    // A space at which no line is broken.
    private const char Unbreakable = '\u00a0';

    /// <summary>How many messages should have arrived.</summary>
    public required long Expected { get; init; }

    /// <summary>Whether it was interrupted before all had arrived.</summary>
    public required bool IsInterrupted { get; init; }

    /// <summary>Why it ended before all had arrived, in a sentence; null when it did not.</summary>
    public required string? Failure { get; init; }

    /// <summary>What differed, in sentences.</summary>
    public required ImmutableArray<string> Differences { get; init; }

    /// <summary>How many messages of which kind have arrived, most first.</summary>
    public required ImmutableArray<KeyValuePair<string, long>> Kinds { get; init; }

    /// <summary>How many transactions the mempool's messages held.</summary>
    public required long Transactions { get; init; }

    public int ExitCode => (IsIntact, IsInterrupted, IsComplete) switch
    {
        (false, _, _) => Cli.ExitCode.Failure,
        (true, true, _) => Cli.ExitCode.Interrupted,
        (true, false, bool isComplete) => isComplete ? Cli.ExitCode.Success : Cli.ExitCode.Failure,
    };

    // Those that send, and the one that receives.
    private int Nodes => End.Peers.Length + 1;

    private LaneCounts Counts => End.Total.Counts;

    // What has arrived is as it was sent.
    private bool IsIntact => Failure is null && Counts is { OutOfOrder: 0, Corrupt: 0 };

    private bool IsComplete => Counts.Missing == 0 && Counts.Received == Expected;

    /// <summary>
    /// Writes the summary: for people all of it to the output; for programs one JSON object there, and what went wrong to the error.
    /// </summary>
    public async Task WriteAsync(CommandHost host, bool json)
    {
        if (json)
        {
            await host.Output.WriteLineAsync(ToJson());
            await WriteLinesAsync(host.Error, ExitCode == Cli.ExitCode.Failure ? DescribeFailure() : []);
        }
        else
        {
            await WriteLinesAsync(host.Output, Table().Concat(Sentences().SelectMany(Wrap)));
        }
    }

    private static async Task WriteLinesAsync(TextWriter writer, IEnumerable<string> lines)
    {
        foreach (string line in lines)
        {
            await writer.WriteLineAsync(line);
        }
    }

    private IEnumerable<string> DescribeFailure()
    {
        yield return $"Check failed: {Readable.Count(Counts.Received)} of {Readable.Count(Expected)} messages arrived, "
            + $"{Readable.Count(Counts.OutOfOrder)} out of order and {Readable.Count(Counts.Corrupt)} corrupt.";
        foreach (string line in Differences.Take(MostDifferences).Prepend(Failure ?? "").Where(line => line.Length > 0))
        {
            yield return line;
        }

        if (Differences.Length > MostDifferences)
        {
            yield return $"There are {Differences.Length - MostDifferences} differences more.";
        }
    }

    private string ToJson() => JsonSerializer.Serialize(new
    {
        nodes = Nodes,
        messages_expected = Expected,
        messages_received = Counts.Received,
        bytes_received = Counts.Bytes,
        out_of_order = Counts.OutOfOrder,
        corrupt = Counts.Corrupt,
        duration_s = Math.Round(End.Elapsed.TotalSeconds, 3),
        channels = StandardChannels.All.OrderBy(channel => channel.Id).Zip(End.Channels, static (channel, figures) => new
        {
            id = (int)channel.Id,
            name = channel.Name,
            messages = figures.Counts.Received,
            bytes = figures.Counts.Bytes,
            p50_ms = Milliseconds(figures.P50),
            p99_ms = Milliseconds(figures.P99),
        }),
    });

    private IEnumerable<string> Table()
    {
        yield return $"{"",-28}{"messages",10}{"bytes",12}{"p50 ms",12}{"p99 ms",12}";
        foreach (Figures row in End.Channels.Concat(End.Peers).Append(End.Total))
        {
            yield return $"{row.Name,-28}{Readable.Count(row.Counts.Received),10}{Readable.Bytes(row.Counts.Bytes),12}"
                + $"{Readable.Milliseconds(row.P50),12}{Readable.Milliseconds(row.P99),12}";
        }

        yield return "";
    }

    private IEnumerable<string> Sentences()
    {
        if (Kinds is not [])
        {
            string kinds = string.Join(", ", Kinds.Select(kind => $"{Readable.Count(kind.Value)}{Unbreakable}{kind.Key}"));
            yield return $"Parsed: {kinds}; {Readable.Count(Transactions)}{Unbreakable}transactions.";
        }

        double seconds = Math.Max(End.Elapsed.TotalSeconds, 1e-6);
        yield return $"{Nodes} nodes, {Readable.Count(Counts.Received)} messages, {Readable.Bytes(Counts.Bytes)} in {Readable.Seconds(End.Elapsed)}: "
            + $"{Readable.Count(Counts.Received / seconds)} messages/s, {Readable.Bytes(Counts.Bytes / seconds)}/s.";

        IEnumerable<string> verdict = ExitCode switch
        {
            Cli.ExitCode.Success =>
                [$"Check passed: all {Readable.Count(Expected)} messages arrived, in order and byte-identical."],
            Cli.ExitCode.Interrupted =>
                [$"Interrupted: {Readable.Count(Counts.Received)} of {Readable.Count(Expected)} messages had arrived, in order and byte-identical."],
            _ => DescribeFailure(),
        };
        foreach (string sentence in verdict)
        {
            yield return sentence;
        }
    }

    private static IEnumerable<string> Wrap(string text)
    {
        const int width = 80;
        string line = "";
        foreach (string word in text.Split(' '))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                yield return line.Replace(Unbreakable, ' ');
                line = "  " + word;
            }
            else
            {
                line += (line.Length > 0 ? " " : "") + word;
            }
        }

        yield return line.Replace(Unbreakable, ' ');
    }

    private static double? Milliseconds(TimeSpan? latency) => latency is { } value ? Math.Round(value.TotalMilliseconds, 3) : null;
}
