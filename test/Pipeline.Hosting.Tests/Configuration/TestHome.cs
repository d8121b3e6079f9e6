using Pipeline.Hosting.Configuration;

namespace Pipeline.Hosting.Tests.Configuration;

/// <summary>A home folder for one test.</summary>
internal sealed class TestHome : IDisposable
{
    private readonly string _path = Directory.CreateTempSubdirectory("pipeline-home-").FullName;

    public TestHome(string? configuration = null)
    {
        Home = new HomeFolder(_path);
        Directory.CreateDirectory(Path.Combine(_path, "config"));
        if (configuration is not null)
        {
            File.WriteAllText(Home.ConfigurationFile, configuration);
        }
    }

    public HomeFolder Home { get; }


    public string Write(string name, string content)
    {
        string path = Home.Resolve(name);
        File.WriteAllText(path, content);
        return path;
    }

    public NodeConfiguration Load(Dictionary<string, string>? environment = null, Dictionary<string, string>? options = null) =>
        NodeConfiguration.Load(Home, environment ?? [], options);

    /// <summary>What is wrong, with the configuration file's name left out where a message begins with it.</summary>
    public string[] Errors(Dictionary<string, string>? environment = null, Dictionary<string, string>? options = null) =>
        [.. Assert.Throws<ConfigurationException>(() => Load(environment, options))!.Errors.Select(Shortened)];

    public string[] Warnings(Dictionary<string, string>? environment = null) => [.. Load(environment).Warnings.Select(Shortened)];

    public void Dispose() => Directory.Delete(_path, recursive: true);

    private string Shortened(string message) => message.Replace(Home.ConfigurationFile, "config.toml", StringComparison.Ordinal);
}
