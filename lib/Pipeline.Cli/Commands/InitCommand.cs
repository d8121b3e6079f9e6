using System.CommandLine;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline init</c>: makes a node's home folder, and leaves what is in it already.</summary>
internal static class InitCommand
{
    // As the reference makes its folders: they hold keys.
    private const UnixFileMode FolderMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    public static Command Create(CommandHost host, CommonOptions common)
    {
        ConfigurationOptions options = new(host, common);
        return options.Configure(
            new Command("init", "Make a home folder with a configuration and a node key. What is there already stays as it is. Keys that are given as options go into the new file."),
            async (configuration, arguments, cancellationToken) =>
            {
                try
                {
                    Dictionary<string, string> said = options.Read(arguments);
                    MakeFolder(configuration.Home.Path);
                    bool isFileNew = WriteConfiguration(configuration, said);
                    bool isKeyNew = !File.Exists(configuration.NodeKeyFile);
                    if (isKeyNew)
                    {
                        MakeFolder(Path.GetDirectoryName(configuration.NodeKeyFile)!);
                        using NodeKey made = NodeKey.LoadOrCreate(configuration.NodeKeyFile);
                    }

                    using NodeKey key = NodeKeys.Load(configuration);
                    await (arguments.GetValue(common.Json)
                        ? WriteJsonAsync(host, configuration, isFileNew, isKeyNew, key.Id)
                        : WriteTextAsync(host, configuration, isFileNew, isKeyNew, key.Id));
                    if (!isFileNew && said.Count > 0)
                    {
                        await host.Error.WriteLineAsync($"{configuration.Home.ConfigurationFile} was there already, so what the options say was not written to it.");
                    }

                    return ExitCode.Success;
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    await host.Error.WriteLineAsync($"The home folder {configuration.Home} cannot be made: {e.Message}");
                    return ExitCode.Usage;
                }
            });
    }

    private static bool WriteConfiguration(NodeConfiguration configuration, Dictionary<string, string> said)
    {
        string path = configuration.Home.ConfigurationFile;
        if (configuration.HasFile)
        {
            return false;
        }

        MakeFolder(Path.GetDirectoryName(path)!);

        // There is always a whole file or none, and one that appears meanwhile stays.
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            File.WriteAllText(temporary, ConfigurationTemplate.Write(said));
            File.Move(temporary, path, overwrite: false);
        }
        finally
        {
            File.Delete(temporary);
        }

        return true;
    }

    private static void MakeFolder(string folder)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(folder);
        }
        else
        {
            Directory.CreateDirectory(folder, FolderMode);
        }
    }

    private static async Task WriteTextAsync(CommandHost host, NodeConfiguration configuration, bool isFileNew, bool isKeyNew, NodeId id)
    {
        await host.Output.WriteLineAsync(Line(isFileNew, configuration.Home.ConfigurationFile));
        await host.Output.WriteLineAsync(Line(isKeyNew, configuration.NodeKeyFile));
        await host.Output.WriteLineAsync($"Node id  {id}");
        await host.Output.WriteLineAsync($"Network  {configuration.Network ?? $"not known yet: {configuration.NetworkProblem}"}");

        static string Line(bool isNew, string path) => isNew ? $"Made     {path}" : $"Kept     {path}, which was there already";
    }

    private static Task WriteJsonAsync(CommandHost host, NodeConfiguration configuration, bool isFileNew, bool isKeyNew, NodeId id) =>
        host.Output.WriteLineAsync(JsonSerializer.Serialize(new
        {
            home = configuration.Home.Path,
            config_file = configuration.Home.ConfigurationFile,
            config_file_made = isFileNew,
            node_key_file = configuration.NodeKeyFile,
            node_key_made = isKeyNew,
            id = id.ToString(),
            network = configuration.Network,
        }));
}
