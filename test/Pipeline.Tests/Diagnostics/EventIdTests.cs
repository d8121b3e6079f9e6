using System.Reflection;
using Microsoft.Extensions.Logging;
using Pipeline.Diagnostics;
using Pipeline.Protocols;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Diagnostics;

/// <summary>Holds the ids of log messages of the libraries, which operators filter by.</summary>
public sealed class EventIdTests
{
    private static readonly (MethodInfo Method, LoggerMessageAttribute Event)[] Events =
    [
        .. from library in (Assembly[])[typeof(PipelineDiagnostics).Assembly, typeof(StandardChannels).Assembly]
           from type in library.GetTypes()
           from method in type.GetMethods(BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly)
           let attribute = method.GetCustomAttribute<LoggerMessageAttribute>()
           where attribute is not null
           orderby attribute.EventId
           select (method, attribute),
    ];

    [Test]
    public void Every_log_message_has_an_id_of_its_own()
    {
        Assert.That(Events.Select(log => log.Event.EventId), Is.Unique.And.All.Positive);
        Assert.That(Events.Select(log => log.Method.DeclaringType!.Name), Is.All.EndsWith("Log").And.Some.EqualTo("SwitchLog"));
    }

    [Test]
    public void The_documentation_lists_the_log_messages_that_there_are() =>
        Accepted.AssertSection(
            "docs/concepts/diagnostics.md",
            "<!-- events -->",
            "<!-- end of events -->",
            [
                "| id | level | event | message |",
                "|---|---|---|---|",
                .. Events.Select(log => $"| {log.Event.EventId} | {log.Event.Level} | `{log.Method.Name}` | {log.Event.Message} |"),
            ]);
}
