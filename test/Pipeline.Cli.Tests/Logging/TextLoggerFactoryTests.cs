using System.Text.Json;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cli.Logging;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Tests.Logging;

[TestFixture]
public sealed partial class TextLoggerFactoryTests
{
    private static readonly FakeTimeProvider Time = new(new DateTimeOffset(2026, 3, 1, 12, 0, 0, 5, TimeSpan.Zero));

    [Test]
    public void People_get_a_line_for_each_message_that_cannot_command_their_terminal()
    {
        string log = Write(LogFormat.Plain, logger => Joined(logger, "ev\u001b[2Jil\n", 7));

        Assert.That(log, Is.EqualTo("2026-03-01T12:00:00.005Z info  Thing: Peer ev\\u001b[2Jil\\u000a joined in 7 ms." + Environment.NewLine));
    }

    [Test]
    public void Programs_get_an_object_with_the_values_of_each_message()
    {
        JsonElement log = JsonElement.Parse(Write(LogFormat.Json, logger => Joined(logger, "a", 7)));

        Assert.That(
            log.GetRawText(),
            Is.EqualTo(
                """{"time":"2026-03-01T12:00:00.005Z","level":"info","category":"Thing","event_id":77,"event":"Joined","""
                + "\"message\":\"Peer a joined in 7 ms.\",\"values\":{\"peer_id\":\"a\",\"milliseconds\":\"7\"}}"));
    }

    [Test]
    public void What_is_below_the_level_is_not_written() =>
        Assert.That(Write(LogFormat.Plain, logger => Joined(logger, "a", 1), LogLevel.Warning), Is.Empty);

    [TestCase(LogFormat.Plain)]
    [TestCase(LogFormat.Json)]
    public void An_exception_is_written_in_the_same_line(LogFormat format)
    {
        string log = Write(format, logger => Broke(logger, new InvalidOperationException("why\nso")));

        Assert.That(log.Trim().Split('\n'), Has.Length.EqualTo(1));
        Assert.That(log, Does.Contain("It broke.").And.Contain("InvalidOperationException").And.Contain("why"));
    }

    [Test, CancelAfter(60_000)]
    public async Task A_command_logs_on_the_error_when_it_is_asked_to(CancellationToken cancellationToken)
    {
        Run silent = await Run.CommandAsync(cancellationToken, "demo", "--speed", "max", "--duration", "10ms", "--json");
        Run run = await Run.CommandAsync(cancellationToken, "demo", "--speed", "max", "--duration", "10ms", "--json", "--log-level", "info");

        Assert.That(silent.Error, Is.Empty);
        Assert.That(run.ErrorLines, Has.Some.Matches(@"^\S+Z info  Switch: Node [0-9a-f]{40} listens on 127\.0\.0\.1:\d+\.\r?$"));
    }

    [Test]
    public void A_log_that_cannot_be_written_breaks_nobody_who_logs()
    {
        using FullDisk disk = new();
        using (TextLoggerFactory factory = new(disk, LogLevel.Information, LogFormat.Plain, Time))
        {
            Assert.That(() => Joined(factory.CreateLogger("Some.Thing"), "a", 7), Throws.Nothing);
        }

        Assert.That(disk.Tries, Is.EqualTo(1));
    }

    private static string Write(LogFormat format, Action<ILogger> write, LogLevel least = LogLevel.Information)
    {
        using StringWriter writer = new();
        using (TextLoggerFactory factory = new(writer, least, format, Time))
        {
            write(factory.CreateLogger("Some.Thing"));
        }

        return writer.ToString();
    }

    [LoggerMessage(77, LogLevel.Information, "Peer {PeerId} joined in {Milliseconds} ms.")]
    private static partial void Joined(ILogger logger, string peerId, int milliseconds);

    [LoggerMessage(78, LogLevel.Error, "It broke.")]
    private static partial void Broke(ILogger logger, Exception exception);

    private sealed class FullDisk : StringWriter
    {
        public int Tries { get; private set; }

        public override void WriteLine(string? value)
        {
            Tries++;
            throw new IOException("No space left on device");
        }
    }
}
