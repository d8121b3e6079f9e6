using CsCheck;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Hosting.Tests.Configuration;

[TestFixture]
public sealed class ConfigurationTemplateTests
{
    [Test]
    public void A_new_file_says_what_the_defaults_are()
    {
        using TestHome home = new(ConfigurationTemplate.Write(new Dictionary<string, string>()));

        NodeConfiguration configuration = home.Load();

        Assert.That(configuration.Warnings, Is.Empty);
        Assert.That(configuration.Values.Select(value => value.Text), Is.EqualTo(ConfigurationKey.All.Select(key => key.Default)));
        Assert.That(configuration.Values.Select(value => value.Origin.Source), Is.All.EqualTo(ConfigurationSource.File));
    }

    [Test]
    public void A_new_file_fits_on_a_screen_and_explains_each_key()
    {
        string[] lines = ConfigurationTemplate.Write(new Dictionary<string, string>()).Split('\n');

        Assert.That(lines.Where(line => line.StartsWith('#')), Is.All.Length.LessThanOrEqualTo(100));
        Assert.That(lines.Count(line => line.Contains(" = ", StringComparison.Ordinal)), Is.EqualTo(ConfigurationKey.All.Length));
    }

    [Test]
    public void What_is_written_is_read_again() =>
        Gen.Select(
            Gen.String[Gen.Char[' ', '~'], 1, 30].Where(text => !string.IsNullOrWhiteSpace(text)),
            Gen.Int[0, 3].Select(index => new[] { "0", "+7", "007", "5120000" }[index]),
            Gen.Int[0, 2].Select(index => new[] { "true", "F", "1" }[index]),
            Gen.Char.Array[1, 20].Select(text => new string(text)).Where(text => !text.Any(char.IsSurrogate) && !string.IsNullOrWhiteSpace(text) && !text.Contains('\0')))
        .Sample(
            (moniker, rate, pex, file) =>
            {
                Dictionary<string, string> values = new() { ["moniker"] = moniker, ["p2p.send_rate"] = rate, ["p2p.pex"] = pex, ["p2p.ban_file"] = file };
                TomlFile written = TomlFile.Parse("f", ConfigurationTemplate.Write(values));
                Assert.That(written.Errors, Is.Empty);
                Assert.That(values.Keys.Select(key => written.Entries.Single(entry => entry.Name == key).Text), Is.EqualTo(values.Values));
            },
            iter: 300);
}
