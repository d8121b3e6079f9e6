using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Logging;

/// <summary>Loggers that write a line for each message.</summary>
/// <param name="writer">Where the lines go. Whole lines are written, by one thread; whoever logs never waits for them.</param>
/// <param name="least">The least level of what is written.</param>
/// <param name="format">What the lines are.</param>
/// <param name="time">Where time comes from.</param>
internal sealed class TextLoggerFactory(TextWriter writer, LogLevel least, LogFormat format, TimeProvider time) : ILoggerFactory
{
    private readonly LineQueue _lines = new(writer);

    public ILogger CreateLogger(string categoryName) => new TextLogger(this, categoryName[(categoryName.LastIndexOf('.') + 1)..]);

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("These loggers write lines, and nothing else.");

    public void Dispose() => _lines.Dispose();

    private static string NameOf(LogLevel level) => level switch
    {
        LogLevel.Information => "info",
        LogLevel.Warning => "warn",
        _ => level.ToString().ToLowerInvariant(),
    };

    private sealed class TextLogger(TextLoggerFactory factory, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= factory.Least && logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (!IsEnabled(logLevel))
            {
                return;
            }

            string message = formatter(state, exception);
            factory.Write(factory.IsJson
                ? ToJson(logLevel, eventId, state as IReadOnlyList<KeyValuePair<string, object?>> ?? [], exception, message)
                // What remotes say must not command the terminal.
                : $"{factory.Now()} {NameOf(logLevel),-5} {category}: {UserText.Escape(message)}{(exception is null ? "" : " " + UserText.Escape(exception.ToString()))}");
        }

        private string ToJson(LogLevel level, EventId id, IReadOnlyList<KeyValuePair<string, object?>> values, Exception? exception, string message)
        {
            using MemoryStream stream = new();
            using (Utf8JsonWriter json = new(stream))
            {
                json.WriteStartObject();
                json.WriteString("time", factory.Now());
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
    }

    private LogLevel Least => least;

    private bool IsJson => format == LogFormat.Json;

    private string Now() => time.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    private void Write(string line) => _lines.Add(line);
}
