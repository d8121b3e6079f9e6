using Pipeline.Hosting.Configuration;

namespace Pipeline.Hosting.Tests.Configuration;

[TestFixture]
public sealed class HomeFolderTests
{
    [Test]
    public void The_folder_asked_for_counts_more_than_the_variables()
    {
        Dictionary<string, string> environment = new() { ["PIPELINE_HOME"] = "/variable" };

        Assert.That(HomeFolder.Find("/asked", environment).Path, Is.EqualTo(Path.GetFullPath("/asked")));
        Assert.That(HomeFolder.Find(null, environment).Path, Is.EqualTo(Path.GetFullPath("/variable")));
        Assert.That(HomeFolder.Find(null, new Dictionary<string, string> { ["PIPELINE_HOME"] = "" }).Path, Does.EndWith(".pipeline"));
    }

    [Test]
    public void Paths_are_relative_to_the_folder()
    {
        HomeFolder home = new("/home");

        Assert.That(home.Resolve("config/a"), Is.EqualTo(Path.GetFullPath("/home/config/a")));
        Assert.That(home.Resolve("/elsewhere/a"), Is.EqualTo(Path.GetFullPath("/elsewhere/a")));
    }

    [TestCase("")]
    [TestCase(" ")]
    [TestCase("a\0b")]
    public void What_cannot_be_a_folder_is_refused(string path) =>
        Assert.That(() => new HomeFolder(path), Throws.TypeOf<ConfigurationException>().With.Message.Contains("~/.pipeline"));

    [Test]
    public void A_file_is_refused()
    {
        using TestHome home = new("");

        Assert.That(() => new HomeFolder(home.Home.ConfigurationFile), Throws.TypeOf<ConfigurationException>().With.Message.Contains("is a file"));
    }
}
