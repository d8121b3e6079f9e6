using System.Text.Json;
using Google.Protobuf;

namespace Pipeline.Cli.Tap.Views;

/// <summary>One JSON object a line, in printable ASCII; <c>event</c> says what it is.</summary>
internal sealed class JsonFormat(TextWriter output) : ITapFormat
{
    private static readonly JsonFormatter Formatter = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    public TextWriter News => output;

    public string Of(HeardMessage message)
    {
        string head = JsonSerializer.Serialize(new
        {
            @event = "message",
            t_us = Microseconds(message.At),
            peer = message.From.Id.ToString(),
            moniker = message.From.Moniker,
            channel = (int)message.Channel.Id,
            channel_name = message.Channel.Name,
            kind = message.Kind,
            bytes = message.Size,
        });
        return TryFormat(message.Message) is { } body ? Printable.Json($"{head[..^1]},\"message\":{body}}}") : Printable.Json(head);
    }

    public string Of(TapNews news) => Printable.Json(JsonSerializer.Serialize(new
    {
        @event = news.Event,
        t_us = Microseconds(news.At),
        peer = news.Node?.Id.ToString(),
        moniker = news.Node?.Moniker,
        text = news.Text,
    }));

    public string Skipped(long messages) => JsonSerializer.Serialize(new { @event = "skipped", messages });

    public string Rates(TapSnapshot now, RateWindow<TapSnapshot> rates)
    {
        return Printable.Json(JsonSerializer.Serialize(new
        {
            @event = "rates",
            t_us = Microseconds(now.Elapsed),
            all = Row(static snapshot => snapshot.Total),
            channels = now.Channels.Select(channel => new
            {
                id = (int)channel.Id,
                name = channel.Name,
                traffic = Row(snapshot => snapshot.OfChannel(channel)),
                kinds = now.KindsOf(channel).ToDictionary(kind => kind, kind => Row(snapshot => snapshot.OfKind(channel, kind))),
            }),
            peers = now.Nodes.Select(node => new { id = node.Id.ToString(), moniker = node.Moniker, traffic = Row(snapshot => snapshot.OfNode(node)) }),
        }));

        object Row(Func<TapSnapshot, Traffic> select)
        {
            (double messages, double bytes) = rates.Of(select);
            Traffic total = select(now);
            return new { messages = total.Messages, bytes = total.Bytes, messages_per_s = Math.Round(messages, 1), bytes_per_s = Math.Round(bytes) };
        }
    }

    public IEnumerable<string> Of(TapResult result)
    {
        TapSnapshot end = result.End;
        yield return Printable.Json(JsonSerializer.Serialize(new
        {
            @event = "summary",
            duration_s = Math.Round(end.Elapsed.TotalSeconds, 3),
            messages = end.Total.Messages,
            bytes = end.Total.Bytes,
            filtered = result.Filtered,
            malformed = result.Malformed,
            skipped = result.Skipped,
            channels = end.Channels.Select(channel => new
            {
                id = (int)channel.Id,
                name = channel.Name,
                traffic = Row(end.OfChannel(channel)),
                kinds = end.KindsOf(channel).ToDictionary(kind => kind, kind => Row(end.OfKind(channel, kind))),
            }),
            peers = end.Nodes.Select(node => new { id = node.Id.ToString(), moniker = node.Moniker, traffic = Row(end.OfNode(node)) }),
            recording = result.Recording is { } recording
                ? new { file = recording.Path, messages = recording.Traffic.Messages, bytes = recording.Traffic.Bytes, ended = recording.Ended }
                : null,
            error = result.Failure,
        }));

        static object Row(Traffic traffic) => new { messages = traffic.Messages, bytes = traffic.Bytes };
    }

    private static long Microseconds(TimeSpan at) => (long)at.TotalMicroseconds;

    // A remote may write what protobuf's JSON has no form for, such as a time in the year 300,000.
    private static string? TryFormat(IMessage? message)
    {
        try
        {
            return message is null ? null : Formatter.Format(message);
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException)
        {
            return null;
        }
    }
}
