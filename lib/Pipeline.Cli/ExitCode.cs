namespace Pipeline.Cli;

/// <summary>What the process tells its caller.</summary>
internal static class ExitCode
{
    public const int Success = 0;

    /// <summary>The command ran and says no: the check failed, the node could not be reached.</summary>
    public const int Failure = 1;

    /// <summary>The command could not run as it was asked to: a bad option, argument or file.</summary>
    public const int Usage = 2;

    /// <summary>128 and the number of SIGINT, as shells report it.</summary>
    public const int Interrupted = 130;

    /// <summary>128 and the number of SIGTERM.</summary>
    public const int Terminated = 143;
}
