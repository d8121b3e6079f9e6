using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Logging;

/// <summary>
/// Loggers that write a line for each message. Whoever logs neither waits for a writer that is slow nor hears of one that fails: what finds no room is
/// skipped, and their number is written.
/// </summary>
internal sealed class TextLoggerFactory : ILoggerFactory
{
    // What a writer that stands still may take of the end of the process.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly UnbreakableWriter _writer;
    private readonly LogLevel _least;
    private readonly LogFormat _format;
    private readonly TimeProvider _time;
    private readonly BoundedLines _lines;
    private readonly Task _writing;

    /// <param name="writer">Where the lines go, written by one thread.</param>
    /// <param name="least">The least level of what is written.</param>
    /// <param name="format">What the lines are.</param>
    /// <param name="time">Where time comes from.</param>
    public TextLoggerFactory(TextWriter writer, LogLevel least, LogFormat format, TimeProvider time)
    {
        _writer = new UnbreakableWriter(writer);
        _least = least;
        _format = format;
        _time = time;
        _lines = new BoundedLines(skipped => (_writer, ToLine(LogLevel.Warning, nameof(TextLoggerFactory), new EventId(1, "Skipped"), [], exception: null, $"{skipped} lines of the log found no room, and were skipped.")));
        _writing = Task.Run(_lines.WriteAllAsync);
    }

    public ILogger CreateLogger(string categoryName) => new TextLogger(this, categoryName[(categoryName.LastIndexOf('.') + 1)..]);

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("These loggers write lines, and nothing else.");

    /// <summary>Writes what is left, if that can be done soon.</summary>
    public void Dispose()
    {
        _lines.Complete();

        // A factory of loggers is disposed of without await; it is not of the library, and its caller is about to end the process.
        _writing.Wait(Patience);
        _writer.Dispose();
    }

    private static string NameOf(LogLevel level) => level switch
    {
        LogLevel.Information => "info",
        LogLevel.Warning => "warn",
        _ => level.ToString().ToLowerInvariant(),
    };

    private string ToLine(
        LogLevel level,
        string category,
        EventId id,
        IReadOnlyList<KeyValuePair<string, object?>> values,
        Exception? exception,
        string message)
    {
        string now = _time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);
        if (_format != LogFormat.Json)
        {
            // What remotes say must not command the terminal.
            return $"{now} {NameOf(level),-5} {category}: {UserText.Escape(message)}{(exception is null ? "" : " " + UserText.Escape(exception.ToString()))}";
        }

        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream))
        {
            json.WriteStartObject();
            json.WriteString("time", now);
            json.WriteString("level", NameOf(level));
            json.WriteString("category", category);
            json.WriteNumber("event_id", id.Id);
            json.WriteString("event", id.Name);
            json.WriteString("message", message);
            json.WriteStartObject("values");
            foreach ((string name, object? value) in values)
            {
                if (name != "{OriginalFormat}")
                {
                    json.WriteString(JsonNamingPolicy.SnakeCaseLower.ConvertName(name), Convert.ToString(value, CultureInfo.InvariantCulture));
                }
            }

            json.WriteEndObject();
            if (exception is not null)
            {
                json.WriteString("exception", exception.ToString());
            }

            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private sealed class TextLogger(TextLoggerFactory factory, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= factory._least && logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
            {
                string line = factory.ToLine(
                    logLevel, category, eventId, state as IReadOnlyList<KeyValuePair<string, object?>> ?? [], exception, formatter(state, exception));
                factory._lines.TryAdd(factory._writer, line, static line => line);
            }
        }
    }
}
