namespace Pipeline.Experiments;

/// <summary>What the process tells its caller.</summary>
internal static class ExitCode
{
    /// <summary>Every promise holds.</summary>
    public const int Success = 0;

    /// <summary>A promise does not hold, or the experiment could not be carried out.</summary>
    public const int Failure = 1;

    /// <summary>A bad option or argument.</summary>
    public const int Usage = 2;

    /// <summary>128 and the number of SIGINT, as shells report it.</summary>
    public const int Interrupted = 130;
}
