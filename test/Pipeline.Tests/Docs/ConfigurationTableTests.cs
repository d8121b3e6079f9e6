using Pipeline.Hosting.Configuration;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Docs;

public sealed class ConfigurationTableTests
{
    [Test]
    public void The_documentation_lists_the_keys_that_there_are() =>
        Accepted.AssertSection(
            "docs/operating.md",
            "<!-- keys -->",
            "<!-- end of keys -->",
            [
                "| key | default | values | what it is for |",
                "|---|---|---|---|",
                .. ConfigurationKey.All.Select(key => $"| `{key.Name}` | {Default(key)} | {key.Expected} | {key.Description} |"),
            ]);

    private static string Default(ConfigurationKey key) =>
        key.DocumentedDefault != key.Default ? key.DocumentedDefault : key.Default.Length == 0 ? "empty" : $"`{key.Default}`";
}
