using Pipeline.Cryptography;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Commands;

/// <summary>The key of a configured node.</summary>
internal static class NodeKeys
{
    /// <summary>Reads the key.</summary>
    /// <exception cref="ConfigurationException">The file is not there, or cannot be used.</exception>
    public static NodeKey Load(NodeConfiguration configuration)
    {
        string path = configuration.NodeKeyFile;
        try
        {
            return NodeKey.Load(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ConfigurationException($"There is no node key file {path}; 'pipeline init' makes one.");
        }
        catch (NodeKeyFileException e)
        {
            throw new ConfigurationException(e.Message);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"The node key file {path} cannot be read: {e.Message}");
        }
    }
}
